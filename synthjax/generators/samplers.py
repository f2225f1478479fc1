"""A sampler is a table of coefficients, computed once on the host, and one loop over it on the device.

Every sampler here is the same step with other numbers. With x_t = signal * x0 + noise * eps, always of unit variance
(Euler's and Karras's sigma space is divided by sqrt(1 + sigma^2)), a step goes to

    keep * x_t + clean * x0 + eps * eps + before * (x0 of the step before) + fresh * (new noise)

What a sampler follows of the checkpoint's scheduler_config.json, it follows as diffusers' class of the same method does.
`guide` says how the predictions with and without the prompt become one; classifier-free guidance is the usual one, and
a learner may steer it later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.generators import sigmas as levels
from synthjax.generators.schedule import Schedule
from synthjax.runtime.errors import UserError

Array = jax.Array
Rows = dict[str, np.ndarray]
Asked = Mapping[str, Any]  # the keys of a scheduler_config.json that a sampler follows
# guide(x_t, x0, eps_cond, eps_uncond, t, aux) -> eps; x0 is what eps_cond says of the clean latent.
Guide = Callable[[Array, Array, Array, Array, Array, Any], Array]


@dataclasses.dataclass(frozen=True)
class Table:
  rows: Rows  # a number a step: t, signal, noise, and the step's coefficients
  start: float = 1.0  # the scale of the noise that sampling starts from
  clip: float = 0.0  # x0 is clipped to +-clip; 0 = not
  is_zero_snr: bool = False  # the first step may begin where no signal is left

  def __len__(self) -> int:
    return len(self.rows["t"])

  @property
  def is_noisy(self) -> bool:
    return bool(self.rows["fresh"].any())


def table(schedule: Schedule, sampler: str, steps: int, eta: float = 0.0, strength: float = 1.0) -> Table:
  """The steps that lead from noise to a picture; with strength < 1 the last of them, from a noised picture on."""
  trained = schedule.trained_steps
  if steps > trained:
    raise UserError(
      f"config.sampling.steps is {steps}, the generator was trained on {trained}; use at most {trained}"
    )
  asked = schedule.followed(sampler)
  if sampler == "lcm":
    made = _lcm(schedule, steps, strength, asked)
  else:
    whole = {
      "ddim": lambda: _ddim(schedule, steps, eta),
      "dpmpp_2m": lambda: _dpmpp_2m(schedule, steps, asked),
      "euler": lambda: _euler(schedule, steps, asked),
      "euler_ancestral": lambda: _euler_ancestral(schedule, steps),
    }[sampler]()
    skipped = steps - min(int(steps * strength + 1e-9), steps)
    made = _last(whole, max(len(whole) - skipped, 0))
  return dataclasses.replace(made, is_zero_snr=schedule.is_zero_snr)


def has_ignored_keys(
  schedule: Schedule, sampler: str, steps: int, eta: float = 0.0, strength: float = 1.0
) -> bool:
  """Whether releases that ignored some keys of the scheduler_config.json sampled by another table."""
  arguments = (sampler, steps, eta, strength)
  return schedule.before is not None and not _same(
    table(schedule, *arguments), table(schedule.before, *arguments)
  )


def has_lost_step(schedule: Schedule, sampler: str, steps: int) -> bool:
  """Whether `trailing` steps, rounded as they are, come to one more: older releases then left out the first."""
  is_rounded = sampler != "lcm" and schedule.spacing == "trailing"
  return is_rounded and len(np.arange(schedule.trained_steps, 0, -schedule.trained_steps / steps)) > steps


def _same(one: Table, other: Table) -> bool:
  alike = (one.start, one.clip, len(one)) == (other.start, other.clip, len(other))
  return alike and all(np.array_equal(one.rows[k], other.rows[k]) for k in one.rows)


def _last(whole: Table, steps: int) -> Table:
  if steps == len(whole):
    return whole
  rows = {k: v[len(whole) - steps :] for k, v in whole.rows.items()}
  if steps and rows["before"][0]:  # no x0 is known before the first step: it is of first order
    into = rows["before"][0] + rows["clean"][0]
    rows = rows | {"clean": rows["clean"].copy(), "before": rows["before"].copy()}
    rows["clean"][0], rows["before"][0] = into, 0.0
  return dataclasses.replace(whole, rows=rows)


def _rows(t: np.ndarray, alpha_bar: np.ndarray, **coefficients: np.ndarray) -> Rows:
  """float64 to the last moment; what a sampler does not name is 0."""
  named = {"signal": np.sqrt(alpha_bar), "noise": np.sqrt(1 - alpha_bar)} | coefficients
  zero = np.zeros(len(t))
  columns = ("signal", "noise", "keep", "clean", "eps", "before", "fresh")
  return {"t": t.astype(np.float32)} | {k: named.get(k, zero).astype(np.float32) for k in columns}


# --- the samplers ----------------------------------------------------------------------------------


def _ddim(schedule: Schedule, steps: int, eta: float) -> Table:
  """Song et al. 2021; eta 1 adds as much fresh noise as the ancestral sampler. The clean part is clipped, eps is not."""
  trained = schedule.trained_steps
  t = _spaced(schedule, steps, "leading", steps).round().astype(int)
  before = t - trained // steps
  a_t = schedule.alpha_bar[t]
  a_next = np.where(before >= 0, schedule.alpha_bar[np.maximum(before, 0)], schedule.final_alpha_bar)
  sigma = eta * np.sqrt(np.maximum((1 - a_next) / (1 - a_t) * (1 - a_t / a_next), 0))
  direction = np.sqrt(np.maximum(1 - a_next - sigma**2, 0))
  return Table(_rows(t, a_t, clean=np.sqrt(a_next), eps=direction, fresh=sigma), clip=schedule.clip)


def _dpmpp_2m(schedule: Schedule, steps: int, asked: Asked) -> Table:
  """Lu et al. 2022, second order by the step before; the first and the last step are of first order.

  The file may ask for first order alone, or for the SDE's solver, which puts fresh noise into each step.
  """
  t, sigmas = _dpmpp_levels(schedule, steps, asked)
  last, n = _last_level(schedule, asked), len(sigmas)
  a_t, a_next = 1 / (1 + sigmas**2), 1 / (1 + np.append(sigmas[1:], last) ** 2)
  signal_next, noise_next = np.sqrt(a_next), np.sqrt(1 - a_next)
  with np.errstate(divide="ignore"):
    h = np.diff(-np.log(np.append(sigmas, last)))  # of the log-SNR; inf where a step ends in no noise at all
  keep, fresh, rate = noise_next / np.sqrt(1 - a_t), np.zeros(n), h
  clean = signal_next - keep * np.sqrt(a_t)  # = -signal_next * (exp(-h) - 1)
  if asked["algorithm_type"] == "sde-dpmsolver++":
    rate = 2 * h
    keep, clean = keep * np.exp(-h), -signal_next * np.expm1(-rate)
    fresh = noise_next * np.sqrt(-np.expm1(-rate))
  weight = signal_next * (1 + np.expm1(-rate) / rate) if asked["solver_type"] == "heun" else 0.5 * clean
  is_last_first_order = last == 0 or asked["euler_at_final"] or (asked["lower_order_final"] and n < 15)
  second = np.arange(1, n - is_last_first_order if asked["solver_order"] == 2 else 1)
  before = np.zeros(n)
  before[second] = -weight[second] * h[second] / h[second - 1]  # D1 = (x0 - x0_before) * h / h_before
  return Table(_rows(t, a_t, keep=keep, clean=clean - before, before=before, fresh=fresh))


def _dpmpp_levels(schedule: Schedule, steps: int, asked: Asked) -> tuple[np.ndarray, np.ndarray]:
  """Training steps and noise levels."""
  if rule := _rule_of(asked):
    trained = schedule.sigmas
    sigmas = levels.spread(rule, asked["sigma_max"] or trained[-1], asked["sigma_min"] or trained[0], steps)
    t = levels.training_steps(sigmas, trained)
    return (np.floor(t) if schedule.is_cosine else t.round()), sigmas
  # Of cosine betas the noisiest steps cannot be solved: sampling begins where the log-SNR reaches the bound.
  usable = int(np.sum(-np.log(schedule.sigmas) >= asked["lambda_min_clipped"]))
  if usable < steps:
    raise UserError(
      f"weights: {schedule.file} has lambda_min_clipped={asked['lambda_min_clipped']}, which leaves {usable} training "
      f"steps for config.sampling.steps={steps}; use fewer, or correct it"
    )
  t = _spaced(schedule, steps, "linspace", steps + 1, usable)[:steps].round()
  return t, schedule.sigmas[t.astype(int)]


def _euler(schedule: Schedule, steps: int, asked: Asked) -> Table:
  """Karras et al. 2022, Algorithm 2 without churn."""
  trained = schedule.sigmas
  t = _spaced(schedule, steps, "linspace", steps)
  sigmas = np.interp(t, np.arange(schedule.trained_steps), trained)
  if (
    asked["interpolation_type"] == "log_linear"
  ):  # published so: one level more than steps, where the last ends
    sigmas = np.exp(np.linspace(np.log(trained[-1]), np.log(trained[0]), steps + 1))
  if rule := _rule_of(asked):
    sigmas = levels.spread(rule, asked["sigma_max"] or sigmas[0], asked["sigma_min"] or sigmas[-1], steps)
    t = levels.training_steps(sigmas, trained)
  if asked["timestep_type"] == "continuous" and schedule.prediction == "v_prediction":
    t = 0.25 * np.log(sigmas)
  after = np.append(sigmas, _last_level(schedule, asked))[1 : len(t) + 1]
  return _euler_table(schedule, t, sigmas[: len(t)], after)


def _euler_ancestral(schedule: Schedule, steps: int) -> Table:
  """As much of a step's noise as may be is fresh."""
  t = _spaced(schedule, steps, "linspace", steps)
  sigmas = np.interp(t, np.arange(schedule.trained_steps), schedule.sigmas)
  after = np.append(sigmas[1:], 0)
  return _euler_table(
    schedule, t, sigmas, after, up=after * np.sqrt(np.maximum(1 - (after / sigmas) ** 2, 0))
  )


