"""Every sampler against the PyTorch scheduler of diffusers, over whole trajectories."""

import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.generators import samplers
from synthjax.generators.schedule import read_schedule
from synthjax.runtime.errors import UserError
from synthjax.spec.fields import SAMPLERS
from tests.generators.trajectories import SHAPE, STABLE_DIFFUSION, drawn, error, ours, theirs

DDIM_CASES = [
  (50, {}),
  (20, {}),
  (7, {"prediction_type": "v_prediction"}),
  (20, {"prediction_type": "v_prediction", "timestep_spacing": "trailing"}),
  (20, {"timestep_spacing": "linspace", "set_alpha_to_one": True, "beta_schedule": "linear"}),
]
UNGUIDED_CASES = [
  (20, {"clip_sample": True, "beta_schedule": "squaredcos_cap_v2"}),
  (20, {"prediction_type": "sample"}),
]


@pytest.mark.parity
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize(
  ("steps", "changes", "guidance"),
  [(*case, g) for case in DDIM_CASES for g in (1.0, 5.0)] + [(*case, 1.0) for case in UNGUIDED_CASES],
)
def test_ddim_equals_pytorchs(torch, monkeypatch, steps, changes, eta, guidance):
  args = (STABLE_DIFFUSION | changes, "ddim", steps, eta, guidance, *drawn(steps))
  assert error(ours(*args), theirs(torch, monkeypatch, *args)) <= 1e-5


@pytest.mark.parity
@pytest.mark.parametrize("guidance", [2.0, 7.5])
@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"timestep_spacing": "leading"},
    {"timestep_spacing": "trailing", "prediction_type": "v_prediction"},
    {"timestep_spacing": "linspace", "beta_schedule": "linear"},
  ],
)
@pytest.mark.parametrize(
  ("sampler", "steps"),
  [
    ("dpmpp_2m", 20),
    ("dpmpp_2m", 8),
    ("dpmpp_2m", 1),
    ("euler", 20),
    ("euler_ancestral", 20),
    ("lcm", 4),
    ("lcm", 20),
  ],
)
def test_the_other_samplers_equal_pytorchs(torch, monkeypatch, sampler, steps, changes, guidance):
  args = (STABLE_DIFFUSION | changes, sampler, steps, 0.0, guidance, *drawn(steps))
  assert error(ours(*args), theirs(torch, monkeypatch, *args)) <= 1e-4


@pytest.mark.parity
@pytest.mark.parametrize("strength", [0.05, 0.3, 0.75])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_from_a_noised_picture_on_it_equals_pytorchs(torch, monkeypatch, sampler, strength):
  steps = 20 if sampler != "lcm" else 2
  start, noise = drawn(steps)
  clean = np.random.default_rng(1).standard_normal(SHAPE, np.float32)
  args = (STABLE_DIFFUSION, sampler, steps, 0.0, 2.0, start, noise, strength, clean)
  assert error(ours(*args), theirs(torch, monkeypatch, *args)) <= 1e-4


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_noised_picture_is_the_closed_form_and_at_strength_0_the_picture_itself(sampler):
  schedule, (start, noise) = read_schedule(STABLE_DIFFUSION), drawn(1)
  clean = np.random.default_rng(1).standard_normal(SHAPE, np.float32)
  table = samplers.table(schedule, sampler, 4, strength=0.5)
  t = table.rows["t"][0]
  alpha_bar = np.interp(t, np.arange(1000), schedule.alpha_bar)
  assert 0 < t < 700
  noised = samplers.begin(table.rows, table.start, start, clean)
  wanted = np.sqrt(alpha_bar) * clean + np.sqrt(1 - alpha_bar) * start
  np.testing.assert_allclose(noised, wanted, atol=1e-4)  # Euler's t lies between two training steps
  same = ours(STABLE_DIFFUSION, sampler, 4, 0.0, 2.0, start, noise, 0.0, clean)
  np.testing.assert_array_equal(same, clean)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_perfect_prediction_is_reached_in_one_step_or_many(sampler):
  """Were the noise known, every step would say the same x0: closed form, no oracle needed."""
  schedule = read_schedule(STABLE_DIFFUSION)
  rng = np.random.default_rng(1)
  clean, noise = rng.standard_normal(SHAPE, np.float32), rng.standard_normal((10, *SHAPE), np.float32)
  for steps in (1, 10):
    table = samplers.table(schedule, sampler, steps)
    rows = {k: jnp.asarray(v) for k, v in table.rows.items()}
    start = samplers.begin(rows, 1.0, noise[0], clean)

    def predict(x, t, rows=rows):
      row = jnp.argmin(jnp.abs(rows["t"] - t))
      return (x - rows["signal"][row] * clean) / rows["noise"][row], None

    reached = samplers.sample(
      predict,
      rows,
      start,
      "epsilon",
      fresh_noise=(lambda i: jnp.asarray(noise)[i]) if table.is_noisy else None,
    )
    wanted = clean
    if sampler == "ddim":  # ends one training step short of no noise
      last = schedule.final_alpha_bar
      wanted = np.sqrt(last) * clean + np.sqrt(1 - last) * noise[0]
    np.testing.assert_allclose(reached, wanted, atol=3e-3 if sampler == "lcm" else 3e-4)


def test_guidance_is_linear_between_the_two_predictions():
  cond, uncond = jnp.ones((2, 1, 1, 1)), jnp.zeros((2, 1, 1, 1))
  out = samplers.classifier_free(cond, cond, cond, uncond, jnp.int32(0), jnp.array([1.0, 7.5]))
  np.testing.assert_array_equal(out.ravel(), [1.0, 7.5])


@pytest.mark.parametrize(
  ("config", "said"),
  [
    ({"prediction_type": "flow"}, "prediction_type='flow'"),
    ({"beta_schedule": "scaled_linaer"}, "did you mean 'scaled_linear'"),
  ],
)
def test_what_is_not_done_is_refused(config, said):
  with pytest.raises(UserError, match=said):
    read_schedule(STABLE_DIFFUSION | config)


def test_too_many_steps_are_refused():
  schedule = read_schedule(STABLE_DIFFUSION)
  with pytest.raises(UserError, match="was trained on 1000; use at most 1000"):
    samplers.table(schedule, "ddim", 1001)
  with pytest.raises(UserError, match="reach beyond"):
    samplers.table(schedule, "ddim", 1000)  # steps_offset 1
  with pytest.raises(UserError, match=r"distilled to 25 steps at strength 0\.5"):
    samplers.table(schedule, "lcm", 26, strength=0.5)
