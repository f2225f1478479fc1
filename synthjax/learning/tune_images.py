"""CT through the images: a batch passes the encoder at every step, so that batch norms may follow it and a part may learn.

Only what learns is in `params`: the head, and the encoder's parameters that were chosen. With frozen batch norms (He et
al.'s way) running statistics normalise in training too and stay as they are; unfrozen, a batch is normalised by its own
statistics and the running ones follow, which the test then uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct, traverse_util

from synthjax.encoders.towers import STATISTICS, Towers
from synthjax.learning.tune import logits_of, mixed_loss
from synthjax.runtime.errors import UserError

Array = jax.Array
Flat = dict[str, Any]  # parameters by their path, as visual/layer4_0/conv1/kernel
_IMAGE = ("visual", "vision_model", "visual_projection")  # the branches of the image tower
_SCALE = "logit_scale"  # the networks ask for it, whatever they compute
# From the output back: what is pooled and projected, the blocks, the last first, and what comes before them.
_LAST = ("attnpool", "visual_projection", "post_layernorm")
_BLOCK = re.compile(r"layer(\d)_(\d+)|layers/(\d+)/")


def flat(params: Mapping[str, Any]) -> Flat:
  """Of the image tower; statistics are no parameters."""
  own = {k: v for k, v in params.items() if k in _IMAGE}
  return traverse_util.flatten_dict(own, sep="/")


def chosen(params: Mapping[str, Any], learns: str) -> tuple[str, ...]:
  """The paths of what learns: those that a pattern matches from the start, or, of a number, the last modules that make
  at least that share of the image tower's parameters."""
  sizes = {path: int(np.prod(x.shape)) for path, x in flat(params).items()}
  try:
    share = float(learns or 0)
  except ValueError:
    found = tuple(path for path in sizes if re.match(learns, path))
    if not found:
      raise UserError(
        f"learns {learns!r} matches no parameter of the image tower; they are named like {max(sizes, key=len)}"
      ) from None
    return found
  wanted, found = share * sum(sizes.values()), []
  for module in sorted({_module(path) for path in sizes}):
    if sum(sizes[path] for path in found) >= wanted:
      break
    found += [path for path in sizes if _module(path) == module]
  return tuple(found)


def _module(path: str) -> tuple[int, ...]:
  """How far from the output: modules sort by it."""
  if any(name in path for name in _LAST):
    return (0,)
  found = _BLOCK.search(path)
  if found is None:
    return (2,)
  return (1, *(-int(n) for n in found.groups() if n is not None))


def share(params: Mapping[str, Any], paths: Iterable[str], head: int) -> float:
  """Of all parameters of image tower and head, the percentage that learns."""
  sizes = {path: int(np.prod(x.shape)) for path, x in flat(params).items()}
  return 100 * (head + sum(sizes[path] for path in paths)) / (head + sum(sizes.values()))


def check(towers: Towers, batch_norm: str) -> None:
  if batch_norm == "unfrozen" and not towers.has_statistics:
    raise UserError(
      "batch_norm unfrozen: this encoder has no batch norms; use a CLIP with a ResNet, or set batch_norm to frozen"
    )


@struct.dataclass
class TuneImages:
  """Batches: `synthetic`, `real`, or both, each with preprocessed pixels [B, S, S, 3] and labels [B]."""

  towers: Towers = struct.field(pytree_node=False)
  classes: int = struct.field(pytree_node=False)
  learns: tuple[str, ...] = struct.field(pytree_node=False)  # paths
  unfrozen: bool = struct.field(pytree_node=False)
  soft: bool = struct.field(pytree_node=False)
  temperature: float = 2.0
  real_weight: float | None = None  # as `factor` gives it

  def initial_params(self, params: Mapping[str, Any], zero_shot_KxD: Any) -> dict[str, Any]:
    """What it starts from: the encoder, and the zero-shot classifier as the head."""
    own, head = flat(params), {"W": zero_shot_KxD, "b": jnp.zeros(self.classes)}
    variables: dict[str, Any] = {
      "params": head | {"encoder": {p: own[p] for p in sorted(self.learns)}},
      "fixed": {p: x for p, x in own.items() if p not in self.learns} | {_SCALE: params[_SCALE]},
    }
    if STATISTICS in params:
      variables[STATISTICS] = params[STATISTICS]
    if self.soft:
      variables["teacher"] = head
      variables["original"] = {p: own[p] for p in sorted(self.learns)} | (
        {STATISTICS: params[STATISTICS]} if STATISTICS in params else {}
      )
    return variables

  def init(self, key: Array, batch: Any) -> dict[str, Any]:
    """Shapes alone: training starts from `initial_params`."""
    del key, batch
    shapes = self.towers.param_shapes()
    shapes = self.initial_params(shapes, jax.ShapeDtypeStruct((self.classes, self.towers.width), jnp.float32))
    return jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), shapes)

  def encoder_params(self, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The image tower as learnt, with the statistics that its test uses."""
    return self._tower(variables, variables["params"]["encoder"], variables.get(STATISTICS))

  def _tower(self, variables: Mapping[str, Any], learnt: Flat, statistics: Any) -> dict[str, Any]:
    params = traverse_util.unflatten_dict(variables["fixed"] | learnt, sep="/")
    return params | ({STATISTICS: statistics} if statistics is not None else {})

  def loss(
    self, variables: dict[str, Any], batch: Any, key: Array, step: Array
  ) -> tuple[Array, tuple[dict, dict]]:
    del key, step
    statistics = variables.get(STATISTICS)  # they follow one domain's batch after the other's

    def see(domain: str) -> tuple[Array, Callable[[], Array]]:
      nonlocal statistics
      pixels = batch[domain]["pixels"]
      tower = self._tower(variables, variables["params"]["encoder"], statistics)
      if self.unfrozen:
        features, statistics = self.towers.image_features_in_training(tower, pixels)
      else:
        features = self.towers.image_features(tower, pixels)
      return _logits(variables["params"], features), lambda: self._taught(variables, pixels)

    loss, metrics = mixed_loss(batch, see, self.soft, self.temperature, self.real_weight)
    return loss, ({STATISTICS: statistics} if self.unfrozen else {}, metrics)

  def _taught(self, variables: dict[str, Any], pixels: Array) -> Array:
    """The zero-shot classifier's logits, on the encoder as it was."""
    original = dict(variables["original"])
    statistics = original.pop(STATISTICS, None)
    features = self.towers.image_features(self._tower(variables, original, statistics), pixels)
    return _logits(variables["teacher"], features)


def _logits(params: Mapping[str, Any], features_BxD: Array) -> Array:
  """Of one head: logits_of wants several."""
  return logits_of({"W": params["W"][None], "b": params["b"][None]}, features_BxD[None])[0]
