"""Rows to curves: CSV and JSON lines, long and wide, percent to errors, and what is refused in a line."""

import json
from pathlib import Path

import numpy as np
import pytest

from synthjax.runtime.errors import UserError
from synthjax.scaling import table
from synthjax.scaling.table import Columns

WIDE = """images_per_class, arm, seed, top1, loss
10, real, 0, 50, 2
100, real, 0, 75, 1
10, B, 0, 40, 2.5
10, B, 1, 42, 2.4
100, B, 0, , 1.5
0, zero-shot, 0, 33, 3
"""


def written(tmp_path, text, name="t.csv"):
  path = tmp_path / name
  path.write_text(text)
  return path


def curves(path: Path, **columns):
  return table.curves(table.read(path), Columns(**columns), path.name)


def test_curves_of_a_csv_by_arm_with_percent_as_errors(tmp_path):
  found = curves(written(tmp_path, WIDE), y="top1")
  assert found.measure == "error (1 - top1 / 100)"
  real, b = found.curves
  assert (real.name, b.name) == ("arm=real", "arm=B")
  assert np.exp(real.log_y) == pytest.approx([0.5, 0.25]) and np.exp(real.logs_MxV[:, 0]) == pytest.approx(
    [10, 100]
  )
  assert np.exp(b.log_y) == pytest.approx([0.6, 0.58]) and b.seed.tolist() == [0, 1]
  assert found.notes == [
    "1 rows without images_per_class or top1 were left out",
    "arm=zero-shot was left out: all its rows have images_per_class 0",
  ]
  loss = curves(written(tmp_path, WIDE))
  assert loss.measure == "loss" and len(loss.curves[1].log_y) == 3


def test_rows_of_a_study_are_one_a_metric(tmp_path):
  rows = [
    {"arm": "B", "images_per_class": n, "metric": metric, "value": value, "seed": 0, "dataset": d}
    for n, top1, loss in ((10, 40.0, 2.0), (100, 80.0, 1.0))
    for metric, value in (("top1", top1), ("loss", loss))
    for d in ("digits", "glyphs")
  ]
  path = written(tmp_path, "\n".join(map(json.dumps, rows)), "results.jsonl")
  (error,) = curves(path, y="error", where=(("dataset", "digits"),)).curves
  assert np.exp(error.log_y) == pytest.approx([0.6, 0.2])
  assert [c.name for c in curves(path, by=("arm", "dataset")).curves] == [
    "arm=B, dataset=digits",
    "arm=B, dataset=glyphs",
  ]
  with pytest.raises(UserError, match=r"2 rows have size 10 and seed 0; name the columns"):
    curves(path)


def test_columns_of_the_network_are_sizes_too(tmp_path):
  text = "D,N,loss\n1,10,3\n2,20,2\n"
  (curve,) = curves(written(tmp_path, text), x="D", n="N").curves
  assert curve.name == "all rows" and np.exp(curve.logs_MxV) == pytest.approx(np.array([[1, 10], [2, 20]]))


@pytest.mark.parametrize(
  "text, columns, message",
  [
    (
      WIDE,
      {"x": "images"},
      r"table t.csv has no column 'images' \(did you mean|has no column 'images' \(known",
    ),
    (WIDE, {"y": "los"}, r"table t.csv has no column 'los' \(did you mean 'loss'\?\)"),
    (WIDE, {"seed": "sed"}, "no column 'sed'"),
    (WIDE, {"by": ("arms",)}, r"no column 'arms' \(did you mean 'arm'"),
    (WIDE, {"where": (("arm", "C"),)}, "no row has arm=C"),
    (WIDE.replace("2.5", "nan"), {}, "line 4: loss is 'nan', not a finite number"),
    (WIDE.replace("2.5", "two"), {}, "line 4: loss is 'two'"),
    (WIDE.replace("2.5", "-2.5"), {}, "table t.csv: arm=B: a value is -2.5"),
    (WIDE.replace("100, real", "0, real"), {}, "arm=real: a size is 0"),
    (WIDE.replace("75", "175"), {"y": "top1"}, "line 3: an accuracy is 175"),
    (WIDE.replace("50,", "0.5,").replace("75,", "0.75,"), {"y": "top1"}, "no top1 is above 1"),
    (WIDE.replace("75, 1\n", "75\n"), {}, "line 3 has 4 cells and the first line 5"),
    ("", {}, "has no rows"),
    ("images_per_class,loss\n1,\n", {}, "no row has both images_per_class and loss"),
  ],
)
def test_a_mistake_is_one_line(tmp_path, text, columns, message):
  with pytest.raises(UserError, match=message):
    curves(written(tmp_path, text), **columns)


@pytest.mark.parametrize(
  "name, text, message",
  [
    ("t.txt", "a", "neither .csv nor .jsonl"),
    ("t.jsonl", "[1]", "line 1 is no object"),
    ("t.jsonl", "{", "line 1 is not readable JSON"),
  ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, name, text, message):
  with pytest.raises(UserError, match=message):
    table.read(written(tmp_path, text, name))
  with pytest.raises(UserError, match="does not exist"):
    table.read(tmp_path / "none.csv")
