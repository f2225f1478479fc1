"""What a finished set of many shards costs whoever looks at it: operations on its files, a shard."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from synthjax.disk import snapshot
from synthjax.products.base import DONE
from synthjax.products.features import SetEmbeddings
from synthjax.products.imported_set import ImportedSet
from synthjax.products.selection import EmbeddedSelection
from synthjax.runtime.stopping import Stop
from synthjax.spec import config as fields_of
from synthjax.store import features, shards
from synthjax.store.features import Features
from synthjax.study.graph import Study, design

_counted: list[str] | None = None


def _hook(event: str, args: tuple) -> None:
  if _counted is not None and event in ("open", "os.listdir", "os.scandir"):
    _counted.append(str(args[0]))


sys.addaudithook(_hook)  # for good: there is no way to remove one


@pytest.fixture
def operations(monkeypatch):
  """How many files below a folder a function opens, lists or asks the state of."""
  stat = os.stat

  def counted_stat(path, *args, **kwargs):
    if _counted is not None:
      _counted.append(str(path))
    return stat(path, *args, **kwargs)

  monkeypatch.setattr(os, "stat", counted_stat)

  def count(function, below: Path) -> int:
    global _counted
    _counted = []
    try:
      function()
      return sum(path.startswith(str(below)) for path in _counted)
    finally:
      _counted = None

  return count


def study_of(root: Path, per_shard: int) -> Study:
  config = fields_of.study_config(labels="digits")
  config.sets.R = fields_of.imported_set(
    "embedded:digits:first", images_per_class=6, images_per_shard=per_shard
  )
  config.encoders.clip = fields_of.encoder()
  return design(config, epath.Path(root), "", ())


def finished(root: Path, per_shard: int) -> int:
  """A set and features of it; how many shards these are."""
  study = study_of(root, per_shard)
  images, embeddings = study.get(ImportedSet, "R"), study.get(SetEmbeddings, "R", "clip")
  with Stop() as stop:
    assert images.make(stop)
  plan, needed = images.requested()
  for shard in plan.shards[:needed]:
    rows = plan.images(shard)
    labels, ids = np.array([x.label for x in rows], np.int32), np.array([x.image_id for x in rows])
    features.write(embeddings._file(shard.index), Features(np.zeros((len(rows), 4), np.float32), labels, ids))
  return needed


def look(root: Path, per_shard: int) -> None:
  """As a rerun does: a status by each run, and what each learns from."""
  study = study_of(root, per_shard)
  images, embeddings = study.get(ImportedSet, "R"), study.get(SetEmbeddings, "R", "clip")
  for run in range(5):
    assert images.status().state == embeddings.status().state == DONE
    assert len(EmbeddedSelection(f"arm {run}", images, embeddings, None, 0).now().places) == 60
  with snapshot.one_look():
    assert images.status().shards == f"{60 // per_shard}/{60 // per_shard}"


def test_a_finished_set_costs_two_operations_a_shard_however_many_runs_learn_from_it(operations, tmp_path):
  counts = {}
  for per_shard in (1, 3):
    root = tmp_path / str(per_shard)
    n = finished(root, per_shard)
    counts[n] = operations(lambda: look(root, per_shard), root)  # noqa: B023
  assert list(counts) == [60, 20]
  assert counts[60] - counts[20] <= 2 * (60 - 20)  # its length, and the ids beside its features


def test_a_shard_that_was_cut_is_found_at_the_next_start(tmp_path):
  from synthjax.runtime.errors import UserError

  finished(tmp_path, 3)
  shard = tmp_path / "images/R" / shards.shard_name(7)
  with shard.open("r+b") as file:
    file.truncate(shard.stat().st_size - 1)
  with pytest.raises(UserError, match=r"shard .*00007 is corrupt"):
    look(tmp_path, 3)


def test_facts_that_are_missing_are_derived_at_the_next_start(tmp_path):
  finished(tmp_path, 3)
  facts = shards.facts_file(epath.Path(tmp_path / "images/R"), 7)
  before = facts.read_bytes()
  facts.unlink()
  look(tmp_path, 3)
  assert facts.read_bytes() == before
