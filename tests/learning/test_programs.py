"""Runs that differ in numbers alone share their compiled programs: counted; and their rates are optax's to the bit."""

import functools
import gc
import json
import os
import subprocess
import sys
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from etils import epath

from synthjax.learning import programs
from synthjax.learning.adapter import TipAdapter
from synthjax.learning.loop import Pace, train
from synthjax.learning.optimizer import Recipe, numbers_of, schedule, structure_of
from synthjax.learning.step import init_state, train_step
from synthjax.learning.tune import Tune, factor
from synthjax.runtime import devices
from synthjax.runtime.stopping import Stop
from tests.learning.test_loop import Line, batch_at

NUMBERS = [
  dict(),
  dict(seed=1),
  dict(learning_rate=0.02),
  dict(steps=6, warmup=0),
  dict(weight_decay=0.3),
  dict(clip_norm=0.4),
  dict(epsilon=1e-6, ema=0.5),
  dict(schedule="step", drops=(0.5,), drop_factor=0.2),
  dict(schedule="step", drops=(0.2, 0.5, 0.9)),
  dict(schedule="wsd", cooldown=0.4),
  dict(schedule="constant"),
]
STRUCTURES = [
  dict(clip_norm=0.0),
  dict(clip_norm=1.0),
  dict(weight_decay=0.0),
  dict(ema=0.0),
  dict(accumulate=2),
  dict(optimizer="sgd"),
  dict(optimizer="sgd", nesterov=True),
  dict(freeze="w"),
]


def recipe(**fields) -> Recipe:
  return Recipe(
    **(dict(steps=4, learning_rate=0.05, warmup=2, ema=0.9, weight_decay=0.1, clip_norm=0.5) | fields)
  )


@pytest.fixture
def compiled(caplog):
  """The names of the programs that jax makes; those that it finds in the compile cache too."""
  with jax.log_compiles():
    yield lambda: [
      r.getMessage().split()[1] for r in caplog.records if r.getMessage().startswith("Compiling ")
    ]


def run(folder, task, batches, recipe, size=8):
  state = train(
    task, batches, recipe, epath.Path(folder), name="runs/x", batch_size=size, pace=Pace(log_steps=1), stop=Stop(),
    mesh=devices.local_mesh(jax.local_devices()[:1]),
  )  # fmt: skip
  return jax.tree.map(np.asarray, state)


def test_a_sweep_is_compiled_once(tmp_path, compiled):
  task = Line()
  run(tmp_path / "first", task, batch_at, recipe())
  before = len(compiled())
  assert before
  for i, numbers in enumerate(NUMBERS):
    state = run(tmp_path / str(i), task, batch_at, recipe(**numbers))
    assert state.step == recipe(**numbers).steps
  assert compiled()[before:] == []
  run(tmp_path / "other", task, batch_at, recipe(optimizer="sgd"))
  assert len(compiled()) > before


def test_numbers_do_not_decide_what_is_compiled_and_the_rest_does():
  assert {structure_of(recipe(**numbers)) for numbers in NUMBERS} == {structure_of(recipe())}
  of = {structure_of(recipe(**fields)) for fields in STRUCTURES}
  assert len(of) == len(STRUCTURES) and structure_of(recipe()) not in of


@pytest.mark.parametrize("fields", [*NUMBERS, *STRUCTURES])
def test_numbers_as_arguments_learn_what_constants_do(fields):
  task, key, one = Line(), jax.random.key(3), recipe(**fields)
  constant = jax.jit(functools.partial(train_step, task, one))
  traced = jax.jit(functools.partial(train_step, task, structure_of(one)))
  a = b = init_state(task, one, batch_at(0), key)
  for step in range(4):
    a, _ = constant(a, batch_at(step), key)
    b, _ = traced(b, batch_at(step), key, numbers_of(one))
  jax.tree.map(np.testing.assert_array_equal, *(jax.tree.leaves(x) for x in (a, b)))
  assert not np.array_equal(a.variables["params"]["b"], np.zeros(2))


def optax_schedule(r: Recipe):
  rest = max(r.steps - r.warmup, 1)
  if r.schedule == "cosine":
    after = optax.cosine_decay_schedule(r.learning_rate, rest)
  elif r.schedule == "step":
    at = {max(round(share * r.steps) - r.warmup, 0): r.drop_factor for share in r.drops}
    after = optax.piecewise_constant_schedule(r.learning_rate, at)
  elif r.schedule == "wsd":
    falling = max(round(r.cooldown * r.steps), 1)
    after = optax.linear_schedule(r.learning_rate, 0.0, falling, max(rest - falling, 0))
  else:
    after = optax.constant_schedule(r.learning_rate)
  if not r.warmup:
    return after
  return optax.join_schedules([optax.linear_schedule(0.0, r.learning_rate, r.warmup), after], [r.warmup])


