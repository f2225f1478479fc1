"""Whole trajectories, ours and those of diffusers' PyTorch schedulers, with a formula in the place of a network."""

import jax.numpy as jnp
import numpy as np

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
    is_zero_snr=table.is_zero_snr,
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
  for module in ("ddim", "dpmsolver_multistep", "euler_ancestral_discrete", "lcm"):
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
