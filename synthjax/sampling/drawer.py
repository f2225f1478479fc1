"""A batch of planned images to pixels, on all local devices, by one compiled program.

The program runs per device (`shard_map`): every device computes the same thing on its own slice, so an image's bits
cannot depend on how many devices there are, and nothing can be silently replicated. What differs between images
(guidance, noise key, prompt) is data; what is common to a set (steps, size, whether guided) is compiled in.

XLA's CPU kernels round differently for different shapes (seen: 1 to 3 and 32 images at once against 8, one grey level
in one pixel of ten thousand). So on CPUs images are computed in groups of a fixed size, whatever the batch.

Prompts are encoded inside the program, again for each image: 0.01 % of the work of an SD1.5 image of 50 steps, and in
return no cache of conditionings (24 GB for 200,000 prompts) and no wait for one between batches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from synthjax import devices
from synthjax.generators import samplers
from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.sampling.plan import Image, key_words

Array = jax.Array


class Draws(Protocol):
  """What the sampling loop needs of whoever draws."""

  batch_size: int

  def draw(self, images: Sequence[Image]) -> Array | np.ndarray:
    """Pixels [batch_size, H, W, 3] uint8, the given images first; returns before they are computed."""
    ...


@dataclasses.dataclass(frozen=True)
class Setting:
  """What is compiled in: another setting is another program."""

  steps: int
  guided: bool
  eta: float
  size: int
  stored_size: int
  group: int = 0  # images computed at once; 0 = the whole batch of a device


class Drawer:
  """Draws the images of one setting with one generator."""

  def __init__(
    self, generator: StableDiffusion, params: Any, setting: Setting, mesh: Mesh, per_device_batch: int
  ):
    per_device = -(-per_device_batch // setting.group) * setting.group if setting.group else per_device_batch
    self.generator, self.setting = generator, setting
    self.batch_size = per_device * mesh.size
    self._params, self._mesh = params, mesh
    self._latent_shape = generator.latent_shape(setting.size)
    everywhere = devices.place(mesh, devices.REPLICATED)
    self._table = jax.device_put(
      samplers.ddim_table(generator.schedule, setting.steps, setting.eta), everywhere
    )
    self._empty = jax.jit(generator.encode, out_shardings=everywhere)(params, generator.tokenize([""]).ids)
    replicated, batch = devices.REPLICATED, devices.BATCH
    self.program = jax.jit(
      jax.shard_map(
        self._draw,
        mesh=mesh,
        in_specs=(replicated, replicated, replicated, batch, batch, batch),
        out_specs=batch,
        check_vma=False,  # the networks are diffusers', written before varying types
      )
    )

  def arguments(self, images: Sequence[Image]) -> tuple[Any, ...]:
    """The program's arguments; a short batch is filled up with its first image."""
    filled = [*images, *[images[0]] * (self.batch_size - len(images))]
    data = (
      self.generator.tokenize([image.prompt for image in filled]).ids,
      np.array([image.guidance for image in filled], np.float32),
      np.stack([key_words(image.noise_id) for image in filled]),
    )
    return (
      self._params,
      self._table,
      self._empty,
      *jax.device_put(data, devices.place(self._mesh, devices.BATCH)),
    )

  def check(self) -> None:
    """Traces the program: networks that do not fit together, or the size, fail here and not at the first batch."""
    b, tokens = self.batch_size, self.generator.max_tokens
    shapes = [((b, tokens), jnp.int32), ((b,), jnp.float32), ((b, 2), jnp.uint32)]
    jax.eval_shape(
      self.program, self._params, self._table, self._empty, *(jax.ShapeDtypeStruct(*s) for s in shapes)
    )

  def draw(self, images: Sequence[Image]) -> Array:
    return self.program(*self.arguments(images))

  def _draw(self, params: Any, table: Any, empty_1xLxD: Array, *images: Array) -> Array:
    """Per device: tokens, guidance and noise keys to 8-bit pixels, group by group."""
    if not self.setting.group:
      return self._draw_group(params, table, empty_1xLxD, *images)
    groups = [x.reshape(-1, self.setting.group, *x.shape[1:]) for x in images]
    pixels = jax.lax.map(lambda group: self._draw_group(params, table, empty_1xLxD, *group), groups)
    return pixels.reshape(-1, *pixels.shape[2:])

  def _draw_group(
    self, params: Any, table: Any, empty_1xLxD: Array, ids_BxL: Array, guidance_B: Array, words_Bx2: Array
  ) -> Array:
    keys_B = jax.random.wrap_key_data(words_Bx2, impl="threefry2x32")

    def noise(stream: Array | int) -> Array:
      """Stream 0 is where an image starts; stream i + 1 is step i's fresh noise."""
      return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, stream), self._latent_shape))(
        keys_B
      )

    conditioning = self.generator.encode(params, ids_BxL)
    if self.setting.guided:
      conditioning = jnp.concatenate([conditioning, jnp.broadcast_to(empty_1xLxD, conditioning.shape)])

    def predict(x_t: Array, t: Array) -> tuple[Array, Array | None]:
      if not self.setting.guided:
        return self.generator.predict(params, x_t, t, conditioning), None
      with_prompt, without = jnp.split(
        self.generator.predict(params, jnp.concatenate([x_t, x_t]), t, conditioning), 2
      )
      return with_prompt, without

    latent = samplers.sample(
      predict,
      table,
      noise(0),
      self.generator.schedule,
      fresh_noise=(lambda i: noise(i + 1)) if self.setting.eta else None,
      aux=guidance_B,
    )
    pixels = self.generator.decode(params, latent)
    if self.setting.stored_size != self.setting.size:
      shape = (pixels.shape[0], self.setting.stored_size, self.setting.stored_size, 3)
      pixels = jnp.clip(jax.image.resize(pixels, shape, "lanczos3", antialias=True), 0, 1)
    return jnp.round(pixels * 255).astype(jnp.uint8)
