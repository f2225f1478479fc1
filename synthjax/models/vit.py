"""Vision transformers (Dosovitskiy et al. 2021) as DeiT trains them (Touvron et al. 2021): a class token, drop path, no dropout."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from synthjax.models.attention import attend
from synthjax.models.norms import LayerNorm

Array = jax.Array
DROP_PATH = "drop_path"  # the name of the random stream


@dataclasses.dataclass(frozen=True)
class ViTConfig:
  patch: int
  width: int
  layers: int
  heads: int
  epsilon: float = 1e-6
  spread: float = 0.02  # of the first weights: DeiT's, for widths from 192 on

  @property
  def initializer(self) -> nn.initializers.Initializer:
    """timm's trunc_normal_ cuts at 2, which is never reached; flax' cuts at two spreads, which leaves 0.88 of one."""
    return nn.initializers.normal(self.spread)


SIZES = {
  f"vit-{size}{patch}": ViTConfig(patch, *shape)
  for size, shape in {"ti": (192, 12, 3), "s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16)}.items()
  for patch in (4, 8, 16)
} | {"vit-mini": ViTConfig(4, 96, 4, 3, spread=0.1)}  # of the embedded world; about 1 / sqrt(width)


class Block(nn.Module):
  config: ViTConfig
  drop_path: float
  domains: int
  test_domain: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x_BxLxC: Array, train: bool, domain_B: Array | None) -> Array:
    b, length, width = x_BxLxC.shape
    heads = self.config.heads

    def dense(out: int, name: str) -> nn.Dense:
      return nn.Dense(out, dtype=self.dtype, kernel_init=self.config.initializer, name=name)

    def norm(name: str) -> LayerNorm:
      return LayerNorm(self.domains, self.test_domain, self.config.epsilon, self.dtype, name=name)

    y = norm("norm1")(x_BxLxC, domain_B)
    q, k, v = (dense(width, f"{n}_proj")(y).reshape(b, length, heads, width // heads) for n in "qkv")
    y = dense(width, "out_proj")(attend(q, k, v).reshape(b, length, width))
    x = x_BxLxC + self._dropped(y, train)
    y = dense(4 * width, "fc1")(norm("norm2")(x, domain_B))
    y = dense(width, "fc2")(nn.gelu(y, approximate=False))
    return x + self._dropped(y, train)

  def _dropped(self, branch_BxLxC: Array, train: bool) -> Array:
    """Stochastic depth: a whole branch of an example is left out, the others count for it."""
    if not train or not self.drop_path:
      return branch_BxLxC
    keep = 1 - self.drop_path
    stays = jax.random.bernoulli(self.make_rng(DROP_PATH), keep, (len(branch_BxLxC), 1, 1))
    return jnp.where(stays, branch_BxLxC / keep, 0).astype(branch_BxLxC.dtype)


class ViT(nn.Module):
  config: ViTConfig
  classes: int
  domains: int = 1  # of layer norm: 2 = an auxiliary scale and bias for synthetic images
  test_domain: int = 0
  drop_path: float = 0.0  # of the last block; it grows linearly from 0 at the first
  dtype: jnp.dtype = jnp.float32
  remat: bool = False

  @nn.compact
  def __call__(
    self, x_BxSxSx3: Array, train: bool = False, domain_B: Array | None = None, features: bool = False
  ) -> Array:
    """Logits [B, K] in float32, or the class token that the last layer sees [B, D]."""
    config, b = self.config, len(x_BxSxSx3)
    side = (config.patch, config.patch)
    patches = nn.Conv(
      config.width, side, side, "VALID", dtype=self.dtype, kernel_init=config.initializer, name="patch_embed"
    )
    x = patches(x_BxSxSx3.astype(self.dtype)).reshape(b, -1, config.width)
    token = self.param("cls_token", config.initializer, (1, 1, config.width))
    position = self.param("pos_embed", config.initializer, (1, x.shape[1] + 1, config.width))
    x = jnp.concatenate([jnp.broadcast_to(token, (b, 1, config.width)), x], axis=1) + position
    x = x.astype(self.dtype)
    block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
    for i in range(config.layers):
      drop = self.drop_path * i / max(config.layers - 1, 1)
      x = block(config, drop, self.domains, self.test_domain, self.dtype, name=f"blocks_{i}")(
        x, train, domain_B
      )
    norm = functools.partial(LayerNorm, self.domains, self.test_domain, config.epsilon)
    x_BxD = norm(name="norm")(x[:, 0], domain_B)
    if features:
      return x_BxD
    return nn.Dense(self.classes, name="head", kernel_init=config.initializer)(x_BxD)
