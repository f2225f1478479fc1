"""The networks that learners may name, built for a number of classes and of domains."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from synthjax.models import resnet, vit
from synthjax.runtime.errors import UserError, nearest

NAMES = (*resnet.SIZES, *vit.SIZES)


def unseen_edge(name: str, size: int) -> int:
  """How many rows and columns of an image are in no patch of a vision transformer: its convolution cuts them off."""
  return size % vit.SIZES[name].patch if name in vit.SIZES else 0


def build(
  name: str,
  classes: int,
  *,
  domains: int = 1,
  test_domain: int = 0,
  drop_path: float = 0.0,
  dtype: str = "float32",
  remat: bool = False,
) -> nn.Module:
  common: dict[str, Any] = dict(
    classes=classes, domains=domains, test_domain=test_domain, dtype=jnp.dtype(dtype), remat=remat
  )
  if name in resnet.SIZES:
    if drop_path:
      raise UserError(f"drop_path belongs to vision transformers, not to {name}; set it to 0")
    return resnet.ResNet(resnet.SIZES[name], **common)
  if name in vit.SIZES:
    return vit.ViT(vit.SIZES[name], drop_path=drop_path, **common)
  raise UserError(f"no network {name!r}{nearest(name, NAMES)}")
