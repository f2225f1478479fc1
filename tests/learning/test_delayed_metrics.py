"""What goes on beside the steps: evaluations, the best variables kept apart, profiles; and what remat must not change."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from synthjax.disk import checksums
from synthjax.learning import checkpoint, metrics
from synthjax.learning.classify import Classify
from synthjax.learning.loop import Pace, Watch, train
from synthjax.learning.optimizer import Recipe
from synthjax.models.resnet import ResNet, ResNetConfig
from synthjax.models.vit import ViT, ViTConfig
from synthjax.runtime.stopping import Stop
from tests.learning.test_loop import Line, batch_at

FOUND = {2: 10.0, 4: 30.0, 6: 30.0, 8: 20.0}  # by step: what an evaluation says


def run(folder, steps, profile=(0, 0), seen=None):
  """An evaluation every second step; it says what FOUND has for the step, which the running bias tells."""

  def evaluate(learnt):
    if seen is not None:
      seen.append(jax.tree.map(np.asarray, learnt))
    return {"real/top1": FOUND[2 * len(seen)] if seen is not None else 0.0}

  return train(
    Line(), batch_at, Recipe(steps=steps, learning_rate=0.05, ema=0.9), epath.Path(folder), name="runs/x", batch_size=8,
    pace=Pace(save_seconds=1e9, log_steps=100, profile=profile), stop=Stop(),
    watch=Watch(evaluate, 2, "real/top1") if seen is not None else None,
  )  # fmt: skip


def best(folder):
  """(step, value, variables) of what is kept apart."""
  said = json.loads((folder / "best" / "best.json").read_text())
  (kept,) = (f for f in (folder / "best").iterdir() if f.name.isdigit())
  with checkpoint._manager(epath.Path(folder / "best"), 1, 0) as manager:
    learnt = manager.restore(int(kept.name))
  return said["step"], said["value"], int(kept.name), learnt


def test_evaluations_are_rows_and_the_first_best_is_kept(tmp_path):
  seen = []
  run(tmp_path, 8, seen=seen)
  rows = metrics.read(epath.Path(tmp_path))
  assert {row["step"]: row["real/top1"] for row in rows} == FOUND and all("loss" in row for row in rows)
  step, value, kept, learnt = best(tmp_path)
  assert (step, value, kept) == (4, 30.0, 4)
  jax.tree.map(np.testing.assert_array_equal, learnt, seen[1])
  assert not np.array_equal(seen[1]["params"]["w"], seen[3]["params"]["w"])


@pytest.mark.parametrize("told", [{"step": 2, "metric": "real/top1", "value": 10.0}, None])
def test_a_death_between_the_best_and_its_note_leaves_no_trace(tmp_path, told):
  """The variables of step 4 lie there, the note says step 2 or nothing, and training goes on from before either."""
  seen = []
  run(tmp_path, 8, seen=seen)
  note = epath.Path(tmp_path / "best" / "best.json")
  checksums.forget(note)
  if told:
    checksums.replace(note, json.dumps(told).encode())
  for name in ("checkpoints", "fit.json"):
    epath.Path(tmp_path / name).rmtree(missing_ok=True)
  seen = []
  run(tmp_path, 8, seen=seen)
  step, value, kept, learnt = best(tmp_path)
  assert (step, value, kept) == (4, 30.0, 4)
  jax.tree.map(np.testing.assert_array_equal, learnt, seen[1])


def test_a_profile_of_the_steps_asked_for_is_written(tmp_path):
  run(tmp_path / "with", 6, profile=(2, 4))
  run(tmp_path / "without", 6)
  assert list((tmp_path / "with").glob("profile/**/*.xplane.pb"))
  assert not (tmp_path / "without" / "profile").exists()


@pytest.mark.parametrize("at", [(2, 9), (0, 3)])
def test_a_profile_ends_with_the_training(tmp_path, at):
  """Also where it was to go on for longer: another one may begin after it."""
  for name in "ab":
    run(tmp_path / name, 4, profile=at)
    assert list((tmp_path / name).glob("profile/**/*.xplane.pb"))


@pytest.mark.parametrize(
  "network",
  [
    lambda remat: ResNet(ResNetConfig((1,), False, "cifar", 8), 3, remat=remat),
    lambda remat: ViT(ViTConfig(4, 16, 1, 2), 3, drop_path=0.5, remat=remat),
  ],
  ids=["resnet", "vit"],
)
def test_remat_changes_neither_loss_nor_gradients(network):
  pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3)).astype(np.uint8)
  batch = {"pixels": pixels, "labels": np.arange(8) % 3, "domain": np.arange(8) % 2}
  key, found = jax.random.key(0), []
  for remat in (False, True):
    task = Classify(network(remat), 3, smoothing=0.1)
    variables = jax.jit(task.init)(key, batch)

    def loss(params, task=task, variables=variables):
      return task.loss(variables | {"params": params}, batch, key, jnp.int32(0))

    step = jax.value_and_grad(loss, has_aux=True)
    (value, (updates, _)), grads = jax.jit(step)(variables["params"])
    found.append((value, updates, grads))
    assert ("remat" in str(jax.make_jaxpr(step)(variables["params"]))) == remat
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *found)
