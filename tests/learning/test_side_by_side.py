"""Runs side by side learn what each learns alone: from its own batches and keys, whoever is beside it and wherever it lies."""

import json

import jax
import numpy as np
import pytest
from etils import epath

from synthjax import study
from synthjax.learning import metrics
from synthjax.learning.loop import Pace, train
from synthjax.learning.optimizer import Recipe
from synthjax.products.learner import Learner
from synthjax.runtime import devices
from synthjax.runtime.errors import Interrupted, UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from synthjax.spec.study import resolve
from synthjax.weights import image_networks
from tests.learning.test_loop import Line, StopAt, batch_at

RECIPES = [
  dict(weight_decay=0.1, ema=0.9),
  dict(clip_norm=0.1),
  dict(accumulate=2),
  dict(optimizer="sgd", nesterov=True, clip_norm=0.0),
  dict(freeze="b"),
]


def batch_of(seed: int, step: int) -> dict:
  return batch_at(1000 * seed + step)


def run(folder, seeds, *, steps=6, on=1, batches=None, stop=None, alone=False, **recipe):
  """Of each seed what it learnt, from batches of its own."""

  def stacked(step):
    found = [batch_of(seed, step) for seed in seeds]
    return {name: np.stack([batch[name] for batch in found]) for name in found[0]}

  own = (lambda step: batch_of(seeds[0], step)) if alone else batches or stacked
  state = train(
    Line(),
    own,
    Recipe(steps=steps, seed=seeds[0] if alone else 77, **(dict(learning_rate=0.05, warmup=2) | recipe)),
    epath.Path(folder),
    name="runs/x",
    batch_size=8 * len(seeds),
    pace=Pace(save_seconds=1e9, log_steps=1),
    stop=stop or Stop(),
    mesh=devices.local_mesh(jax.local_devices()[:on]),
    seeds=() if alone else seeds,
  )
  learnt = jax.tree.map(np.asarray, state.learnt)
  return [learnt] if alone else [jax.tree.map(lambda x, n=n: x[n], learnt) for n in range(len(seeds))]


def close(a, b, atol=2e-6) -> None:
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), a, b)


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_learns_what_it_learns_alone(tmp_path, recipe):
  together = run(tmp_path / "together", (4, 0, 9), **recipe)
  for seed, learnt in zip((4, 0, 9), together, strict=True):
    close(learnt, run(tmp_path / str(seed), (seed,), alone=True, **recipe)[0])
  assert not np.allclose(together[0]["params"]["w"], together[1]["params"]["w"])


def test_who_is_beside_it_and_the_devices_change_nothing(tmp_path):
  together = run(tmp_path / "a", (4, 0, 9, 1))
  for n, others in enumerate([(9, 5, 3, 2), (9, 9, 9, 9)]):
    np.testing.assert_array_equal(
      run(tmp_path / f"b{n}", others)[0]["params"]["w"], together[2]["params"]["w"]
    )
  for on in (2, 4):
    close(run(tmp_path / f"on {on}", (4, 0, 9, 1), on=on), together, atol=1e-7)


def test_a_stop_leaves_a_state_that_goes_on_to_the_same_bits_and_rows_say_each_loss(tmp_path):
  straight = run(tmp_path / "straight", (0, 1))

  class Stopping(StopAt):
    def __call__(self, step):
      super().__call__(step)
      found = [batch_of(seed, step) for seed in (0, 1)]
      return {name: np.stack([batch[name] for batch in found]) for name in found[0]}

  with Stop() as stop, pytest.raises(Interrupted):
    run(tmp_path / "halves", (0, 1), batches=Stopping(4, stop), stop=stop)
  jax.tree.map(np.testing.assert_array_equal, run(tmp_path / "halves", (0, 1)), straight)
  rows = [metrics.read(epath.Path(tmp_path / name)) for name in ("straight", "halves")]
  assert rows[0] == rows[1] and len(rows[0]) == 6
  for row in rows[0]:
    assert row["loss"] == pytest.approx((row["loss/seed-0"] + row["loss/seed-1"]) / 2)


