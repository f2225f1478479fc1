"""A process that is stopped in the middle of its work, taken for dead, and woken when another has done it: nothing mixes.

The process stops itself (SIGSTOP) just before one of its changes to the disk, or just after. `SYNTHJAX_PLACES` says at
how many places that is tried, spread over all changes that an undisturbed study makes.
"""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.forked_studies import Studies

REPLACED = "synthjax: keep/LE/CF-clip has just been replaced by a process with another config; "
PLACES = int(os.environ.get("SYNTHJAX_PLACES", "3"))
CONFIG = """
from synthjax.config import arm, encoder, image_filter, image_set, learner, prompt_list, real_images, study_config

def get_config(arg="6"):
  config = study_config(labels="digits")
  config.prompts.LE = prompt_list("LE", per_class=4, draws=6)
  config.sets.LE = image_set("LE")
  config.sampling.update(dict(generator={weights!r}, images_per_class=8, images_per_shard=32, steps=2))
  config.encoders.clip = encoder()
  config.filters.CF = image_filter("clip", kept_per_class=int(arg), max_rounds=2)
  config.tests.digits = "embedded:digits:first"
  config.tuning.update(dict(batch=16, epochs=2))
  config.arms["zero-shot"] = arm()
  config.arms["LE+CF+SCE"] = arm("LE/CF", loss="SCE")
  config.learners.small = learner("LE/CF", model="resnet-mini", size=8, steps=2, batch=16, ema=0.9)
  config.seeds = 1
  config.report.refresh_seconds = 0
  config.runtime.update(dict(heartbeat_seconds=0.1, stale_seconds=0.8))
  return config
"""


def _wait_until_stopped(process) -> bool:
  """False where the process ends first."""
  while True:
    try:
      state = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, IndexError):
      return False
    if state == "T":
      return True
    if state == "Z" or process.poll() is not None:
      return False
    time.sleep(0.02)


def outcome(workdir: Path) -> dict[str, bytes]:
  """What the study is for: images, what was kept, classifiers, networks, results."""
  patterns = (
    "results.jsonl",
    "keep/**/ids.txt",
    "images/LE/train.array_record-*",
    "runs/*/seed-*/*.safetensors",
  )
  return {
    "/".join(p.relative_to(workdir).parts[:2]) + "/" + p.name: p.read_bytes()
    for pattern in patterns
    for p in sorted(workdir.glob(pattern))
  }


def kept(workdir: Path) -> set[str]:
  return set((workdir / "keep/LE/CF-clip/ids.txt").read_text().split())


@pytest.fixture(scope="module")
def config(tmp_path_factory, weights) -> str:
  file = tmp_path_factory.mktemp("config") / "study.py"
  file.write_text(CONFIG.format(weights=str(weights)))
  return str(file)


@pytest.mark.slow
def test_owners_that_are_stopped_and_woken_mix_nothing(config, forked, tmp_path):
  studies = Studies(forked)
  changes = studies.run(config, tmp_path / "undisturbed")
  wanted = outcome(tmp_path / "undisturbed")
  assert len(wanted) > 5
  tried, wrong = 0, []
  for i in range(PLACES):
    place = 1 + round(i * (2 * len(changes) - 1) / max(PLACES - 1, 1))
    workdir = tmp_path / f"w{i}"
    stopped = studies.start(config, workdir, place)
    if not _wait_until_stopped(stopped):
      continue  # the page is drawn by time: the number of changes differs a little
    tried += 1
    what = f"{changes[(place - 1) // 2]}, {'before' if place % 2 else 'after'}"
    is_other = bool(i % 2)  # every second time the other process wants a larger quota
    try:
      studies.run(f"{config}:9" if is_other else config, workdir)
      os.kill(stopped.pid, signal.SIGCONT)
      studies.finish(stopped)
      assert "Traceback" not in stopped.log.read_text(), stopped.log.read_text()
      studies.run(config, workdir)
      studies.run(config, workdir, "--stages=verify")
    except AssertionError as e:
      wrong.append(f"{what}: {e}")
    finally:
      stopped.kill()
    if is_other:  # then the set has grown by other steps, and holds the same images in another order
      differ = [] if kept(workdir) == kept(tmp_path / "undisturbed") else ["what is kept"]
    else:
      found = outcome(workdir)
      differ = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if differ:
      wrong.append(f"{what}: {differ}")
  print(f"\n{tried} owners stopped and woken at {2 * len(changes)} places; wrong: {len(wrong)}")
  assert tried >= PLACES // 2 and not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_two_quotas_in_one_folder_at_once_and_in_turn_all_end(config, forked, tmp_path):
  """Each makes the other's keep-list and page stale."""
  studies, wanted = Studies(forked), {}
  for quota in ("6", "9"):
    studies.run(f"{config}:{quota}", tmp_path / quota)
    wanted[quota] = kept(tmp_path / quota)
  both = [studies.start(f"{config}:{quota}", tmp_path / "w") for quota in wanted]
  for process in both:
    _, said = process.communicate(timeout=300)
    # One whose list was replaced before it had read it says so in one line.
    assert process.returncode == 0 or said.splitlines()[-1].startswith(REPLACED), said
  for quota in (*wanted, *wanted):
    studies.run(f"{config}:{quota}", tmp_path / "w")
    assert kept(tmp_path / "w") == wanted[quota]
