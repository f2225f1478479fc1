"""Processes that die at any moment, share a folder, or are asked to leave: the bytes come out the same."""

import hashlib
import json
import random
import signal
import time
from pathlib import Path

import pytest

from synthjax.runtime import processes
from tests.conftest import cluster

IMAGES, PER_SHARD = 90, 32  # a class, of ten

CONFIG = """
from synthjax.config import image_set, prompt_list, study_config

def get_config(arg=""):
  config = study_config(labels="digits")
  config.prompts.LE = prompt_list("LE", per_class=20, draws=25)
  config.sets.LE = image_set("LE")
  config.sampling.generator = {weights!r}
  config.sampling.images_per_class = {images}
  config.sampling.images_per_shard = {per_shard}
  config.sampling.steps = 5
  config.runtime.heartbeat_seconds = 0.5
  config.runtime.stale_seconds = 3.0
  return config
"""


@pytest.fixture(scope="module")
def study_file(tmp_path_factory, weights) -> Path:
  file = tmp_path_factory.mktemp("config") / "study.py"
  file.write_text(CONFIG.format(weights=str(weights), images=IMAGES, per_shard=PER_SHARD))
  return file


@pytest.fixture
def start(forked, study_file):
  """Starts the study in a workdir."""

  def run(workdir: Path, *flags: str, start=forked, **kwargs):
    return start(f"--config={study_file}", f"--workdir={workdir}", *flags, **kwargs)

  return run


_undisturbed: dict[str, str] = {}


@pytest.fixture
def undisturbed(start, tmp_path) -> dict[str, str]:
  """Hashes of the shards of a run that nobody disturbed."""
  if not _undisturbed:
    finish(start(tmp_path / "undisturbed", "--distributed=off"))
    _undisturbed.update(hashes(tmp_path / "undisturbed"))
    assert len(_undisturbed) == -(-10 * IMAGES // PER_SHARD)
  return _undisturbed


def finish(process, code: int = 0) -> str:
  out, err = process.communicate(timeout=240)
  assert process.returncode == code, err
  return out + err


def shards(workdir: Path) -> list[Path]:
  return sorted((workdir / "images/LE").glob("train.array_record-?????"))


def hashes(workdir: Path) -> dict[str, str]:
  return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in shards(workdir)}


def wait_for(condition, seconds: float = 240) -> None:
  until = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < until, "it did not happen"
    time.sleep(0.02)


def is_at_work(workdir: Path, process) -> bool:
  """Whether this process has begun to write a shard."""
  return process.poll() is not None or bool(
    list((workdir / "images/LE/.working").glob(f"*+{process.pid}+*.part"))
  )


def assert_clean(workdir: Path) -> None:
  """Every id once, in plan order, and nothing left of the dead."""
  import tensorflow_datasets as tfds

  folder = workdir / "images/LE"
  source = tfds.builder_from_directory(folder).as_data_source(
    "train", decoders={"image": tfds.decode.SkipDecoding()}
  )
  order = [(int(r["sample_index"]), int(r["label"])) for r in source]
  assert order == [(i, c) for i in range(IMAGES) for c in range(10)]
  assert len({r["image_id"] for r in source}) == len(order)
  assert not list((folder / ".working").glob("*")) and not list(folder.glob(".*.*"))


@pytest.mark.slow
def test_sigkill_at_ten_moments_of_loading_and_of_work(start, undisturbed, tmp_path):
  rng, workdir, landed = random.Random(0), tmp_path / "w", []
  for life in range(10):
    process = start(workdir, "--distributed=off")
    if life % 4 == 0:
      time.sleep(rng.uniform(0, 2))  # loading, the first claim
    else:
      least = life * len(undisturbed) // 11  # shards: kills from the first to nearly the last
      wait_for(lambda: is_at_work(workdir, process) and len(shards(workdir)) >= least)  # noqa: B023
      time.sleep(rng.uniform(0, 0.3))
    assert process.poll() is None, "the work was done before the tenth kill: make it larger"
    process.kill()
    process.wait()
    now = hashes(workdir)
    assert now.items() <= undisturbed.items()  # what has landed is whole, and stays
    landed.append(len(now))
  finish(start(workdir, "--distributed=off"))
  print(f"\nshards landed after each of 10 kills: {landed} of {len(undisturbed)}")
  assert hashes(workdir) == undisturbed
  assert_clean(workdir)