def test_a_loss_that_is_no_number_in_one_of_them_ends_the_run(tmp_path):
  def broken(step):
    found = [batch_of(seed, step) for seed in (0, 1)]
    found[1]["x"] = found[1]["x"] * (np.nan if step == 3 else 1)
    return {name: np.stack([batch[name] for batch in found]) for name in found[0]}

  with pytest.raises(UserError, match=r"the loss is nan at step 4"):
    run(tmp_path, (0, 1), batches=broken)


# --- learners of a study -----------------------------------------------------------------------------


def config(side_by_side=2, seeds=4, **learning):
  made = fields_of.study_config(labels="digits")
  made.study, made.seeds = "few", seeds
  made.real.few = fields_of.real_images("embedded:digits:first", shots=3)
  made.tests.digits = "embedded:digits:second"
  made.learning.update(model="resnet-mini", size=8, real="few", batch=8, steps=4, learning_rate=1e-3)
  made.learning.update(dict(mixup=1.0, rotate=10.0, ema=0.9, side_by_side=side_by_side) | learning)
  made.learners.one = fields_of.learner()
  made.runtime.compile_cache = ""
  validation.check(made)
  return made


def make(root, **of) -> dict[int, dict]:
  study.run(Command(config(**of), str(root), line="python -m synthjax.main ..."))
  files = sorted(root.glob("runs/*/seed-*/learnt.safetensors"))
  return {n: image_networks.from_bytes(file.read_bytes()) for n, file in enumerate(files)}


def test_a_study_trains_seeds_in_groups_and_rows_are_those_of_seeds_alone(tmp_path, monkeypatch, capsys):
  alone = make(tmp_path / "alone", side_by_side=1)
  together = make(tmp_path / "together")
  largest = 0.0
  for seed, learnt in alone.items():
    assert learnt.keys() == together[seed].keys()
    largest = max(largest, *(np.abs(learnt[k] - together[seed][k]).max() for k in learnt))
  assert largest < 5e-4
  rows = [
    {
      (r["seed"], r["metric"]): r["value"]
      for r in map(json.loads, (tmp_path / name / "results.jsonl").read_text().splitlines())
    }
    for name in ("alone", "together")
  ]
  assert rows[0].keys() == rows[1].keys() and {seed for seed, _ in rows[0]} == {0, 1, 2, 3}
  losses = {key for key in rows[0] if key[1] == "loss"}
  assert [rows[1][key] for key in losses] == pytest.approx([rows[0][key] for key in losses], abs=1e-3)
  folders = sorted(f.name for f in tmp_path.glob("together/runs/*/seed-*"))
  assert folders == ["seed-0", "seed-0-1", "seed-1", "seed-2", "seed-2-3", "seed-3"]

  # A file that is lost is made again, from the last checkpoint of its group; the others stay.
  def nothing(*_):
    raise AssertionError("nothing is to be trained")

  monkeypatch.setattr(Learner, "_learn", nothing)
  lost = next(tmp_path.glob("together/runs/*/seed-3/learnt.safetensors"))
  before = lost.read_bytes()
  lost.unlink()
  make(tmp_path / "together")
  assert lost.read_bytes() == before


def test_alone_is_the_default_and_leaves_the_run_where_it_was():
  fields = fields_of.study_config(labels="digits").learning
  assert fields.side_by_side == 1
  assert "side_by_side" not in resolve(config(side_by_side=1)).learners["one"].identity()
  assert resolve(config()).learners["one"].identity()["side_by_side"] == 2


@pytest.mark.parametrize(
  "of, said",
  [
    (dict(seeds=3), "config.learners.one: seeds 3 are no multiple of side_by_side 2"),
    (dict(evaluate_steps=2), "config.learners.one: evaluate_steps is of runs that are trained alone"),
  ],
)
def test_what_cannot_go_side_by_side_is_one_line(of, said):
  with pytest.raises(UserError, match=said):
    config(**of)
