"""Trainings as processes that are killed at any moment, or joined and asked to leave: what is learnt stays the same."""

import json
import os
import random
import signal
import time

import pytest

from synthjax.weights import image_networks
from tests.conftest import cluster

KILLS = 10
CONFIG = """
from synthjax.config import learner, real_images, study_config


def get_config(arg=""):
  config = study_config(labels="digits")
  config.real.few = real_images("embedded:digits:first", shots=4)
  config.tests.real = "embedded:digits:first"
  config.seeds = 1
  config.learning.update(model="resnet-mini", size=8, batch=16, real="few", ema=0.9, steps=int(arg), evaluate_steps=10)
  config.learners.few = learner()
  config.runtime.update(save_seconds=1e9, heartbeat_seconds=0.2, stale_seconds=1.0)
  return config
"""


@pytest.fixture
def start(forked, tmp_path):
  """Starts the training in a workdir."""
  file = tmp_path / "few.py"
  file.write_text(CONFIG)

  def run(workdir, steps, *flags, **kwargs):
    line = (f"--config={file}:{steps}", f"--workdir={workdir}", *flags)
    return forked(*line, **kwargs)

  return run


def finish(*processes, code=0) -> list[str]:
  """What each said on its way."""
  said = []
  for process in processes:
    _, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    said.append(err)
  return said


def learnt(workdir) -> bytes:
  return next(workdir.glob("runs/*/seed-0/learnt.safetensors")).read_bytes()


def rows(workdir) -> list[dict]:
  return [json.loads(x) for x in next(workdir.glob("runs/*/seed-0/metrics.jsonl")).read_text().splitlines()]


def saved(workdir) -> set[str]:
  """Checkpoints, those being written too."""
  return {f.name for f in workdir.glob("runs/*/seed-0/checkpoints/*")}


@pytest.mark.slow
def test_ten_deaths_around_checkpoints_leave_no_trace(start, tmp_path):
  steps, alone, disturbed = 300, tmp_path / "alone", tmp_path / "disturbed"
  finish(start(alone, steps, "--distributed=off"))
  rng, torn, reached = random.Random(0), 0, []
  for _ in range(KILLS):
    before, wanted = saved(disturbed), rng.randint(1, 3)
    process = start(disturbed, steps, "--distributed=off", "--config.runtime.save_seconds=0.1")
    begun = set()  # checkpoints of this life: written, or being written
    while process.poll() is None and len(begun) < wanted:
      time.sleep(0.002)
      begun |= {name.partition(".")[0] for name in saved(disturbed) - before}
    time.sleep(rng.uniform(0, 0.3))
    if process.poll() is not None:
      break  # it was through
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    torn += any(not name.isdigit() for name in saved(disturbed) - before)
    reached.append(max([int(name) for name in saved(disturbed) if name.isdigit()], default=0))
  print(f"\nsteps saved after each of {len(reached)} kills: {reached}; {torn} of them tore a checkpoint")
  assert len(reached) >= KILLS // 2 and torn
  finish(start(disturbed, steps, "--distributed=off"))
  assert learnt(disturbed) == learnt(alone)
  assert rows(disturbed) == rows(alone)  # each step once, and to the bit
  assert [row["step"] for row in rows(alone)] == list(range(10, steps + 1, 10))


