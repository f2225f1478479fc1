"""DDIM against the PyTorch scheduler of diffusers, over whole trajectories."""

import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.errors import UserError
from synthjax.generators import samplers

STABLE_DIFFUSION = dict(
  num_train_timesteps=1000,
  beta_start=0.00085,
  beta_end=0.012,
  beta_schedule="scaled_linear",
  clip_sample=False,
  set_alpha_to_one=False,
  steps_offset=1,
)
SHAPE = (3, 4, 6, 6)


def prediction(xp, x, t, prompt: float):
  """Stands for a network: smooth in x and t, different for each prompt, the same formula in both libraries."""
  return xp.sin(1.3 * x + prompt + 0.002 * t) * 0.9 + 0.1 * x


def ours(config, steps, eta, guidance, start, noise):
  schedule = samplers.read_schedule(config)
  table = {k: jnp.asarray(v) for k, v in samplers.ddim_table(schedule, steps, eta).items()}
  fresh = jnp.asarray(noise)
  return samplers.sample(
    lambda x, t: (prediction(jnp, x, t, 0.7), prediction(jnp, x, t, 0.0)),
    table,
    jnp.asarray(start),
    schedule,
    fresh_noise=(lambda i: fresh[i]) if eta else None,
    aux=jnp.full((SHAPE[0],), guidance),
  )


def theirs(torch, config, steps, eta, guidance, start, noise):
  from diffusers import DDIMScheduler

  scheduler = DDIMScheduler(**config)
  scheduler.set_timesteps(steps)
  x = torch.tensor(start)
  for i, t in enumerate(scheduler.timesteps):
    without, with_prompt = prediction(torch, x, t, 0.0), prediction(torch, x, t, 0.7)
    output = without + guidance * (with_prompt - without)
    x = scheduler.step(
      output, t, x, eta=eta, variance_noise=torch.tensor(noise[i]) if eta else None
    ).prev_sample
  return x.numpy()


CASES = [
  (50, {}),
  (20, {}),
  (7, {"prediction_type": "v_prediction"}),
  (20, {"prediction_type": "v_prediction", "timestep_spacing": "trailing"}),
  (20, {"timestep_spacing": "linspace", "set_alpha_to_one": True, "beta_schedule": "linear"}),
]
# At guidance 5 these two are chaotic with this stand-in: PyTorch's own float32 is 5e-5 and 1.4e-3 from its float64.
UNGUIDED_CASES = [
  (20, {"clip_sample": True, "beta_schedule": "squaredcos_cap_v2"}),
  (20, {"prediction_type": "sample"}),
]


@pytest.mark.parity
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize(
  ("steps", "changes", "guidance"),
  [(*case, g) for case in CASES for g in (1.0, 5.0)] + [(*case, 1.0) for case in UNGUIDED_CASES],
)
def test_whole_trajectories_equal_pytorchs(torch, steps, changes, eta, guidance):
  rng = np.random.default_rng(0)
  start = rng.standard_normal(SHAPE, np.float32)
  noise = rng.standard_normal((steps, *SHAPE), np.float32)
  args = (STABLE_DIFFUSION | changes, steps, eta, guidance, start, noise)
  want = theirs(torch, *args)
  error = np.linalg.norm(np.asarray(ours(*args)) - want) / np.linalg.norm(want)
  assert error <= 1e-5


def test_a_perfect_prediction_is_reached_in_one_step_or_many():
  """Were the noise known, every step would say the same x0: closed form, no oracle needed."""
  schedule = samplers.read_schedule(STABLE_DIFFUSION)
  rng = np.random.default_rng(1)
  clean = rng.standard_normal(SHAPE, np.float32)
  for steps in (1, 10):
    table = {k: jnp.asarray(v) for k, v in samplers.ddim_table(schedule, steps, 0.0).items()}
    a = jnp.asarray(schedule.alpha_bar, jnp.float32)
    start = jnp.sqrt(a[table["t"][0]]) * clean + jnp.sqrt(1 - a[table["t"][0]]) * rng.standard_normal(
      SHAPE, np.float32
    )
    last = schedule.final_alpha_bar
    reached = samplers.sample(
      lambda x, t: ((x - jnp.sqrt(a[t]) * clean) / jnp.sqrt(1 - a[t]), None),  # noqa: B023
      table,
      start,
      schedule,
    )
    eps = (np.asarray(start) - np.sqrt(a[table["t"][0]]) * clean) / np.sqrt(1 - a[table["t"][0]])
    np.testing.assert_allclose(reached, np.sqrt(last) * clean + np.sqrt(1 - last) * eps, atol=2e-4)


def test_guidance_is_linear_between_the_two_predictions():
  cond, uncond = jnp.ones((2, 1, 1, 1)), jnp.zeros((2, 1, 1, 1))
  out = samplers.classifier_free(cond, cond, cond, uncond, jnp.int32(0), jnp.array([1.0, 7.5]))
  np.testing.assert_array_equal(out.ravel(), [1.0, 7.5])


@pytest.mark.parametrize(
  ("config", "said"),
  [
    ({"prediction_type": "flow"}, "prediction_type 'flow'"),
    ({"beta_schedule": "scaled_linaer"}, "did you mean 'scaled_linear'"),
    ({"thresholding": True}, "asks for thresholding"),
    ({"rescale_betas_zero_snr": True}, "asks for rescale_betas_zero_snr"),
  ],
)
def test_what_is_not_done_is_refused(config, said):
  with pytest.raises(UserError, match=said):
    samplers.read_schedule(STABLE_DIFFUSION | config)


def test_too_many_steps_are_refused():
  schedule = samplers.read_schedule(STABLE_DIFFUSION)
  with pytest.raises(UserError, match="was trained on 1000; use at most 1000"):
    samplers.ddim_table(schedule, 1001, 0.0)
  with pytest.raises(UserError, match="reach beyond"):
    samplers.ddim_table(schedule, 1000, 0.0)  # steps_offset 1
