"""A process that is killed at one of its changes to the disk, over all stages: the same command then makes the same bytes,
and leaves no file that an undisturbed study does not have.

`SYNTHJAX_PLACES` says at how many places that is tried, spread over all changes that an undisturbed study makes, before
each and after it; `SYNTHJAX_FIRST_PLACE` moves them all.
"""

import os
import re
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from synthjax.data.sources import open_source
from synthjax.labels.spaces import load
from tests.forked_studies import ALL_CHANGES, Studies

PLACES, FIRST = (
  int(os.environ.get(f"SYNTHJAX_{name}", n)) for name, n in (("PLACES", 3), ("FIRST_PLACE", 1))
)
STAGES = "train,prompts,sample,import,embed,keep,tune,learn,report,verify,predict,export"
CONFIG = """
from synthjax import config as fields

def get_config():
  config = fields.study_config(labels="digits")
  config.networks.vae = fields.network("autoencode", pictures=64, batch=16, steps=2, warmup=1)
  config.prompts.LE = fields.prompt_list("LE", per_class=4, draws=6)
  config.sets.LE = fields.image_set("LE")
  config.sets.theirs = fields.imported_set({theirs!r}, images_per_shard=8)
  config.sampling.update(dict(generator="random:tiny", images_per_class=4, images_per_shard=16, steps=2))
  config.encoders.clip = fields.encoder()
  config.filters.CF = fields.image_filter("clip", kept_per_class=3, max_rounds=1, write=True)
  config.tests.digits = "embedded:digits:first"
  config.tuning.update(dict(batch=16, epochs=2))
  config.arms["zero-shot"] = fields.arm()
  config.arms["LE+CF+SCE"] = fields.arm("LE/CF", loss="SCE")
  config.learners.small = fields.learner("LE/CF", model="resnet-mini", size=8, steps=2, batch=16, ema=0.9, evaluate_steps=1)
  config.seeds = 1
  config.report.refresh_seconds = 0
  config.export.update(dict(images="LE/CF", format="folder"))
  config.predict.images = {theirs!r}
  config.runtime.update(dict(heartbeat_seconds=0.1, stale_seconds=0.8))
  return config
"""
# What a process writes about itself: one a process, or none of one that was killed.
OF_PROCESSES = re.compile(r"(^|/)sessions/|/(\.checksums/)?events\.out\.tfevents\.")
# The sums of a checkpoint are those of bytes in memory's keeping: after a death before them, nobody can vouch for it.
MAY_LACK = re.compile(r"/(checkpoints|best)\.sums(/|$)")
BYTES = (
  "results.jsonl",
  "predictions.csv",
  "prompts/*/prompts.jsonl",
  "images/*/*.array_record-*",
  "images/*/manifest.json",
  "keep/**/ids.txt",
  "keep/*/*/dataset/*.array_record-*",
  "networks/*/weights/*",
  "runs/*/rows.jsonl",
  "runs/*/seed-*/*.safetensors",
  "runs/*/seed-*/metrics.jsonl",
  "exports/*/**/*.jpg",
)


def names(workdir: Path) -> set[str]:
  """Of all that lies there, without what a checkpoint is made of and without the hashes of checksums."""
  found = set()
  for path in workdir.rglob("*"):
    name = str(path.relative_to(workdir))
    name = re.sub(r"(/(checkpoints|best)/\d+)/.*", r"\1", name)
    if not OF_PROCESSES.search(name):
      found.add(re.sub(r"(\.checksums/.+)\.[0-9a-f]{64}$", r"\1", name))
  return found


def contents(workdir: Path) -> dict[str, bytes]:
  files = {path for pattern in BYTES for path in workdir.glob(pattern) if path.is_file()}
  return {str(path.relative_to(workdir)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> str:
  folder = tmp_path_factory.mktemp("config")
  source, have = open_source("embedded:digits:first", load("digits")), dict.fromkeys(range(10), 0)
  for i, label in enumerate(source.labels.tolist()):
    if have[label] < 2:
      file = folder / "theirs" / str(label) / f"{have[label]}.png"
      file.parent.mkdir(parents=True, exist_ok=True)
      source.image(i).save(file)
      have[label] += 1
  file = folder / "study.py"
  file.write_text(CONFIG.format(theirs=f"folder:{folder / 'theirs'}"))
  return str(file)


@pytest.mark.slow
def test_a_killed_study_goes_on_to_the_same_bytes_and_leaves_nothing(config, forked, tmp_path):
  studies = Studies(forked, signal.SIGKILL, ALL_CHANGES)
  changes = studies.run(config, tmp_path / "undisturbed", f"--stages={STAGES}")
  wanted, known = contents(tmp_path / "undisturbed"), names(tmp_path / "undisturbed")
  assert len(wanted) > 40
  places = [FIRST + round(i * (2 * len(changes) - FIRST) / max(PLACES, 1)) for i in range(PLACES)]

  def attack(place: int) -> str | None:
    """What is wrong afterwards; None where the process ended before it came to the place."""
    workdir, what = (
      tmp_path / f"w{place}",
      f"{changes[(place - 1) // 2]}, {'before' if place % 2 else 'after'}",
    )
    killed = studies.start(config, workdir, place, f"--stages={STAGES}")
    if killed.wait(timeout=300) != -signal.SIGKILL:
      return None if killed.returncode == 0 else f"{what}: {killed.log.read_text()}"
    try:
      studies.run(config, workdir, f"--stages={STAGES}")
    except AssertionError as e:
      return f"{what}: {e}"
    found, have = contents(workdir), names(workdir)
    differ = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    left, lack = sorted(have - known), sorted(n for n in known - have if not MAY_LACK.search(n))
    if differ or left or lack:
      return f"{what}: other bytes {differ}, left behind {left}, missing {lack}"
    shutil.rmtree(workdir)
    return ""

  with ThreadPoolExecutor(2) as pool:
    found = list(pool.map(attack, places))
  tried, wrong = [f for f in found if f is not None], [f for f in found if f]
  print(f"\n{len(tried)} killed at {2 * len(changes)} places; wrong: {len(wrong)}")
  for line in wrong:
    print(line)
  assert len(tried) >= PLACES // 2 and not wrong, "\n".join(wrong)
