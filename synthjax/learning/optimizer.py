"""AdamW and SGD with warm-up, a schedule and clipping: what every task of this package is trained with."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

SCHEDULES = ("cosine", "step", "wsd", "constant")
OPTIMIZERS = ("adamw", "sgd")
_NORMS_AND_BIASES = ("scale", "bias")  # how Flax names them; those of several domains have two dimensions
_TOKENS = (
  "pos_embed",
  "cls_token",
)  # a ViT's, as in timm and DeiT. CLIPs name theirs otherwise, and decay them


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How long and how fast to learn. `steps` may grow on a finished run; the schedule then stretches with it."""

  steps: int
  learning_rate: float = 1e-3
  warmup: int = 0  # steps, linear from 0
  weight_decay: float = 0.0  # of what `decays`
  decay_all: bool = False  # of every parameter, as PyTorch's optimisers do by default
  betas: tuple[float, float] = (0.9, 0.999)
  epsilon: float = 1e-8  # of AdamW
  clip_norm: float = 1.0  # global; 0 = off
  copies: bool = (
    False  # every parameter's leading axis counts independent learners: each is clipped by its own norm
  )
  ema: float = 0.0  # decay of the averaged weights; 0 = off
  seed: int = 0
  optimizer: str = "adamw"  # or sgd
  momentum: float = 0.9  # of SGD
  nesterov: bool = False
  schedule: str = "cosine"  # to 0; step, wsd (constant, then linear to 0) or constant
  drops: tuple[float, ...] = ()  # of schedule step: the shares of all steps at which the rate falls
  drop_factor: float = 0.1
  cooldown: float = 0.2  # of schedule wsd: the share of all steps in which the rate falls
  accumulate: int = 1  # parts that a batch is computed in; their gradients are averaged
  freeze: str = ""  # a pattern of parameters' paths ("conv1|layer1_.*"): what matches stays as it is


def schedule(recipe: Recipe) -> optax.Schedule:
  """Linear warm-up, then as the recipe says; cosine and wsd reach 0 after the last step."""
  rate, warmup = recipe.learning_rate, recipe.warmup
  rest = max(recipe.steps - warmup, 1)
  if recipe.schedule == "cosine":
    return optax.warmup_cosine_decay_schedule(
      init_value=0.0 if warmup else rate,
      peak_value=rate,
      warmup_steps=warmup,
      decay_steps=max(recipe.steps, warmup + 1),
    )
  if recipe.schedule == "step":
    at = {max(round(share * recipe.steps) - warmup, 0): recipe.drop_factor for share in recipe.drops}
    after = optax.piecewise_constant_schedule(rate, at)
  elif recipe.schedule == "wsd":
    falling = max(round(recipe.cooldown * recipe.steps), 1)
    after = optax.linear_schedule(rate, 0.0, falling, transition_begin=max(rest - falling, 0))
  else:
    after = optax.constant_schedule(rate)
  return (
    optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), after], [warmup]) if warmup else after
  )


def optimizer(recipe: Recipe) -> optax.GradientTransformation:
  mask = None if recipe.decay_all else functools.partial(decays, copies=recipe.copies)
  if recipe.optimizer == "sgd":
    learner = optax.chain(
      optax.add_decayed_weights(recipe.weight_decay, mask),
      optax.sgd(schedule(recipe), recipe.momentum or None, recipe.nesterov),
    )
  else:
    learner = optax.adamw(
      schedule(recipe), *recipe.betas, recipe.epsilon, weight_decay=recipe.weight_decay, mask=mask
    )
  if recipe.clip_norm:
    clip = optax.clip_by_global_norm(recipe.clip_norm)
    learner = optax.chain(_each(clip) if recipe.copies else clip, learner)
  if recipe.freeze:
    learner = optax.partition(
      {"learns": learner, "frozen": optax.set_to_zero()}, lambda params: frozen(params, recipe.freeze)
    )
  return learner


def decays(params: Any, copies: bool = False) -> Any:
  """Whether each parameter decays: matrices, kernels and tables do; norms, biases and a ViT's positions and class token do not.

  It goes by what a parameter is: a norm of two domains has the dimensions of a matrix. With `copies`, the leading axis
  counts learners.
  """

  def of(path: tuple[Any, ...], value: Any) -> bool:
    return value.ndim - copies > 1 and path[-1].key not in (*_NORMS_AND_BIASES, *_TOKENS)

  return jax.tree_util.tree_map_with_path(of, params)


def frozen(params: Any, pattern: str) -> Any:
  """`frozen` or `learns` for each parameter; the pattern must match its whole path, as conv1/kernel, from the start."""

  def of(path: tuple[Any, ...], _: Any) -> str:
    return "frozen" if re.match(pattern, "/".join(str(p.key) for p in path)) else "learns"

  return jax.tree_util.tree_map_with_path(of, params)


def _each(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
  """The same, without state, for each entry of the leading axis."""

  def update(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
    del params
    return jax.vmap(lambda one: transformation.update(one, optax.EmptyState())[0])(updates)

  return optax.stateless(update)


def averaged(ema: Any, values: Any, decay: float, step: jax.Array) -> Any:
  """The moving average; young averages forget the random start sooner."""
  kept = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(lambda e, p: kept * e + (1 - kept) * p, ema, values)
