"""A learner's fields as its task, its recipe and its pace."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from synthjax.data.augment import Augment
from synthjax.learning.classify import DOMAINS, Classify
from synthjax.learning.loop import Pace
from synthjax.learning.optimizer import Recipe, decays, frozen
from synthjax.models import networks, vit
from synthjax.spec.fields import Classify as Fields
from synthjax.spec.fields import Learning, RuntimeFields

_OF_RECIPE = (
  "learning_rate", "weight_decay", "decay_all", "clip_norm", "ema", "optimizer", "momentum", "nesterov", "schedule",
  "drop_factor", "cooldown", "accumulate", "freeze",
)  # fmt: skip
_OF_AUGMENT = (
  "size", "crop", "flip", "jitter", "hue", "grey", "blur", "randaugment", "rotate", "shift", "stretch", "shear", "elastic",
  "erasing", "mixup", "cutmix",
)  # fmt: skip


def task(fields: Fields, classes: int) -> Classify:
  auxiliary = fields.norm == "auxiliary"
  module = networks.build(
    fields.model,
    classes,
    domains=len(DOMAINS) if auxiliary else 1,
    test_domain=fields.test_domain,
    drop_path=fields.drop_path,
    dtype=fields.dtype,
    remat=fields.remat,
  )
  augment = Augment(**{k: getattr(fields, k) for k in _OF_AUGMENT})
  return Classify(module, classes, augment, fields.smoothing, auxiliary)


def steps(fields: Learning, lengths: Sequence[int], sizes: Sequence[int]) -> int:
  """An epoch is a pass over the part that takes longest."""
  if fields.steps:
    return fields.steps
  if fields.examples:
    return math.ceil(fields.examples / sum(sizes))
  return math.ceil(fields.epochs * max(n / size for n, size in zip(lengths, sizes, strict=True)))


def recipe(fields: Learning, steps: int, seed: int) -> Recipe:
  return Recipe(
    steps=steps,
    warmup=round(fields.warmup * steps),
    drops=tuple(fields.drops),
    seed=seed,
    **{k: getattr(fields, k) for k in _OF_RECIPE},
  )


def pace(fields: Learning, runtime: RuntimeFields) -> Pace:
  return Pace(
    save_seconds=runtime.save_seconds,
    keep_steps=fields.keep_steps,
    log_seconds=runtime.log_seconds,
    prefetch=fields.prefetch,
    profile=(runtime.profile_from, runtime.profile_to),
  )


def decays_otherwise(fields: Learning) -> bool:
  """Whether a parameter that learns decayed by the older rule, which asked for two dimensions alone, and does not now.

  The rule was corrected before there were tasks without the fields of classify.
  """
  if not isinstance(fields, Fields) or not fields.weight_decay or fields.decay_all:
    return False
  if fields.norm != "auxiliary" and fields.model not in vit.SIZES:
    return False
  if not fields.freeze:
    return True
  side = fields.size
  pixels = {"pixels": jax.ShapeDtypeStruct((1, side, side, 3), jnp.uint8)}
  params = jax.eval_shape(task(fields, 2).init, jax.random.key(0), pixels)["params"]
  differ = jax.tree.map(
    lambda x, now, state: state == "learns" and now != (x.ndim > 1),
    params,
    decays(params),
    frozen(params, fields.freeze),
  )
  return any(jax.tree.leaves(differ))