def _euler_table(
  schedule: Schedule, t: np.ndarray, sigmas: np.ndarray, after: np.ndarray, up: np.ndarray | None = None
) -> Table:
  up = np.zeros(len(t)) if up is None else up
  down = np.sqrt(after**2 - up**2)
  a_t, signal_next = 1 / (1 + sigmas**2), 1 / np.sqrt(1 + after**2)
  signal_next[-1] = 1.0  # the last x is a latent, whatever noise is left in it
  # Published so: with leading steps the noise is scaled for the sum of picture and noise, else for the noise alone.
  start = 1.0 if (schedule.spacing or "linspace") == "leading" else float(np.sqrt(1 - a_t[0]))
  if schedule.is_zero_snr:  # x_t is nothing but noise there: as the sum of its parts no digit is lost
    return Table(_rows(t, a_t, clean=signal_next, eps=signal_next * down, fresh=signal_next * up), start)
  rows = _rows(
    t, a_t, keep=signal_next / np.sqrt(a_t), eps=signal_next * (down - sigmas), fresh=signal_next * up
  )
  return Table(rows, start)


def _last_level(schedule: Schedule, asked: Asked) -> float:
  return float(schedule.sigmas[0]) if asked["final_sigmas_type"] == "sigma_min" else 0.0


def _rule_of(asked: Asked) -> str:
  """How the file wants noise levels spread; "" = as training steps are."""
  return next((key for key, value in asked.items() if key.startswith("use_") and value), "")


