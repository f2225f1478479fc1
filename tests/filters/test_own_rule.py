"""A keep-list knows no rule: one that is only in the table is made, published, verified and read like any other."""

import dataclasses
import json

import numpy as np

from synthjax.products import keep_list as keep_module
from synthjax.products.base import DONE, STALE
from synthjax.runtime.registry import Registry
from tests.products.planted import keep_list, make


@dataclasses.dataclass(frozen=True)
class Refused:
  """Evidence without pictures."""

  ids: list
  note: str = "images were not looked at"

  def counts(self):
    return {"refused": len(self.ids)}

  def to_csv(self):
    return "".join(f"{i}\n" for i in self.ids).encode()

  def sheet(self):
    return []


class EvenRule:
  """An image passes when the last digit of its id is even."""

  score_means, counted, may_fill = "whether its id is even", ("refused",), False
  threshold, must_exceed, how, limits = 0.5, 0.5, "those of even ids", "odd ids are not found"

  def __init__(self, fields, views):
    self.fields, self.views = fields, views

  @staticmethod
  def encoders(fields):
    return [fields.encoder]

  def identity(self):
    return self.fields.identity() | {"digits": 1}

  def score(self, images):
    (features,) = images.features
    assert len(images.places) == len(features)
    even = np.array([int(i[-1], 16) % 2 == 0 for i in features.ids.tolist()])
    return even.astype(float), Refused(features.ids[~even].tolist())

  def found(self, summary):
    return f"{summary['refused']} images have odd ids"


def test_a_rule_that_only_the_table_knows(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(keep_module, "RULES", Registry("rule", {"clip": EvenRule}))
  keep = make(keep_list(tmp_path, 4, when_short="top"))
  assert keep.status().state == DONE and keep.faults() == []
  ids, scored = keep.ids(), keep.load()
  assert all(int(i[-1], 16) % 2 == 0 for i in ids)
  rows = keep.summary()["classes"]
  assert max(row["kept"] for row in rows) == 4 and not any(row["filled"] for row in rows)
  assert any(row["drawn"] > 6 for row in rows)  # it had more drawn
  odd = sorted(i for i in scored["ids"].tolist() if int(i[-1], 16) % 2)
  assert sorted((keep.folder / "pairs.csv").read_text().split()) == odd
  assert json.loads((keep.folder / "record.json").read_text())["identity"]["digits"] == 1
  found = f"{len(odd)} images have odd ids"
  assert keep.how == f"those of even ids, 4 a class; {found}; odd ids are not found"
  said = capsys.readouterr().err
  assert f"keep/LE/CF-clip: {found}; pairs.csv names them" in said and "note: images were not looked" in said
  assert keep.pairs_sheet().startswith(b"\x89PNG") and keep.about().keep.score == "whether its id is even"
  assert make(keep_list(tmp_path, 3)).ids() != ids and keep.status().state == STALE
