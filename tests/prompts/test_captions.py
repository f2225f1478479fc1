"""Captions of real images, with the class's name before them."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthjax.labels.spaces import LabelSpace
from synthjax.prompts import strategies
from synthjax.runtime.errors import UserError
from synthjax.spec.fields import Prompts

LABELS = LabelSpace(("n1", "n2"), ("crane", "tench"))
ROWS = [
  {"class": "n2", "caption": "a man holds a fish"},
  {"class": "n1", "caption": "a bird <i>stands</i>\nin water"},
  {"class": "n1", "caption": "a bird stands in the water"},
  {"class": "n1", "caption": "A bird stands in water"},
  {"class": "n1", "caption": " "},
  {"class": "n1", "caption": "two birds fly over a town at night"},
]


def written(tmp_path, kind, rows=ROWS, **fields):
  file = tmp_path / f"captions.{kind}"
  if kind == "jsonl":
    file.write_text("\n".join(json.dumps(row) for row in rows))
  else:
    pq.write_table(pa.Table.from_pylist(rows), file)
  return strategies.write(Prompts(strategy="captions", file=str(file), **fields), LABELS)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_prompts_are_in_class_order_and_repeats_are_dropped(tmp_path, kind):
  found = written(tmp_path, kind)
  assert [(p.class_id, p.text) for p in found.prompts] == [
    ("n1", "crane, a bird stands in water"),
    ("n1", "crane, two birds fly over a town at night"),
    ("n2", "tench, a man holds a fish"),
  ]
  assert found.notes == ["3 captions dropped: repeats, near repeats, banned or empty"]
  assert len(written(tmp_path, kind, overlap=1.0).prompts) == 4
  one = written(tmp_path, kind, per_class=1, template="a photo of {}", banned="water, ")
  assert [p.text for p in one.prompts] == [
    "a photo of crane, two birds fly over a town at night",
    "a photo of tench, a man holds a fish",
  ]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize(
  "rows, fields, line",
  [
    ([{"class": "n3", "caption": "x"}], {}, r"(line|row) 1: no class 'n3'"),
    ([{"label": "n1", "caption": "x"}], {}, "class"),
    ([{"class": "n1", "caption": 1.5}], {}, "caption is a text, not 1.5"),
    ([{"class": "n1", "caption": "x"}], {}, r"1 classes have no prompt \('n2'\)"),
    (
      [{"class": "n1", "caption": "x"}],
      {"file": "captions.csv"},
      "captions are read from .jsonl or .parquet",
    ),
  ],
)
def test_a_wrong_file_is_one_line(tmp_path, kind, rows, fields, line):
  with pytest.raises(UserError, match=line):
    if fields:
      strategies.write(Prompts(strategy="captions", **fields), LABELS)
    written(tmp_path, kind, rows)
