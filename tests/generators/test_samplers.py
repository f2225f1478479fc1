"""Every sampler against the PyTorch scheduler of diffusers, over whole trajectories."""

import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.config import SAMPLERS
from synthjax.errors import UserError
from synthjax.generators import samplers
from synthjax.generators.schedule import read_schedule

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
  return xp.sin(0.8 * x + prompt + 0.002 * t) * 0.5 + 0.3 * x


def ours(config, sampler, steps, eta, guidance, start, noise, strength=1.0, clean=None):
  schedule = read_schedule(config)
  table = samplers.table(schedule, sampler, steps, eta, strength)
  rows, fresh = {k: jnp.asarray(v) for k, v in table.rows.items()}, jnp.asarray(noise)
  return samplers.sample(
    lambda x, t: (prediction(jnp, x, t, 0.7), prediction(jnp, x, t, 0.0)),
    rows,
    samplers.begin(rows, table.start, jnp.asarray(start), None if clean is None else jnp.asarray(clean)),
    schedule.prediction,
    clip=table.clip,
    fresh_noise=(lambda i: fresh[i]) if table.is_noisy else None,
    aux=jnp.full((SHAPE[0],), guidance),
  )


def scheduler_of(sampler, config):
  import diffusers

  name = {
    "ddim": "DDIMScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "lcm": "LCMScheduler",
  }[sampler]
  return getattr(diffusers, name).from_config(config)


def theirs(torch, monkeypatch, config, sampler, steps, eta, guidance, start, noise, strength=1.0, clean=None):
  scheduler, drawn = scheduler_of(sampler, config), iter(torch.tensor(noise))
  for module in ("ddim", "euler_ancestral_discrete", "lcm"):
    monkeypatch.setattr(f"diffusers.schedulers.scheduling_{module}.randn_tensor", lambda *a, **k: next(drawn))
  if sampler == "lcm":
    scheduler.set_timesteps(steps, strength=strength)
  else:
    scheduler.set_timesteps(steps)
  timesteps = scheduler.timesteps
  if clean is None:
    x = torch.tensor(start) * scheduler.init_noise_sigma
  else:  # as their image-to-image pipelines do it
    if sampler != "lcm":
      begin = steps - min(int(steps * strength), steps)
      timesteps = timesteps[begin:]
      if sampler != "ddim":
        scheduler.set_begin_index(begin)
    x = scheduler.add_noise(torch.tensor(clean), torch.tensor(start), timesteps[:1])
  extra = dict(eta=eta) if sampler == "ddim" else {}
  for t in timesteps:
    scaled = scheduler.scale_model_input(x, t)
    without, with_prompt = prediction(torch, scaled, t, 0.0), prediction(torch, scaled, t, 0.7)
    x = scheduler.step(without + guidance * (with_prompt - without), t, x, **extra, return_dict=False)[0]
  return x.numpy()


def error(got, want) -> float:
  return float(np.linalg.norm(np.asarray(got) - want) / np.linalg.norm(want))


def drawn(steps):
  rng = np.random.default_rng(0)
  return rng.standard_normal(SHAPE, np.float32), rng.standard_normal((steps, *SHAPE), np.float32)


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
    ({"prediction_type": "flow"}, "prediction_type 'flow'"),
    ({"beta_schedule": "scaled_linaer"}, "did you mean 'scaled_linear'"),
    ({"thresholding": True}, "asks for thresholding"),
    ({"rescale_betas_zero_snr": True}, "asks for rescale_betas_zero_snr"),
    ({"use_karras_sigmas": True}, "asks for use_karras_sigmas"),
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
