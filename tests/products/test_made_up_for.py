"""What a death has kept a finished product from having, or has left in it, is made up for by the next run."""

import dataclasses
import shutil
import subprocess
import sys

import pytest
from etils import epath

from synthjax.store import kept, records
from synthjax.store.claims import Owner
from tests.study.test_export import made, run  # noqa: F401  a fixture

STAGES = ("prompts", "sample", "embed", "keep")


@pytest.fixture
def finished(made, tmp_path):  # noqa: F811
  config, workdir = made[0], epath.Path(tmp_path) / "study"
  shutil.copytree(made[1], workdir, symlinks=True)
  return config, workdir


def test_the_record_of_features_says_how_many_there_are(finished):
  config, workdir = finished
  folder = workdir / "embeddings/LE/clip"
  whole = (folder / "record.json").read_bytes()
  records.update(folder, dataclasses.replace(records.load(folder), growth={"images": 0}))
  run(config, workdir, stages=STAGES)
  assert (folder / "record.json").read_bytes() == whole and records.load(folder).growth == {"images": 40}


@pytest.mark.parametrize("is_made_now", [False, True])
def test_a_list_that_was_laid_down_and_not_published_goes(finished, is_made_now):
  config, workdir = finished
  folder = workdir / "keep/LE/CF-clip"
  name = kept.lay_down(folder, {"ids.txt": b"another"})
  if is_made_now:
    with Owner(folder) as owner:
      owner.take(kept.CLAIM)
      run(config, workdir, stages=STAGES)
  else:
    run(config, workdir, stages=STAGES)
  assert (folder / "lists" / name).exists() == is_made_now and len(kept.older(folder)) == is_made_now


def test_drafts_in_finished_products_go_and_to_verify_changes_nothing(finished):
  config, workdir = finished
  code = "from synthjax.runtime import processes; print(processes.tag())"
  tag = subprocess.run(
    [sys.executable, "-c", code], check=True, capture_output=True, text=True
  ).stdout.strip()
  drafts = [
    workdir / f"{place}/.record.json.{tag}" for place in ("prompts/LE", "images/LE/shards", "keep/LE/CF-clip")
  ]
  for draft in drafts:
    draft.write_text("half")
  run(config, workdir, stages=("verify",))
  assert all(draft.exists() for draft in drafts)
  run(config, workdir, stages=STAGES)
  assert not any(draft.exists() for draft in drafts)