@pytest.mark.slow
def test_a_stop_or_a_death_of_one_of_two_joined_processes_is_both_ones(start, tmp_path):
  """A stop is at one step. They go on, together or one of them alone, to what they would have learnt without it."""
  steps, alone, whole, joined = 60, tmp_path / "alone", tmp_path / "whole", tmp_path / "joined"

  def pair(workdir, *flags):
    return [start(workdir, steps, "--distributed=on", *flags, env=env) for env in cluster(2)]

  finish(start(alone, steps, "--distributed=off"))
  finish(*pair(whole))
  both = pair(joined)
  while not list(joined.glob("runs/*/seed-0/metrics.jsonl")) or not rows(joined):
    assert all(process.poll() is None for process in both)
    time.sleep(0.01)
  both[1].send_signal(signal.SIGTERM)
  said = finish(*both, code=143)
  (step,) = saved(joined)  # one, whole
  assert all(f"stopped by signal 15, with step {step} of runs/" in err for err in said)
  assert 10 <= int(step) < steps
  finish(*pair(joined))
  assert learnt(joined) == learnt(whole)
  assert rows(joined) == rows(whole)
  flat, by_one = (image_networks.from_bytes(learnt(w)) for w in (whole, alone))
  assert flat.keys() == by_one.keys()
  assert rows(whole)[-1]["loss"] == pytest.approx(rows(alone)[-1]["loss"], rel=1e-3)

  dies = tmp_path / "dies"
  both = pair(dies, "--config.runtime.save_seconds=0.2")
  while not any(name.isdigit() for name in saved(dies)):
    assert all(process.poll() is None for process in both)
    time.sleep(0.01)
  both[0].kill()  # the coordinator: the other one ends by itself, in a line, and is started again
  began = time.monotonic()
  (err,) = finish(both[1], code=75)
  assert time.monotonic() - began < 30
  assert [line for line in err.splitlines() if "synthjax: --distributed on: another process has died" in line]
  assert "Check failure stack trace" not in err and "Traceback" not in err
  finish(*pair(dies))
  assert learnt(dies) == learnt(whole)


@pytest.mark.slow
def test_parameters_split_over_two_processes_learn_what_one_learns(start, tmp_path):
  split = ("--distributed=on", "--config.runtime.fsdp=2", "--config.learning.evaluate_steps=1")
  finish(start(tmp_path / "one", 20, "--distributed=off", split[2]))
  finish(*[start(tmp_path / "two", 20, *split, env=env) for env in cluster(2)])
  one, two = ([row["loss"] for row in rows(tmp_path / name)] for name in ("one", "two"))
  assert len(one) == 20 and two == pytest.approx(one, rel=1e-5)


@pytest.mark.slow
def test_joined_processes_agree_that_a_checkpoint_is_damaged(start, tmp_path):
  steps, whole, damaged = 24, tmp_path / "whole", tmp_path / "damaged"

  def pair(workdir, *flags):
    return [start(workdir, steps, "--distributed=on", *flags, env=env) for env in cluster(2)]

  finish(*pair(whole))
  both = pair(damaged, "--config.runtime.save_seconds=0.2")
  while len([name for name in saved(damaged) if name.isdigit()]) < 2:
    assert all(process.poll() is None for process in both)
    time.sleep(0.01)
  both[0].send_signal(signal.SIGTERM)
  finish(*both, code=143)
  before, latest = sorted(int(name) for name in saved(damaged))
  (folder,) = damaged.glob("runs/*/seed-0")
  file = max((folder / f"checkpoints/{latest}").rglob("*"), key=lambda f: f.stat().st_size * f.is_file())
  data = bytearray(file.read_bytes())
  data[len(data) // 2] ^= 1
  file.write_bytes(data)
  said = finish(*pair(damaged))
  assert [f"{file} is damaged" in err for err in said] == [True, False]
  assert (folder / f"checkpoints.damaged/{latest}").is_dir() and before < latest
  assert learnt(damaged) == learnt(whole)
  assert rows(damaged) == rows(whole)


@pytest.mark.slow
def test_joined_processes_use_as_many_devices_as_divide_the_batch(start, tmp_path):
  """Two with three devices each use two of them; three find no number that divides 16, before anything is made."""
  both = [start(tmp_path / "two", 6, "--distributed=on", env=env, devices=3) for env in cluster(2)]
  said = finish(*both)
  assert ["4 of 6 devices are used; a batch of 16 cannot be split" in err for err in said] == [True, False]
  three = [start(tmp_path / "three", 6, "--distributed=on", env=env, devices=2) for env in cluster(3)]
  for err in finish(*three, code=2):
    assert "of each of 3 joined processes divides its batch of 16; give it a batch" in err
    assert "Traceback" not in err
  assert not (tmp_path / "three/runs").exists()


@pytest.mark.slow
def test_joined_processes_may_save_the_best_while_a_checkpoint_is_being_written(start, tmp_path):
  """orbax names its barriers alike in all managers: two that save at once took each other's for their own."""
  flags = ("--distributed=on", "--config.learning.evaluate_steps=1", "--config.runtime.save_seconds=0.01")
  finish(*[start(tmp_path / "w", 25, *flags, env=env) for env in cluster(2)])
  assert len(rows(tmp_path / "w")) == 25
