"""What a finished set of many shards costs whoever looks at it: operations on its files, a shard."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from synthjax.disk import checksums, snapshot, workdir
from synthjax.evaluation import results
from synthjax.evaluation.accuracy import Tally
from synthjax.learning import seed_groups
from synthjax.learning.classifier_tuning import Learnt
from synthjax.products.arm import Arm
from synthjax.products.base import DONE
from synthjax.products.features import RealEmbeddings, SetEmbeddings
from synthjax.products.imported_set import ImportedSet
from synthjax.products.run import RUN
from synthjax.products.selection import EmbeddedSelection
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec import config as fields_of
from synthjax.spec.command import Command
from synthjax.spec.config import Config
from synthjax.store import features, records, shards
from synthjax.store.features import Features
from synthjax.study import run
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
  for n in range(5):
    assert images.status().state == embeddings.status().state == DONE
    assert len(EmbeddedSelection(f"arm {n}", images, embeddings, None, 0).now().places) == 60
  with snapshot.one_look():
    assert images.status().shards == f"{60 // per_shard}/{60 // per_shard}"


def test_a_finished_set_costs_one_operation_a_shard_however_many_runs_learn_from_it(operations, tmp_path):
  counts = {}
  for per_shard in (1, 3):
    root = tmp_path / str(per_shard)
    n = finished(root, per_shard)
    counts[n] = operations(lambda: look(root, per_shard), root)  # noqa: B023
  assert list(counts) == [60, 20]
  assert counts[60] - counts[20] <= 60 - 20  # its length


def test_a_shard_that_was_cut_is_found_at_the_next_start(tmp_path):
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


def config_of_tests(per_shard: int, arms: int) -> Config:
  config = fields_of.study_config(labels="digits")
  config.sets.R = fields_of.imported_set(
    "embedded:digits:first", images_per_class=6, images_per_shard=per_shard
  )
  config.encoders.clip = fields_of.encoder()
  config.tests.digits = "embedded:digits:second"
  config.runtime.compile_cache = ""
  config.seeds = 2
  for i in range(arms):
    config.arms[f"arm-{i}"] = fields_of.arm("R", learning_rate=1e-4 * (i + 1))
  return config


def with_runs(root: Path, per_shard: int, arms: int) -> Command:
  """A study whose runs are there; nothing was learnt for it. The command that makes it."""
  finished(root, per_shard)
  config = config_of_tests(per_shard, arms)
  study, zeros = design(config, epath.Path(root)), np.zeros((10, 4), np.float32)
  test = study.get(RealEmbeddings, "digits", "clip")
  labels = np.asarray(test.source.labels, np.int32)
  records.settle(test.folder, test._record)
  features.write(test.folder / "all.npz", Features(zeros[labels], labels, np.array(test.source.keys)))
  for arm in study.of(Arm):
    arm.folder.mkdir(parents=True)
    checksums.publish(arm.folder / RUN, workdir.to_json(arm._made_from))
    assert seed_groups.groups(arm.folder, 2) == [(0, 1)]
    for seed in range(2):
      arm._classifier(Learnt(zeros, zeros[:, 0]), seed).write(arm.classifier_folder(seed))
    for result in arm._files()[1]:
      results.publish(result.stem, Tally.empty(10).update(np.eye(10)[labels], labels))
    arm._finish()
  command = Command(config, str(root))
  run(command)
  return command


def test_a_finished_study_is_run_again_by_few_operations(operations, tmp_path, capsys):
  """One a shard, its length. Of a run of two seeds, what three looks ask, what is read, and the sweep of its folders."""
  counts = {}
  for per_shard, arms in ((1, 2), (3, 2), (3, 6)):
    root = tmp_path / f"{per_shard}-{arms}"
    command = with_runs(root, per_shard, arms)
    counts[per_shard, arms] = operations(lambda: run(command), root)  # noqa: B023
  assert counts[1, 2] - counts[3, 2] <= 60 - 20
  assert counts[3, 6] - counts[3, 2] <= 30 * (6 - 2)


def test_a_result_is_parsed_once_by_a_process_and_again_when_it_is_another_file(tmp_path, monkeypatch):
  root, parsed = tmp_path, []
  command = with_runs(root, 3, 1)
  results._counts.cache_clear()
  parse = results._from_bytes
  monkeypatch.setattr(results, "_from_bytes", lambda data: parsed.append(data) or parse(data))
  run(command)
  assert len(parsed) == 2  # seeds
  file = sorted(root.glob("runs/*/tests/*.npz"))[0]
  file.write_bytes(file.read_bytes()[:-1])
  with pytest.raises(UserError, match="is damaged"):
    run(command)
