"""A process that is stopped in the middle of its work, taken for dead, and woken when another has done it: nothing mixes.

The process stops itself (SIGSTOP) just before one of its changes to the disk, or just after. `SYNTHJAX_PLACES` says at
how many places that is tried, spread over all changes that an undisturbed study makes.
"""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

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
  config.learners.small = learner("LE/CF", model="resnet-mini", size=16, steps=2, batch=16)
  config.seeds = 1
  config.report.refresh_seconds = 0
  config.runtime.update(dict(heartbeat_seconds=0.1, stale_seconds=0.8, compile_cache={cache!r}))
  return config
"""
_CHANGES = ("link", "replace", "rename", "unlink", "rmdir")


class Places:
  """Counts the changes that a process makes to the files below a folder, and stops it at one of them."""

  def __init__(self, below: Path, stop_at: int | None):
    self._below, self._stop_at, self.seen = str(below), stop_at, []
    for name in _CHANGES:
      setattr(os, name, self._counted(name, getattr(os, name)))

  def _counted(self, name: str, change: Callable) -> Callable:
    def counted(path, *args, **kwargs):
      if not str(path).startswith(self._below):
        return change(path, *args, **kwargs)
      self.seen.append(f"{name} {Path(str(path)).relative_to(self._below)}")
      place = 2 * len(self.seen) - 1  # odd: before the change
      self._stop(place)
      try:
        return change(path, *args, **kwargs)
      finally:
        self._stop(place + 1)

    return counted

  def _stop(self, place: int) -> None:
    if place == self._stop_at:
      os.kill(os.getpid(), signal.SIGSTOP)


def _study(config: str, workdir: Path, stop_at: int | None, log: Path, *flags: str) -> None:
  """In a process of its own, which has imported everything: what `python -m synthjax.main` does."""
  from synthjax import main

  with log.open("w") as out:
    os.dup2(out.fileno(), 1)
    os.dup2(out.fileno(), 2)
  places = Places(workdir, stop_at)
  try:
    code = main.main([f"--config={config}", f"--workdir={workdir}", "--distributed=off", *flags])
  except SystemExit as e:
    code = e.code
  log.with_suffix(".json").write_text(json.dumps(places.seen))
  os._exit(code or 0)


class Studies:
  """Starts studies as forks of one process without threads or devices: a start takes no imports."""

  def __init__(self, folder: Path):
    self._context, self._folder, self._n = multiprocessing.get_context("forkserver"), folder, 0
    self._context.set_forkserver_preload(["synthjax.main", "synthjax.study"])

  def start(self, config: str, workdir: Path, stop_at: int | None = None, *flags: str):
    self._n += 1
    log = self._folder / f"{self._n:03d}.log"
    process = self._context.Process(target=_study, args=(config, workdir, stop_at, log, *flags))
    process.start()
    process.log = log
    return process

  def ends(self, process, may_wait: bool = False) -> bool:
    """Whether it ends well; that it ends is asserted, unless it may wait for what a process of another config holds."""
    process.join(timeout=30 if may_wait else 120)
    if process.exitcode is None:
      process.kill()
      process.join()
      assert may_wait, f"still running: {process.log.read_text()}"
      return False
    return process.exitcode == 0

  def finish(self, process) -> None:
    assert self.ends(process), f"exit code {process.exitcode}: {process.log.read_text()}"

  def run(self, config: str, workdir: Path, *flags: str) -> list[str]:
    process = self.start(config, workdir, None, *flags)
    self.finish(process)
    return json.loads(process.log.with_suffix(".json").read_text())


def _wait_until_stopped(process) -> bool:
  """False where the process ends first."""
  while True:
    try:
      state = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, IndexError):
      return False
    if state == "T":
      return True
    if state == "Z" or process.exitcode is not None:
      return False
    process.join(timeout=0.02)


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
def config(tmp_path_factory, weights, compile_cache) -> str:
  file = tmp_path_factory.mktemp("config") / "study.py"
  file.write_text(CONFIG.format(weights=str(weights), cache=compile_cache))
  return str(file)


@pytest.mark.slow
def test_owners_that_are_stopped_and_woken_mix_nothing(config, tmp_path):
  studies = Studies(tmp_path)
  changes = studies.run(config, tmp_path / "undisturbed")
  wanted = outcome(tmp_path / "undisturbed")
  assert len(wanted) > 5
  tried, loud, wrong = 0, 0, []
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
      loud += not studies.ends(
        stopped, may_wait=is_other
      )  # its working folder may be gone: it may say so, and must not go on in silence
      studies.run(config, workdir)
      studies.run(config, workdir, "--stages=verify")
    except AssertionError as e:
      wrong.append(f"{what}: {e}")
    finally:
      if stopped.exitcode is None:
        os.kill(stopped.pid, signal.SIGKILL)
    if is_other:  # then the set has grown by other steps, and holds the same images in another order
      differ = [] if kept(workdir) == kept(tmp_path / "undisturbed") else ["what is kept"]
    else:
      found = outcome(workdir)
      differ = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if differ:
      wrong.append(f"{what}: {differ}")
  print(
    f"\n{tried} owners stopped and woken at {2 * len(changes)} places; ended with an error or waiting: {loud}; wrong: {len(wrong)}"
  )
  assert tried >= PLACES // 2 and not wrong, "\n".join(wrong)