@pytest.mark.parametrize("kind", ["cosine", "step", "wsd", "constant"])
@pytest.mark.parametrize("steps, warmup", [(1, 0), (97, 0), (1000, 130), (7, 7)])
def test_rates_are_to_the_bit_those_that_optax_compiles_as_constants(kind, steps, warmup):
  r = Recipe(
    steps=steps, warmup=warmup, learning_rate=0.0137, schedule=kind, drops=(0.3, 0.61), cooldown=0.37
  )
  theirs = jax.jit(jax.vmap(lambda step: jnp.float32(optax_schedule(r)(step))))
  ours = jax.jit(jax.vmap(lambda rate, step: rate(step), (None, 0)))
  at = jnp.arange(steps + 1)
  np.testing.assert_array_equal(ours(schedule(r), at), theirs(at))


# --- tasks ------------------------------------------------------------------------------------------------

K, D = 3, 4
RNG = np.random.default_rng(0)
FEATURES, LABELS = RNG.standard_normal((12, D)).astype(np.float32), np.arange(12, dtype=np.int32) % K


def of_arm(step):
  at = np.random.default_rng(step).integers(0, 12, (2, 8))
  part = {"features": FEATURES[at], "labels": LABELS[at]}
  return {"synthetic": part, "real": part}


def of_adapter(step):
  at = np.random.default_rng(step).integers(0, 12, 8)
  return {"real": {"features": FEATURES[at], "labels": LABELS[at]}}


def test_arms_share_a_program_whatever_their_encoder_and_their_temperature(tmp_path, compiled):
  def arm(name, temperature, weight, **fields):
    head = np.random.default_rng(len(name)).standard_normal((K, D)).astype(np.float32)
    task, of_run = Tune(head, 2, True, temperature, factor(weight)), recipe(copies=True, **fields)
    state = run(tmp_path / name, task, of_arm, of_run, size=32)
    np.testing.assert_array_equal(state.variables["teacher"]["W"], head)

  arm("a", 2.0, 0.5)
  before = len(compiled())
  arm("of another", 3.3, 0.7, steps=5, learning_rate=0.01)
  assert compiled()[before:] == []
  arm("of weight one", 2.0, 1.0)
  assert len(compiled()) > before


def test_seeds_of_an_adapter_share_a_program(tmp_path, compiled):
  head = np.eye(K, D, dtype=np.float32)
  run(tmp_path / "0", TipAdapter(head, FEATURES, LABELS, 1.5, 2.5), of_adapter, recipe())
  made = TipAdapter(2 * head, FEATURES[::-1].copy(), LABELS, 1.1, 5.5)  # makes keys: programs of its own
  before = len(compiled())
  state = run(tmp_path / "1", made, of_adapter, recipe(learning_rate=0.001))
  assert compiled()[before:] == []
  np.testing.assert_array_equal(state.variables["memory"]["W"], 2 * head)


def test_the_last_structures_are_kept_and_no_more(tmp_path):
  tasks = [Line() for _ in range(programs._KEPT + 1)]
  first = weakref.ref(tasks[0])
  for i, task in enumerate(tasks):
    programs.programs(task, recipe(), jax.device_put(batch_at(0)), devices.local_mesh())
    assert i == 0 or first() is not None
  del tasks, task
  gc.collect()
  assert first() is None


# --- processes --------------------------------------------------------------------------------------------

_PROCESS = """
import json, sys
import jax
from tests.learning.test_programs import counted_run
print(json.dumps(counted_run(*json.loads(sys.argv[1]))))
"""


def counted_run(cache: str, folder: str, fields: dict) -> dict[str, int]:
  """Of a small ResNet: how many of its programs are compiled, and how many are found."""
  from synthjax.learning.classify import Classify
  from synthjax.models import networks

  seen: dict[str, int] = {}
  jax.monitoring.register_event_listener(lambda event, **_: seen.update({event: seen.get(event, 0) + 1}))
  devices.start("off", cache)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # whatever else the machine does
  pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3)).astype(np.uint8)
  batch = {"pixels": pixels, "labels": np.arange(8, dtype=np.int32), "domain": np.zeros(8, np.int32)}
  run(folder, Classify(networks.build("resnet-mini", 10), 10), lambda step: batch, recipe(**fields))
  of = "/jax/compilation_cache/"
  return {name: seen.get(of + name, 0) for name in ("cache_misses", "cache_hits")}


@pytest.mark.slow
def test_a_later_process_compiles_nothing(tmp_path):
  def process(folder: str, **fields) -> dict[str, int]:
    given = json.dumps([str(tmp_path / "cache"), str(tmp_path / folder), fields])
    done = subprocess.run(
      [sys.executable, "-c", _PROCESS, given], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])

  first = process("first")
  assert first["cache_misses"] >= 2
  second = process("second", learning_rate=0.01, steps=5, weight_decay=0.2, schedule="wsd", seed=4)
  assert second == {"cache_misses": 0, "cache_hits": first["cache_misses"]}
