"""The loop's laws: resume to the bit, nothing logged twice, a stop leaves a checkpoint, an independent Adam agrees."""

import json
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from synthjax.learning import metrics
from synthjax.learning.checkpoint import Checkpoints
from synthjax.learning.loop import Pace, train
from synthjax.learning.optimizer import Recipe, optimizer, schedule
from synthjax.models.attention import attend
from synthjax.runtime.errors import Interrupted, UserError
from synthjax.runtime.stopping import Stop


class Line:
  """Fits y = w x + b, with a running mean of x beside the parameters, as batch norm has one."""

  def init(self, key, batch):
    del batch
    return {
      "params": {"w": jax.random.normal(key, (2, 2)), "b": jnp.zeros(2)},
      "stats": {"mean": jnp.zeros(2)},
    }

  def loss(self, variables, batch, key, step):
    p = variables["params"]
    x = batch["x"] + 0.1 * jax.random.normal(key, batch["x"].shape)  # a task may draw noise
    loss = jnp.mean((x @ p["w"] + p["b"] - batch["y"]) ** 2)
    mean = 0.9 * variables["stats"]["mean"] + 0.1 * x.mean(0)
    return loss, ({"stats": {"mean": mean}}, {"input_mean": mean[0]})


def batch_at(step: int) -> dict:
  rng = np.random.default_rng(step)
  x = rng.standard_normal((8, 2), np.float32)
  return {"x": x, "y": x @ np.array([[1, 2], [3, 4]], np.float32) + 1}


def run(
  folder, steps, *, batches=batch_at, task=None, stop=None, log_steps=1, keep_steps=0, name="runs/x", **recipe
):
  recipe = Recipe(**(dict(steps=steps, learning_rate=0.05, warmup=3, ema=0.9, weight_decay=0.01) | recipe))
  pace = Pace(save_seconds=1e9, log_steps=log_steps, keep_steps=keep_steps)
  return train(
    task or Line(),
    batches,
    recipe,
    epath.Path(folder),
    name=name,
    batch_size=8,
    pace=pace,
    stop=stop or Stop(),
  )


class StopAt:
  """Batches that ask for a stop while step n is being fed."""

  def __init__(self, n: int, stop: Stop):
    self._n, self._stop = n, stop

  def __call__(self, step: int) -> dict:
    if step == self._n:
      signal.raise_signal(signal.SIGTERM)
    return batch_at(step)


def assert_same(a, b):
  jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)), a, b)


@pytest.mark.parametrize("at", [1, 5, 9])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, at):
  straight = run(tmp_path / "straight", 10)
  with Stop() as stop, pytest.raises(Interrupted) as e:
    run(tmp_path / "halves", 10, batches=StopAt(at, stop), stop=stop)
  assert e.value.exit_code == 143
  assert_same(straight, run(tmp_path / "halves", 10))
  rows = [metrics.read(epath.Path(tmp_path / n)) for n in ("straight", "halves")]
  assert rows[0] == rows[1] and [r["step"] for r in rows[0]] == list(range(1, 11))


def test_it_learns_and_the_other_collections_follow(tmp_path):
  state = run(tmp_path, 400, learning_rate=0.1, weight_decay=0.0)
  np.testing.assert_allclose(state.variables["params"]["w"], [[1, 2], [3, 4]], atol=0.1)
  assert state.variables["stats"]["mean"].any()
  np.testing.assert_allclose(state.ema["params"]["w"], state.variables["params"]["w"], atol=0.05)


def test_rows_after_the_checkpoint_are_not_repeated(tmp_path):
  run(tmp_path, 4)
  path = tmp_path / metrics.FILE
  with path.open("a") as file:  # what a run that died after its checkpoint leaves
    file.write('{"step": 5, "loss": 1.0}\n{"step": 6, "lo')
  run(tmp_path, 6)
  assert [r["step"] for r in metrics.read(epath.Path(tmp_path))] == [1, 2, 3, 4, 5, 6]


def test_a_finished_run_is_left_alone(tmp_path):
  first = run(tmp_path, 5)

  def no_more(step):
    assert step == 0, "nothing is to be trained"
    return batch_at(step)

  assert_same(first, run(tmp_path, 5, batches=no_more))


