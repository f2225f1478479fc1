"""Learning, as a case of the benchmark: what it costs, and that it is the loop that is timed."""

import jax
import jax.numpy as jnp
import pytest
from etils import epath

from synthjax.benchmark.training import TrainingCase
from synthjax.models.flops import flops_of
from synthjax.runtime.stopping import Stop
from synthjax.spec import config as fields_of


def case(tmp_path, model="resnet-mini", **fields) -> TrainingCase:
  config = fields_of.study_config()
  config.benchmark.seconds = 0.01
  small = dict(size=16, stored_size=20, classes=10, per_device_batch=8)
  config.benchmark.training.it = fields_of.training_case(model, **(small | fields))
  return TrainingCase(config, "it", epath.Path(tmp_path), Stop())


@pytest.mark.parametrize(("model", "giga"), [("resnet50", 4.09), ("vit-b16", 17.6)])
def test_the_arithmetic_is_three_times_the_published_forward(tmp_path, model, giga):
  # Published figures count a multiplication and an addition as one.
  flops = case(tmp_path, model, size=224, classes=1000).flops()
  assert flops == pytest.approx(3 * 2 * giga * 1e9, rel=0.03)


@pytest.mark.parametrize("norm", ["shared", pytest.param("auxiliary", marks=pytest.mark.slow)])
def test_the_loop_runs_from_jpegs_and_leaves_nothing(tmp_path, norm):
  it = case(tmp_path, norm=norm)
  it.load(it.mesh())
  it.compile()
  before = int(it._state.step)
  assert it.bare(16) > 0 and int(it._state.step) == before + 2
  assert it.whole(16) > 0 and not list(tmp_path.iterdir())
  assert set(it._batch["domain"].tolist()) == ({0} if norm == "shared" else {0, 1})
  it.release()
  assert "_state" not in vars(it)


def test_a_count_is_the_same_wherever_it_lies():
  x = jax.device_put(jnp.ones((4, 8)), jax.local_devices()[1])
  assert flops_of(lambda x: x @ x.T, x) == 2 * 4 * 4 * 8
