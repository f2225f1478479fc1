"""AdamW with warm-up, cosine to zero and clipping: what the networks of this package are trained with."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How long and how fast to learn. `steps` may grow on a finished run; the schedule then stretches with it."""

  steps: int
  learning_rate: float = 1e-3
  warmup: int = 0  # steps, linear from 0
  weight_decay: float = 0.0  # of matrices alone: norms, biases and embeddings of one dimension are left out
  decay_all: bool = False  # of these too, as PyTorch's AdamW does unless told otherwise
  betas: tuple[float, float] = (0.9, 0.999)
  clip_norm: float = 1.0  # global; 0 = off
  copies: bool = (
    False  # every parameter's leading axis counts independent learners: each is clipped by its own norm
  )
  ema: float = 0.0  # decay of the averaged weights; 0 = off
  seed: int = 0


def schedule(recipe: Recipe) -> optax.Schedule:
  """Linear warm-up, then cosine to 0 at the last step."""
  return optax.warmup_cosine_decay_schedule(
    init_value=0.0 if recipe.warmup else recipe.learning_rate,
    peak_value=recipe.learning_rate,
    warmup_steps=recipe.warmup,
    decay_steps=max(recipe.steps, recipe.warmup + 1),
  )


def optimizer(recipe: Recipe) -> optax.GradientTransformation:
  adamw = optax.adamw(
    schedule(recipe),
    b1=recipe.betas[0],
    b2=recipe.betas[1],
    weight_decay=recipe.weight_decay,
    mask=None if recipe.decay_all else lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
  )
  if not recipe.clip_norm:
    return adamw
  clip = optax.clip_by_global_norm(recipe.clip_norm)
  return optax.chain(_each(clip) if recipe.copies else clip, adamw)


def _each(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
  """The same, without state, for each entry of the leading axis."""

  def update(updates: optax.Updates, params: optax.Params) -> optax.Updates:
    del params
    return jax.vmap(lambda one: transformation.update(one, optax.EmptyState())[0])(updates)

  return optax.stateless(update)


def averaged(ema: optax.Params, params: optax.Params, decay: float, step: jax.Array) -> optax.Params:
  """The moving average of the weights; young averages forget the random start sooner."""
  decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, ema, params)
