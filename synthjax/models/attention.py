"""Which attention kernel runs: decided here, by platform, dtype, head size and length, for every network.

cudnn    16-bit on NVIDIA from Ampere on, where the head fits: nothing of size length x length is kept
plain    XLA's, softmax in float32; on TPUs the best below 4,096 positions
chunked  plain over parts of the queries, where all the scores at once would be too large: exact, as each query's
         softmax sees every key. The decoder's one head of 512 fits no fused kernel, so this is its way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from synthjax.runtime import progress

Array = jax.Array
_SCORES = 2**29  # bytes of float32 scores at once
_FUSED_LENGTH = 1024  # below, the scores are small and a fused kernel gains nothing
_counting: list[None] = []  # not empty: the compiler is to see every operation
Chosen = dict[str, list[str]]  # kernel -> what it runs for
_recorders: list[Chosen] = []


@dataclasses.dataclass(frozen=True)
class Kernel:
  name: str
  parts: int = 1  # of the queries

  def __str__(self) -> str:
    return self.name if self.parts == 1 else f"{self.name} in {self.parts}"


def attend(q_BxLxHxD: Array, k_BxMxHxD: Array, v_BxMxHxD: Array, *, causal: bool = False) -> Array:
  """softmax(q k^T / sqrt(D)) v, [B, L, H, D] in the dtype of q."""
  b, length, heads, size = q_BxLxHxD.shape
  kernel = (
    Kernel("plain")
    if _counting
    else choose(_platform(), q_BxLxHxD.dtype, b * heads, length, k_BxMxHxD.shape[1], size, causal)
  )
  for recorder in _recorders:
    shapes = recorder.setdefault(str(kernel), [])
    if (shape := f"{length}x{k_BxMxHxD.shape[1]} ({heads} heads of {size})") not in shapes:
      shapes.append(shape)
  if kernel.name == "cudnn":
    return jax.nn.dot_product_attention(
      q_BxLxHxD, k_BxMxHxD, v_BxMxHxD, is_causal=causal, implementation="cudnn"
    )
  if kernel.parts == 1:
    return _plain(q_BxLxHxD, k_BxMxHxD, v_BxMxHxD, causal)
  parts = q_BxLxHxD.reshape(b, kernel.parts, -1, heads, size).swapaxes(0, 1)
  done = jax.lax.map(lambda q: _plain(q, k_BxMxHxD, v_BxMxHxD, False), parts)
  return done.swapaxes(0, 1).reshape(q_BxLxHxD.shape)


def _plain(q: Array, k: Array, v: Array, causal: bool) -> Array:
  """Heads first: with them inside, as jax.nn.dot_product_attention has it, XLA's CPU kernels take 1.3 to 1.6 times as long."""
  q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
  scores_BxHxLxM = jnp.matmul(q, k.swapaxes(2, 3), preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
  if causal:
    seen = jnp.tril(jnp.ones(scores_BxHxLxM.shape[-2:], bool))
    scores_BxHxLxM = jnp.where(seen, scores_BxHxLxM, jnp.finfo(jnp.float32).min)
  weights = jax.nn.softmax(scores_BxHxLxM, axis=-1).astype(v.dtype)
  return jnp.matmul(weights, v).swapaxes(1, 2)


def choose(
  platform: str, dtype: jnp.dtype, rows: int, length: int, keys: int, size: int, causal: bool = False
) -> Kernel:
  """`rows` is batch times heads; `platform` is cpu, tpu, rocm or, with its capability, cuda9.0."""
  if platform.startswith("cuda") and dtype in (jnp.bfloat16, jnp.float16):
    capability = float(platform.removeprefix("cuda"))
    widest = 256 if capability >= 9 else 128
    if capability >= 8 and size % 8 == 0 and size <= widest and min(length, keys) >= _FUSED_LENGTH:
      return Kernel("cudnn")
  parts = 1
  while not causal and rows * (length // parts) * keys * 4 > _SCORES and length // parts % 2 == 0:
    parts *= 2
  return Kernel("plain" if parts == 1 else "chunked", parts)


@functools.cache
def _platform() -> str:
  device = jax.local_devices()[0]
  if device.platform == "gpu":
    is_cuda = "cuda" in device.client.platform_version.lower()
    return f"cuda{device.compute_capability}" if is_cuda else "rocm"
  return device.platform


@contextlib.contextmanager
def recorded(recorder: Chosen | None = None) -> Iterator[Chosen]:
  """What was chosen for the programs traced meanwhile, in order, each once. A program is traced once, when first asked for."""
  recorder = {} if recorder is None else recorder
  _recorders.append(recorder)
  try:
    yield recorder
  finally:
    _recorders.remove(recorder)


def note_once(name: str, chosen: Chosen) -> None:
  """Which kernels a network runs on, once a process: a set is drawn in several rounds."""
  if chosen:
    kernels = "; ".join(f"{kernel} {', '.join(of)}" for kernel, of in chosen.items())
    progress.note_once(f"{name}: attention: {kernels}")


@contextlib.contextmanager
def countable() -> Iterator[None]:
  """For counting FLOPs: a fused kernel counts as none, and a loop's body once."""
  _counting.append(None)
  try:
    yield
  finally:
    _counting.pop()
