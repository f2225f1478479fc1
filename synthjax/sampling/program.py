"""A batch of planned images to pixels, on all local devices, by one compiled program.

The program runs per device (`shard_map`): every device computes the same thing on its own slice, so an image's bits
cannot depend on how many devices there are, and nothing can be silently replicated. What differs between images
(guidance, noise key, prompt, parent) is data; what is common to a set (steps, size, whether guided) is compiled in.

XLA's CPU kernels round differently for different shapes (seen: 1 to 3 and 32 images at once against 8, one grey level
in one pixel of ten thousand). So on CPUs images are computed in groups of a fixed size, whatever the batch. Of a short
batch the devices take the groups by turns, and compute no others.

Prompts are encoded inside the program, again for each image: 0.01 % of the work of an SD1.5 image of 50 steps, and in
return no cache of conditionings (24 GB for 200,000 prompts) and no wait for one between batches.
Parents are encoded once: each has many children.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from synthjax.generators import samplers
from synthjax.generators.stable_diffusion import Conditioning, StableDiffusion
from synthjax.models import attention
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.store.plan import Image, key_words

Array = jax.Array
_DECODED = 2**22  # pixels at once, if it is for us to say: 16 pictures of 512 px, 4 of 1024
_PARENTS = 4096  # whose latents are kept: 64 KiB each at 512 px


class Samples(Protocol):
  """What the sampling loop needs of a program that samples."""

  batch_size: int

  def sample(self, images: Sequence[Image]) -> Sampled | np.ndarray:
    """Their pixels [N, H, W, 3] uint8, or more of which theirs come first; returns before they are computed."""
    ...


@dataclasses.dataclass(frozen=True)
class Sampled:
  """Pixels that the devices compute. `np.asarray` waits for them."""

  pixels: Array  # uint8 [batch_size, H, W, 3]
  rows: np.ndarray  # of the images that were asked for

  def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    del copy
    return np.asarray(self.pixels, dtype)[self.rows]


@dataclasses.dataclass(frozen=True)
class Setting:
  """What is compiled in: another setting is another program."""

  steps: int
  guided: bool
  size: int
  stored_size: int
  sampler: str = "ddim"
  eta: float = 0.0
  strength: float = 1.0  # below 1, images begin as their parents, noised
  negative_prompt: str = ""
  group: int = 0  # images computed at once; 0 = the whole batch of a device
  decode_batch: int = 0  # pictures decoded at once; 0 = by their size

  @property
  def has_parents(self) -> bool:
    return self.strength < 1

  def table(self, generator: StableDiffusion) -> samplers.Table:
    return samplers.table(generator.schedule, self.sampler, self.steps, self.eta, self.strength)

  def is_guided(self, generator: StableDiffusion) -> bool:
    """Whether each step needs a forward without the prompt too: a distilled UNet takes the guidance as an input."""
    return self.guided and not generator.guidance_width

  def flops(self, generator: StableDiffusion) -> float:
    """Of one image."""
    forwards = len(self.table(generator)) * (2 if self.is_guided(generator) else 1)
    return generator.flops(self.size, forwards)


class SamplingProgram:
  """Samples the images of one setting with one generator. `parent` gives the pixels [S, S, 3] of an image's parent."""

  def __init__(
    self,
    generator: StableDiffusion,
    params: Any,
    setting: Setting,
    mesh: Mesh,
    per_device_batch: int,
    parent: Callable[[Image], np.ndarray] | None = None,
  ):
    self.generator, self.setting = generator, setting
    self.per_device = (
      -(-per_device_batch // setting.group) * setting.group if setting.group else per_device_batch
    )
    self.batch_size = self.per_device * mesh.size
    self._params, self._mesh = params, mesh
    self._parent, self._latents_of = parent, {}  # of parents, by id
    self._compiled: list[jax.stages.Compiled] = []  # none or one, shared by copies
    self.kernels: attention.Chosen = {}  # known once traced
    self._latent_shape = generator.latent_shape(setting.size)
    self._table, self._guided = setting.table(generator), setting.is_guided(generator)
    everywhere = devices.place(mesh, devices.REPLICATED)
    self._rows = jax.device_put(self._table.rows, everywhere)
    negative = functools.partial(
      generator.without_prompt, size=setting.size, is_empty=not setting.negative_prompt.strip()
    )
    ids = generator.tokenize([setting.negative_prompt]).ids
    self._without = jax.jit(negative, out_shardings=everywhere)(params, ids)
    common, each = (devices.REPLICATED,) * 4, (devices.BATCH,) * (4 if setting.has_parents else 3)
    self.program = jax.jit(
      jax.shard_map(
        self._draw,
        mesh=mesh,
        in_specs=(*common, *each),
        out_specs=devices.BATCH,
        check_vma=False,  # the networks are diffusers', written before varying types
      )
    )
    self._encode = jax.jit(
      jax.shard_map(
        lambda params, n, pixels: self._in_groups(functools.partial(self._encode_group, params), n, pixels),
        mesh=mesh,
        in_specs=(devices.REPLICATED, devices.REPLICATED, devices.BATCH),
        out_specs=devices.BATCH,
        check_vma=False,
      )
    )

  def with_parents(self, parent: Callable[[Image], np.ndarray] | None) -> SamplingProgram:
    """The same programs, for images that begin as others."""
    other = copy.copy(self)
    other._parent, other._latents_of = parent, {}
    return other

  def arguments(self, images: Sequence[Image]) -> tuple[Any, ...]:
    """The program's arguments: how many groups, then what they are computed from; a short batch is filled up with its first image."""
    order = self._rows_of(len(images))
    filled = [images[0]] * self.batch_size
    for row, image in zip(order, images, strict=True):
      filled[row] = image
    data: tuple[np.ndarray, ...] = (
      self.generator.tokenize([image.prompt for image in filled]).ids,
      np.array([image.guidance for image in filled], np.float32),
      np.stack([key_words(image.noise_id) for image in filled]),
    )
    if self.setting.has_parents:
      data += (self._parents_latents(filled),)
    placed = jax.device_put(data, devices.place(self._mesh, devices.BATCH))
    return (self._groups_of(len(images)), self._params, self._rows, self._without, *placed)

  def _rows_of(self, n: int) -> np.ndarray:
    """Of the batch, where each of n images is computed: groups are dealt to the devices in turn."""
    rows, group = np.arange(self.batch_size), self.setting.group
    if not group or n == self.batch_size:
      return rows[:n]
    by_device = rows.reshape(self._mesh.size, -1, group)
    return by_device.swapaxes(0, 1).reshape(-1)[:n]

  def _groups_of(self, n: int) -> np.int32:
    """That each device computes, for n images."""
    at_once = self._mesh.size * (self.setting.group or self.per_device)
    return np.int32(-(-n // at_once))

  def _parents_latents(self, images: Sequence[Image]) -> np.ndarray:
    """[B, C, H, W] of each image's parent; those not met before are encoded, so many as a batch at once."""
    assert self._parent is not None
    new = {i.parent_id: i for i in images if i.parent_id not in self._latents_of}
    if len(self._latents_of) + len(new) > _PARENTS:
      self._latents_of = {
        i.parent_id: self._latents_of[i.parent_id] for i in images if i.parent_id in self._latents_of
      }
    if new:
      pixels = [self._parent(image) for image in new.values()]
      filled, order = np.stack([pixels[0]] * self.batch_size), self._rows_of(len(pixels))
      filled[order] = pixels
      placed = jax.device_put(filled, devices.place(self._mesh, devices.BATCH))
      latents = np.asarray(self._encode(self._params, self._groups_of(len(pixels)), placed))
      self._latents_of |= dict(zip(new, latents[order], strict=True))
    return np.stack([self._latents_of[image.parent_id] for image in images])

  def _shapes(self) -> tuple[Any, ...]:
    """Of the arguments, placed as they will be."""
    b, tokens = self.batch_size, self.generator.max_tokens
    data = [
      ((b, len(self.generator.checkpoint.texts), tokens), jnp.int32),
      ((b,), jnp.float32),
      ((b, 2), jnp.uint32),
    ]
    if self.setting.has_parents:
      data.append(((b, *self._latent_shape), jnp.float32))
    batch = devices.place(self._mesh, devices.BATCH)
    shapes = (jax.ShapeDtypeStruct(*shape, sharding=batch) for shape in data)
    groups = jax.ShapeDtypeStruct((), jnp.int32)
    return (groups, self._params, self._rows, self._without, *shapes)

  def check(self) -> None:
    """Traces the program: networks that do not fit together, or the size, fail here and not at the first batch."""
    with attention.recorded(self.kernels):
      jax.eval_shape(self.program, *self._shapes())

  @property
  def compiled(self) -> jax.stages.Compiled:
    """Once for all that share the program."""
    if not self._compiled:
      with attention.recorded(self.kernels):
        lowered = self.program.lower(*self._shapes())
      self._compiled.append(lowered.compile())
    return self._compiled[0]

  @property
  def memory(self) -> int:
    """Bytes that a device needs for the program and all it reads and writes, by the compiler's own account."""
    return devices.memory_of(self.compiled)

  def check_fit(self, limit: int) -> None:
    """Refuses, before anything runs, a batch that a device of `limit` bytes has no room for."""
    needed = self.memory
    if needed <= limit:
      return
    most = self._most(limit, needed)
    fix = (
      f"at most {most} fit: set config.sampling.per_device_batch={most}"
      if most
      else f"not even {self.setting.group or 1} fit; sample smaller images (config.sampling.size), or in bfloat16"
    )
    raise UserError(
      f"{self.per_device} images at once need {needed / 1e9:.1f} GB of a device that has {limit / 1e9:.1f} GB; {fix}"
    )

  def _most(self, limit: int, needed: int) -> int:
    """The largest batch that fits, found by compiling: memory grows about evenly with the batch."""
    unit, high = self.setting.group or 1, self.per_device
    fits, tried = 0, {high: needed}
    while high - fits > unit:
      low, top = min(tried), max(n for n in tried if n <= high)
      each = (tried[top] - tried[low]) / (top - low) if top > low else 0
      guess = (fits + high) // 2 if not each else low + int((limit - tried[low]) / each)
      n = min(max(guess // unit * unit, fits + unit), high - unit)
      tried[n] = self._of(n).memory
      fits, high = (n, high) if tried[n] <= limit else (fits, n)
    return fits

  def _of(self, per_device_batch: int) -> SamplingProgram:
    return SamplingProgram(
      self.generator, self._params, self.setting, self._mesh, per_device_batch, self._parent
    )

  def sample(self, images: Sequence[Image]) -> Sampled:
    return Sampled(self.compiled(*self.arguments(images)), self._rows_of(len(images)))

  # --- the program ---------------------------------------------------------------------------------

  def _draw(self, n: Array, params: Any, rows: Any, without: Conditioning, *images: Array) -> Array:
    """Per device: tokens, guidance, noise keys and parents to 8-bit pixels, of the first n groups."""
    return self._in_groups(functools.partial(self._draw_group, params, rows, without), n, *images)

  def _in_groups(self, function: Callable[..., Array], n: Array, *images: Array) -> Array:
    if not self.setting.group:
      return function(*images)
    groups = [x.reshape(-1, self.setting.group, *x.shape[1:]) for x in images]
    found = jax.eval_shape(function, *(x[0] for x in groups))
    nothing = jnp.zeros((len(groups[0]), *found.shape), found.dtype)
    done = jax.lax.fori_loop(0, n, lambda i, done: done.at[i].set(function(*(x[i] for x in groups))), nothing)
    return done.reshape(-1, *done.shape[2:])

  def _encode_group(self, params: Any, parents_BxSxSx3: Array) -> Array:
    return self.generator.encode_pixels(params, parents_BxSxSx3 / jnp.float32(255))

  def _draw_group(self, params: Any, *data: Any) -> Array:
    return self._to_pixels(params, self.latents(params, *data))

  def latents(
    self,
    params: Any,
    rows: Any,
    without: Conditioning,
    ids_BxExL: Array,
    guidance_B: Array,
    words_Bx2: Array,
    parents_BxCxHxW: Array | None = None,
  ) -> Array:
    """Clean latents [B, C, H, W] of a group, by one device."""
    keys_B = jax.random.wrap_key_data(words_Bx2, impl="threefry2x32")

    def noise(stream: Array | int) -> Array:
      """Stream 0 is where an image starts; stream i + 1 is step i's fresh noise."""
      return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, stream), self._latent_shape))(
        keys_B
      )

    conditioning = self.generator.encode(params, ids_BxExL, self.setting.size)
    if self._guided:
      conditioning = jax.tree.map(
        lambda c, u: jnp.concatenate([c, jnp.broadcast_to(u, c.shape)]), conditioning, without
      )

    def predict(x_t: Array, t: Array) -> tuple[Array, Array | None]:
      if not self._guided:
        return self.generator.predict(params, x_t, t, conditioning, guidance_B), None
      with_prompt, without_it = jnp.split(
        self.generator.predict(params, jnp.concatenate([x_t, x_t]), t, conditioning), 2
      )
      return with_prompt, without_it

    return samplers.sample(
      predict,
      rows,
      samplers.begin(rows, self._table.start, noise(0), parents_BxCxHxW),
      self.generator.schedule.prediction,
      clip=self._table.clip,
      fresh_noise=(lambda i: noise(i + 1)) if self._table.is_noisy else None,
      aux=guidance_B,
      is_zero_snr=self._table.is_zero_snr,
    )

  def _to_pixels(self, params: Any, latent_BxCxHxW: Array) -> Array:
    """[B, S, S, 3] uint8, decoded part by part: at 1024 px each picture takes a gigabyte on the way."""

    def decode(latent: Array) -> Array:
      pixels = self.generator.decode(params, latent)
      if self.setting.stored_size != self.setting.size:
        shape = (pixels.shape[0], self.setting.stored_size, self.setting.stored_size, 3)
        pixels = jnp.clip(jax.image.resize(pixels, shape, "lanczos3", antialias=True), 0, 1)
      return jnp.round(pixels * 255).astype(jnp.uint8)

    at_once = self.setting.decode_batch or max(_DECODED // self.setting.size**2, 1)
    if self.setting.group or at_once >= len(latent_BxCxHxW):
      return decode(latent_BxCxHxW)
    return jax.lax.map(lambda x: decode(x[None])[0], latent_BxCxHxW, batch_size=at_once)