def _lcm(schedule: Schedule, steps: int, strength: float, asked: Asked) -> Table:
  """Luo et al. 2023: x0 by the consistency function, then noise anew; a strength shortens the distilled steps."""
  distilled = int(schedule.distilled_steps * strength)
  if steps > distilled:
    if not distilled:
      return Table(_rows(np.zeros(0), np.zeros(0)))
    raise UserError(
      f"config.sampling.steps is {steps}, but the model was distilled to {distilled} steps at strength {strength:g}; use fewer"
    )
  origin = np.arange(1, distilled + 1)[::-1] * (schedule.trained_steps // schedule.distilled_steps) - 1
  t = origin[np.linspace(0, distilled, steps, endpoint=False).astype(int)]
  a_t, a_next = schedule.alpha_bar[t], np.append(schedule.alpha_bar[t[1:]], 1.0)
  scaled = (t * float(asked["timestep_scaling"])) / 0.5  # over the data's standard deviation, as in the paper
  skip, out = 1 / (1 + scaled**2), scaled / np.sqrt(1 + scaled**2)
  next_ = np.sqrt(a_next)
  rows = _rows(t, a_t, keep=next_ * skip, clean=next_ * out, fresh=np.sqrt(1 - a_next))
  return Table(rows, clip=schedule.clip if schedule.names_clip else 0.0)


def _spaced(
  schedule: Schedule, steps: int, custom: str, divided_by: int, usable: int | None = None
) -> np.ndarray:
  """Training steps from the noisiest on, by diffusers' conventions; `custom` where the checkpoint does not say.

  `divided_by`: so many intervals are counted for `leading` and points for `linspace` (one more than steps, for some).
  `usable`: the first so many training steps; None = all.
  """
  trained, spacing = schedule.trained_steps, schedule.spacing or custom
  usable = usable or trained
  if spacing == "leading":
    t = np.arange(divided_by)[::-1] * (usable // divided_by) + schedule.offset
  elif spacing == "trailing":
    t = np.round(np.arange(usable, 0, -trained / steps)) - 1
    t = t[t >= 0]  # one below, of 61, 103 and other steps that divide badly
  else:
    t = np.linspace(0, usable - 1, divided_by)[::-1]
  if t.max() >= trained:
    raise UserError(
      f"{steps} steps with steps_offset {schedule.offset} reach beyond the {trained} trained; use fewer steps"
    )
  return t


# --- the loop --------------------------------------------------------------------------------------


def classifier_free(
  x_t: Array, x0: Array, eps_cond: Array, eps_uncond: Array, t: Array, guidance: Array
) -> Array:
  """Ho & Salimans; `guidance` is one number an image."""
  del x_t, x0, t
  scale = guidance.reshape(-1, *[1] * (eps_cond.ndim - 1))
  return eps_uncond + scale * (eps_cond - eps_uncond)


def begin(rows: dict[str, Array], start: float, noise: Array, clean: Array | None = None) -> Array:
  """Where sampling starts: noise, or a clean latent noised to the first step's level (with no step: itself)."""
  if clean is None:
    return start * noise
  if not rows["t"].shape[0]:
    return clean
  return rows["signal"][0] * clean + rows["noise"][0] * noise


def sample(
  predict: Callable[[Array, Array], tuple[Array, Array | None]],
  rows: dict[str, Array],
  x: Array,
  prediction: str,
  *,
  clip: float = 0.0,
  fresh_noise: Callable[[Array], Array] | None = None,
  guide: Guide = classifier_free,
  aux: Any = None,
  is_zero_snr: bool = False,
) -> Array:
  """From `begin` to a clean latent.

  `predict(x_t, t)` gives the network's output with the prompt and without it (None: sampled unguided).
  `fresh_noise(step)` is asked for where the table is noisy. `is_zero_snr`: predicted noise says nothing of x0 at the
  first step, so the outputs themselves are guided and taken apart.
  """

  def to_eps(output: Array, x_t: Array, row: dict[str, Array]) -> Array:
    if prediction == "v_prediction":
      return row["signal"] * output + row["noise"] * x_t
    if prediction == "sample":
      return (x_t - row["signal"] * output) / row["noise"]
    return output

  def to_x0(eps: Array, x_t: Array, row: dict[str, Array]) -> Array:
    return (x_t - row["noise"] * eps) / row["signal"]

  def x0_of(output: Array, x_t: Array, row: dict[str, Array]) -> Array:
    return output if prediction == "sample" else row["signal"] * x_t - row["noise"] * output

  def parts(cond: Array, uncond: Array | None, x_t: Array, row: dict[str, Array]) -> tuple[Array, Array]:
    """Guided x0 and eps."""
    if is_zero_snr:
      x0 = x0_of(cond, x_t, row)
      output = cond if uncond is None else guide(x_t, x0, cond, uncond, row["t"], aux)
      return x0_of(output, x_t, row), to_eps(output, x_t, row)
    eps = to_eps(cond, x_t, row)
    if uncond is not None:
      eps_uncond = to_eps(uncond, x_t, row)
      eps = guide(x_t, to_x0(eps, x_t, row), eps, eps_uncond, row["t"], aux)
    return to_x0(eps, x_t, row), eps

  def step(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
    x_t, x0_before = carry
    row = {k: v[i] for k, v in rows.items()}
    x0, eps = parts(*predict(x_t, row["t"]), x_t, row)
    if clip:
      x0 = jnp.clip(x0, -clip, clip)
    x_next = row["keep"] * x_t + row["clean"] * x0 + row["eps"] * eps + row["before"] * x0_before
    if fresh_noise is not None:
      x_next = x_next + row["fresh"] * fresh_noise(i)
    return x_next, x0

  steps = rows["t"].shape[0]
  return jax.lax.fori_loop(0, steps, step, (x, jnp.zeros_like(x)))[0] if steps else x
