"""What a training computes does not depend on how many devices and processes share it, and a death leaves no trace."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, NoReturn

import jax
import numpy as np
import pytest
from etils import epath

from synthjax.data.augment import Augment
from synthjax.data.draws import Part
from synthjax.data.pictures import Pictures, batches
from synthjax.data.sources import open_source
from synthjax.evaluation.accuracy import Tally
from synthjax.evaluation.predictions import predicted
from synthjax.labels import spaces
from synthjax.learning import metrics
from synthjax.learning.classify import Classify
from synthjax.learning.loop import Pace, train
from synthjax.learning.optimizer import Recipe
from synthjax.learning.step import init_state, train_step
from synthjax.models import networks
from synthjax.runtime import sharding
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from tests.conftest import xla_flags

ROOT = Path(__file__).parents[2]
LABELS = spaces.load("digits")


@pytest.fixture(scope="module")
def pictures() -> Pictures:
  return Pictures(open_source("embedded:digits:first", LABELS), 8)


def learn(folder, pictures, devices=1, fsdp=1, steps=6, batch=16, seen=None, stop=None, **recipe):
  """Two domains with norms of their own, mixing and averages: all that a state can hold."""
  task = Classify(networks.build("resnet-mini", 10, domains=2), 10, Augment(mixup=0.2, shift=0.1), 0.1, True)
  batch_at = batches([(0, pictures), (1, pictures)], [batch // 2] * 2, seed=3)

  def fed(step):
    found = batch_at(step)
    if seen is not None:
      seen.append((step, hashlib.sha256(found["pixels"].tobytes() + found["labels"].tobytes()).hexdigest()))
    return found

  return train(
    task,
    fed,
    Recipe(**(dict(steps=steps, learning_rate=1e-2, warmup=2, ema=0.9) | recipe)),
    epath.Path(folder),
    name="runs/x",
    batch_size=batch,
    pace=Pace(save_seconds=1e9, log_steps=1),
    stop=stop or Stop(),
    mesh=sharding.training_mesh(fsdp, jax.devices()[:devices]),
  )


def losses(folder):
  return np.array([row["loss"] for row in metrics.read(epath.Path(folder))])


@pytest.mark.slow
def test_four_devices_and_split_parameters_go_the_way_of_one(tmp_path, pictures):
  order = [[], [], []]
  for i, (devices, fsdp) in enumerate(((1, 1), (4, 1), (4, 2))):
    state = learn(tmp_path / str(i), pictures, devices, fsdp, steps=20, seen=order[i], learning_rate=1e-3)
  assert order[0] == order[1] == order[2]
  one = losses(tmp_path / "0")
  assert len(one) == 20
  for i in (1, 2):
    np.testing.assert_allclose(losses(tmp_path / str(i)), one, rtol=1e-5)
  kernel = state.variables["params"]["layer3_0"]["conv2"]["kernel"]
  assert kernel.addressable_shards[0].data.size * 2 == kernel.size  # each holds half
  moment = jax.tree.leaves(state.opt_state, is_leaf=lambda x: getattr(x, "shape", ()) == kernel.shape)
  assert any(m.sharding.spec == kernel.sharding.spec for m in moment if m.shape == kernel.shape)


@pytest.mark.slow
def test_stopped_on_one_device_and_gone_on_with_on_four(tmp_path, pictures):
  straight, order = learn(tmp_path / "straight", pictures, 1, steps=8), []
  learn(tmp_path / "moved", pictures, 1, steps=8, seen=order, stop=_StopsAt(4))
  learn(tmp_path / "moved", pictures, 4, steps=8, seen=order)
  np.testing.assert_allclose(losses(tmp_path / "moved"), losses(tmp_path / "straight"), rtol=1e-5)
  del straight


def test_resumed_to_the_bit_with_statistics_and_averages(tmp_path, pictures):
  straight = learn(tmp_path / "straight", pictures)
  learn(tmp_path / "halves", pictures, stop=_StopsAt(3))
  halves = learn(tmp_path / "halves", pictures)
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), straight, halves)
  assert set(straight.ema) == {"params", "batch_stats"}
  mean = np.asarray(straight.ema["batch_stats"]["bn1"]["mean"])
  assert mean.shape[0] == 2 and mean.any()


class _StopsAt(Stop):
  """Asks for a stop when it has been looked at so often; leaves without an exception."""

  def __init__(self, looks: int):
    super().__init__()
    self._looks = looks

  @property
  def requested(self) -> bool:
    self._looks -= 1
    return self._looks < 0

  def leave(self, where: str) -> NoReturn:
    raise _Left(where)


class _Left(Exception):
  pass


@pytest.fixture(autouse=True)
def leaves(monkeypatch):
  whole = train

  def quietly(*args, **kwargs):
    try:
      return whole(*args, **kwargs)
    except _Left:
      return None

  monkeypatch.setitem(globals(), "train", quietly)


@pytest.mark.slow
def test_accumulated_in_parts_is_nearly_the_whole_batch(tmp_path, pictures):
  """Without norms over the batch it is so but for rounding."""
  task = Classify(networks.build("vit-mini", 10), 10)
  batch = batches([(0, pictures)], [16], seed=0)
  runs = [
    train(
      task, batch, Recipe(steps=3, accumulate=n, learning_rate=1e-3), epath.Path(tmp_path / str(n)), name="x",
      batch_size=16, pace=Pace(log_steps=1), stop=Stop(), mesh=sharding.training_mesh(1, jax.devices()[:1]),
    )
    for n in (1, 4)
  ]  # fmt: skip
  np.testing.assert_allclose(losses(tmp_path / "1"), losses(tmp_path / "4"), rtol=1e-4)
  del runs


class Brightness:
  """Says a class by the sum of the pixels: exact on any device."""

  def predict(self, variables, pixels, features=False):
    del variables, features
    return jax.nn.one_hot(pixels.astype("int32").sum((1, 2, 3)) % 10, 10)


def first_1003() -> Pictures:
  return Pictures(Part(open_source("embedded:digits:all", LABELS), range(1003), "1003"), 8)


def tally_on(n: int) -> Tally:
  test, mesh = first_1003(), sharding.training_mesh(1, jax.devices()[:n])
  logits = predicted(Brightness(), {}, test, mesh=mesh, per_device_batch=64)
  return Tally.empty(10).update(logits, test.labels)


def test_each_example_of_1003_counts_once_on_1_3_and_8_devices():
  """Eight are more than this process has: another one has them."""
  code = "import json; from tests.learning.test_topology import tally_on\n"
  code += "print(json.dumps([tally_on(n).to_json() for n in (1, 3, 8)]))"
  flags = {"XLA_FLAGS": xla_flags(8), "PYTHONPATH": str(ROOT)}
  line = [sys.executable, "-c", code]
  out = subprocess.run(
    line, env=os.environ | flags, cwd=ROOT, capture_output=True, text=True, check=True
  ).stdout
  one, three, eight = json.loads(out)
  assert one == three == eight == tally_on(1).to_json()
  test, tally = first_1003(), Tally.from_json(one)
  expected = test.at(np.arange(1003)).astype(int).sum((1, 2, 3)) % 10
  assert tally.n == 1003
  assert tally.metrics()["top1"] == pytest.approx(100 * (expected == test.labels).mean())


@pytest.mark.slow
@pytest.mark.alone
def test_the_loop_costs_nothing_beside_a_bare_one(tmp_path, pictures):
  """Ten interleaved pairs, on one batch. The fastest of each are compared: others on the machine slow either down."""
  task = Classify(networks.build("resnet-mini", 10), 10)
  batch = dict(batches([(0, pictures)], [128], seed=0)(0))
  recipe, mesh = Recipe(steps=20), sharding.training_mesh(1, jax.devices()[:1])
  from synthjax.runtime.sharding import placer

  key, placed = jax.random.key(0), placer(mesh)(batch)
  where = jax.NamedSharding(mesh, jax.P())
  begins = jax.jit(init_state, static_argnums=(0, 1), out_shardings=where)
  steps = jax.jit(train_step, static_argnums=(0, 1), donate_argnums=2, out_shardings=where)

  def bare() -> float:
    state = begins(task, recipe, placed, key)
    jax.block_until_ready(state)
    begun = time.monotonic()
    for _ in range(20):
      state, values = steps(task, recipe, state, placed, key)
      jax.block_until_ready(values)
    return time.monotonic() - begun

  def ours(i: int) -> float:
    clock = []

    def batch_at(step):
      clock.append(time.monotonic())
      return batch

    train(task, batch_at, recipe, epath.Path(tmp_path / str(i)), name="x", batch_size=128, pace=Pace(), stop=Stop(), mesh=mesh)  # fmt: skip
    return (clock[-1] - clock[1]) / 19 * 20

  bare(), ours(99)
  pairs = [(bare(), ours(i)) for i in range(10)]
  print(
    f"\nour loop takes {np.median([b / a for a, b in pairs]):.3f} of a bare one's time, median of 10 pairs"
  )
  assert min(b for _, b in pairs) <= 1.05 * min(a for a, _ in pairs), pairs


# --- batches that the devices do not divide ------------------------------------------------------------


class Device(NamedTuple):
  """Of one of several joined processes."""

  process_index: int


@pytest.mark.parametrize(
  "counts, fsdp, batch, used",
  [
    ((3, 3), 1, 64, [2, 2]),
    ((4, 3), 1, 12, [3, 3]),
    ((6,), 2, 16, [4]),
    ((7, 7, 7), 1, 6, [2, 2, 2]),
    ((5,), 1, 64, [4]),
  ],
)
def test_joined_processes_give_the_same_number_of_devices_each(counts, fsdp, batch, used):
  row = [Device(process) for process, n in enumerate(counts) for _ in range(n)]
  chosen = [d.process_index for d in sharding.training_devices(fsdp, row, batch)]
  assert [chosen.count(process) for process in range(len(counts))] == used


@pytest.mark.parametrize(
  "counts, fsdp, batch, said",
  [
    (
      (2, 2, 2),
      1,
      64,
      "the 2 devices of each of 3 joined processes divides its batch of 64; .* multiple of 3",
    ),
    (
      (6,),
      3,
      16,
      r"batch of 16 and is a multiple of config.runtime.fsdp 3; give it a batch .* multiple of 3",
    ),
    ((2,), 4, 16, "config.runtime.fsdp 4 does not divide the 2 devices"),
  ],
)
def test_a_batch_that_no_number_of_devices_divides_is_one_line(counts, fsdp, batch, said):
  row = [Device(process) for process, n in enumerate(counts) for _ in range(n)]
  with pytest.raises(UserError, match=said):
    sharding.training_devices(fsdp, row, batch, "runs/few")
