"""AdamW and SGD with warm-up, a schedule and clipping: what every task of this package is trained with."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from synthjax.learning.schedules import Schedule, schedule_of

OPTIMIZERS = ("adamw", "sgd")
_NORMS_AND_BIASES = ("scale", "bias")  # how Flax names them; those of several domains have two dimensions
_CLIPS = 2.0  # of a structure: at a norm that is a number
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


@struct.dataclass
class Numbers:
  """What a program takes of a recipe as its arguments: recipes that differ in these alone share it."""

  schedule: Schedule
  weight_decay: float
  clip_norm: float
  epsilon: float
  momentum: float
  ema: float


def schedule(recipe: Recipe) -> Schedule:
  return schedule_of(
    recipe.schedule,
    recipe.learning_rate,
    recipe.steps,
    recipe.warmup,
    drops=recipe.drops,
    drop_factor=recipe.drop_factor,
    cooldown=recipe.cooldown,
  )


def numbers_of(recipe: Recipe) -> Numbers:
  return Numbers(
    schedule(recipe), recipe.weight_decay, recipe.clip_norm, recipe.epsilon, recipe.momentum, recipe.ema
  )


def structure_of(recipe: Recipe) -> Recipe:
  """What is left without its numbers and its seed: what a program is compiled for.

  What is off stays off. To clip at 1, the default, also stays a constant: the compiler leaves that multiplication out, and
  one more in its place was seen to change what it fuses, and so the last bits of a gradient.
  """
  return Recipe(
    steps=1,
    decay_all=recipe.decay_all,
    betas=recipe.betas,
    weight_decay=float(bool(recipe.weight_decay)),
    clip_norm=_CLIPS if recipe.clip_norm not in (0.0, 1.0) else recipe.clip_norm,
    copies=recipe.copies,
    ema=float(bool(recipe.ema)),
    optimizer=recipe.optimizer,
    momentum=float(bool(recipe.momentum)),
    nesterov=recipe.nesterov,
    accumulate=recipe.accumulate,
    freeze=recipe.freeze,
  )


def optimizer(recipe: Recipe, given: Numbers | None = None) -> optax.GradientTransformation:
  """With the numbers that are given, or with its own."""
  n = given or numbers_of(recipe)
  weight_decay = n.weight_decay if recipe.weight_decay else 0.0
  clip_norm = n.clip_norm if recipe.clip_norm != 1.0 else 1.0
  mask = None if recipe.decay_all else functools.partial(decays, copies=recipe.copies)
  if recipe.optimizer == "sgd":
    learner = optax.chain(
      optax.add_decayed_weights(weight_decay, mask),
      optax.sgd(n.schedule, n.momentum if recipe.momentum else None, recipe.nesterov),
    )
  else:
    learner = optax.adamw(n.schedule, *recipe.betas, n.epsilon, weight_decay=weight_decay, mask=mask)
  if recipe.clip_norm:
    clip = optax.clip_by_global_norm(clip_norm)
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


def averaged(ema: Any, values: Any, decay: float | jax.Array, step: jax.Array) -> Any:
  """The moving average; young averages forget the random start sooner."""
  kept = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(lambda e, p: kept * e + (1 - kept) * p, ema, values)