@pytest.mark.slow
def test_three_processes_of_which_one_is_killed_for_good(start, undisturbed, tmp_path):
  workdir = tmp_path / "w"
  workers = [start(workdir, "--distributed=off") for _ in range(3)]
  for worker in workers:
    wait_for(lambda: is_at_work(workdir, worker))  # noqa: B023
  workers[1].kill()
  outputs = [finish(w) for w in (workers[0], workers[2])]
  assert hashes(workdir) == undisturbed
  assert_clean(workdir)
  drawn = {}  # by process; one that comes back for the dead one's shard has a second session
  for file in (workdir / "images/LE/sessions").glob("*.json"):
    pid = int(file.name.split("+")[1])
    drawn[pid] = drawn.get(pid, 0) + json.loads(file.read_text())["images"]
  assert set(drawn) == {workers[0].pid, workers[2].pid} and min(drawn.values()) >= PER_SHARD
  assert (
    sum(drawn.values()) <= 10 * IMAGES
  )  # nothing twice; what the dead one had landed is missing from the sum
  assert all("report/index.html" in out for out in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_any_number_of_devices_writes_the_same_bytes(start, undisturbed, tmp_path, devices):
  finish(start(tmp_path / "w", "--distributed=off", "--config.sampling.per_device_batch=24", devices=devices))
  assert hashes(tmp_path / "w") == undisturbed


def pair(start, workdir, mode: str):
  """Two processes as a launcher starts them."""
  return [start(workdir, f"--distributed={mode}", env=env) for env in cluster(2)]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["on", "auto"])
def test_two_launched_processes_share_the_work_and_one_speaks(start, undisturbed, tmp_path, mode):
  first, second = pair(start, tmp_path / "w", mode)
  assert "images in" in finish(first)
  assert finish(second) == ""
  assert hashes(tmp_path / "w") == undisturbed
  assert_clean(tmp_path / "w")
  sessions = [json.loads(p.read_text()) for p in (tmp_path / "w/images/LE/sessions").glob("*.json")]
  assert {(s["processes"], s["jax_processes"]) for s in sessions} == {(2, 2 if mode == "on" else 1)}


@pytest.mark.slow
@pytest.mark.parametrize("dies", [0, 1])
def test_the_death_of_one_host_does_not_stop_the_other(start, undisturbed, tmp_path, dies):
  processes = pair(start, tmp_path / "w", "auto")
  wait_for(lambda: is_at_work(tmp_path / "w", processes[dies]))
  processes[dies].kill()
  finish(processes[1 - dies])
  assert hashes(tmp_path / "w") == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code", "grace"), [(signal.SIGTERM, 143, 20), (signal.SIGINT, 130, 0)])
def test_a_stop_finishes_the_shard_in_hand_if_there_is_time(
  start, command, undisturbed, tmp_path, number, code, grace
):
  workdir = tmp_path / "w"
  process = start(workdir, "--distributed=off", f"--config.runtime.grace_seconds={grace}", start=command)
  wait_for(lambda: len(shards(workdir)) >= 2 and is_at_work(workdir, process))
  before = len(hashes(workdir))
  process.send_signal(number)
  said = finish(process, code)
  assert (
    said.splitlines()[-1] == f"synthjax: stopped by signal {int(number)}; run the same command again to go on"
  )
  if grace:
    assert before < len(hashes(workdir)) < len(undisturbed)
  else:
    assert len(hashes(workdir)) <= before + 1  # the queue may hold the end of one
  assert not (workdir / "images/LE/.working").exists()
  finish(start(workdir, "--distributed=off"))
  assert hashes(workdir) == undisturbed
  assert_clean(workdir)


@pytest.mark.parametrize(
  ("mode", "environment", "said"),
  [
    ("on", {}, "synthjax: --distributed on: could not join a cluster"),
    ("auto", {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "5"}, "JAX_PROCESS_ID=5 do not name a process"),
  ],
)
def test_a_wrong_cluster_is_one_line(start, command, tmp_path, mode, environment, said):
  out = finish(start(tmp_path / "w", f"--distributed={mode}", env=environment, start=command), code=2)
  assert said in out and len(out.splitlines()) == 1


def test_owner_names_tell_processes_apart():
  assert processes.start_of(1) != "" and processes.is_dead(processes.maker(f"{processes.host()}+1+0+x"))