def test_a_death_after_the_last_state_leaves_how_fast_it_was(tmp_path, monkeypatch):
  save = Checkpoints.save

  def dies(self, step, state):
    save(self, step, state)
    raise KeyboardInterrupt

  monkeypatch.setattr(Checkpoints, "save", dies)
  with pytest.raises(KeyboardInterrupt):
    run(tmp_path, 4)
  monkeypatch.setattr(Checkpoints, "save", save)
  run(tmp_path, 4)
  assert (tmp_path / "timing.json").exists()


class Attending(Line):
  def loss(self, variables, batch, key, step):
    x = batch["x"].reshape(1, 8, 1, 2)
    return super().loss(variables, batch | {"x": attend(x, x, x).reshape(8, 2)}, key, step)


def test_every_run_says_and_records_its_attention(tmp_path, capsys):
  task = Attending()
  for name in ("one", "two"):  # the second has the first one's program, and traces nothing
    run(tmp_path / name, 2, task=task, name=f"runs/{name}")
    timing = json.loads((tmp_path / name / "timing.json").read_text())
    assert timing["attention"] == {"plain": ["8x8 (1 heads of 2)"]}
    assert capsys.readouterr().err.count(f"runs/{name}: attention: plain 8x8 (1 heads of 2)\n") == 1
  run(tmp_path / "three", 2, name="runs/three")
  assert "attention" not in capsys.readouterr().err


def test_a_loss_that_is_not_finite_is_one_line(tmp_path):
  class Breaks(Line):
    def loss(self, variables, batch, key, step):
      loss, aux = super().loss(variables, batch, key, step)
      return jnp.where(step == 3, jnp.nan, loss), aux

  with pytest.raises(UserError, match="the loss is nan at step 4; lower the learning rate"):
    run(tmp_path, 10, task=Breaks())


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
  run(tmp_path, 2)

  class Wider(Line):
    def init(self, key, batch):
      return {"params": {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)}, "stats": {"mean": jnp.zeros(2)}}

  with pytest.raises(UserError, match="does not fit the network"):
    run(tmp_path, 4, task=Wider())


def test_adamw_with_schedule_and_clipping_against_numpy():
  recipe = Recipe(steps=20, learning_rate=0.1, warmup=5, weight_decay=0.1, clip_norm=0.5)
  w, m, v = np.array([[1.0, -2.0]]), 0.0, 0.0
  params = {"w": jnp.asarray(w, jnp.float32)}
  tx = optimizer(recipe)
  state = tx.init(params)
  for t in range(20):
    g = np.sin(3 * w + t)
    rate = 0.1 * t / 5 if t < 5 else 0.05 * (1 + np.cos(np.pi * (t - 5) / 15))
    assert float(schedule(recipe)(t)) == pytest.approx(rate, abs=1e-7)
    clipped = g * min(1, 0.5 / np.linalg.norm(g))
    m, v = 0.9 * m + 0.1 * clipped, 0.999 * v + 0.001 * clipped**2
    w = w - rate * (m / (1 - 0.9 ** (t + 1)) / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8) + 0.1 * w)
    update, state = tx.update({"w": jnp.asarray(g, jnp.float32)}, state, params)
    params = {"w": params["w"] + update["w"]}
  np.testing.assert_allclose(params["w"], w, rtol=1e-5)


@pytest.mark.parametrize("batch, used", [(6, 3), (5, 1), (2, 2), (8, 4)])
def test_as_many_devices_are_used_as_divide_a_batch_and_a_note_names_the_others(
  tmp_path, capsys, batch, used
):
  name = f"networks/of-{batch}"
  state = train(
    Line(), lambda step: {k: v[:batch] for k, v in batch_at(step).items()}, Recipe(steps=2), epath.Path(tmp_path),
    name=name, batch_size=batch, pace=Pace(), stop=Stop(),
  )  # fmt: skip
  assert len(state.step.sharding.device_set) == used
  said = f"note: {name}: {used} of 4 devices are used; a batch of {batch} cannot be split evenly over more\n"
  assert capsys.readouterr().err.count(said) == (used < 4)
