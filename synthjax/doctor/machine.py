"""This machine: its devices against their published peak, its memory, and how fast its cores feed a training."""

from __future__ import annotations

import io
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from synthjax.benchmark import ceilings
from synthjax.data import decoding
from synthjax.doctor.finding import Finding, gigabytes
from synthjax.runtime import devices, peaks
from synthjax.runtime.errors import of_library

_SIDE = {"cpu": 1024}  # of the matrices that are multiplied; else
_LARGE = 8192
_SHARE = 0.4  # of the published peak, below which a device is slower than its kind
_DECODING = 0.5  # seconds
_PICTURE = (375, 500)  # pixels: an ImageNet JPEG's
_SLOW = 100.0  # JPEGs a second and core


def of_devices() -> Finding:
  """Kind, number, and a matrix product against the published peak."""
  with of_library(
    lambda why: f"no device can be used ({why}); look at its driver, and at what else runs on it"
  ):
    local = jax.local_devices()
    kind, platform = local[0].device_kind, local[0].platform
    dtype = jnp.dtype(jnp.float32 if platform == "cpu" else jnp.bfloat16)
    product = ceilings.matrix_product(devices.local_mesh(), dtype, _SIDE.get(platform, _LARGE))
    reached, peak = max(product() for _ in range(2)), peaks.published(kind)
  figure = f"{len(local)} x {kind}, {reached:.3g} TFLOP/s each in a {dtype.name} matrix product"
  if platform == "cpu":
    return Finding("devices", f"{figure}; no GPU or TPU was found (the extras are cuda and tpu)")
  if peak is None:
    return Finding("devices", f"{figure}; no peak of this kind is known here")
  figure += f", {100 * reached / peak:.0f} % of the published {peak:.0f}"
  if reached < _SHARE * peak:
    return Finding("devices", figure, "look for other processes on the device, and for its power limit")
  return Finding("devices", figure)


def device_memory(asked: float = 0.0) -> Finding:
  """`asked`: config.runtime.device_memory_gb."""
  limit, free = devices.memory_limit(asked), devices.memory_free(asked)
  if limit == sys.maxsize:
    return Finding("memory", "the device does not say how much it has")
  figure = f"{gigabytes(limit)} a device, {gigabytes(free)} of it free"
  if free < limit / 2:
    return Finding("memory", figure, "end what else runs on the device")
  return Finding("memory", figure)


def decoding_rate() -> Finding:
  """JPEGs a second on all cores, by the decoder that feeds a training."""
  data, cores = _jpeg(), devices.cores()
  until = time.monotonic() + _DECODING

  def decode(_: int) -> int:
    done = 0
    while time.monotonic() < until:
      if decoding.plain_jpeg(data) is None:
        raise ValueError("the decoder refuses its own picture")
      done += 1
    return done

  began = time.monotonic()
  with ThreadPoolExecutor(cores) as pool:
    rate = sum(pool.map(decode, range(cores))) / (time.monotonic() - began)
  height, width = _PICTURE
  figure = f"{cores} cores decode {rate:,.0f} JPEGs of {width} x {height} a second"
  if rate < _SLOW * cores:
    return Finding("host", figure, "end what else runs on the cores, or give the job more of them")
  return Finding("host", figure)


def _jpeg() -> bytes:
  """About as many bytes as a photograph has: shapes, and some noise."""
  height, width = _PICTURE
  y, x = np.mgrid[:height, :width]
  waves = [np.sin(x / a) * np.cos(y / b) for a, b in ((23, 31), (7, 11), (40, 5))]
  noise = np.random.default_rng(0).normal(0, 8, (height, width, 3))
  pixels = np.stack([128 + 90 * wave for wave in waves], -1) + noise
  out = io.BytesIO()
  Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
  return out.getvalue()


def compile_cache(folder: str) -> Finding:
  """`folder`: config.runtime.compile_cache. What was not there before is gone again."""
  name = "compile cache"
  if not folder:
    return Finding(name, "off (config.runtime.compile_cache is '')")
  path = Path(folder).expanduser()
  made = [p for p in (path, *path.parents) if not p.exists()]
  try:
    path.mkdir(parents=True, exist_ok=True)
    probe = path / f".doctor-{os.getpid()}"
    probe.write_bytes(b"0")
    probe.unlink()
  except OSError as e:
    fix = "set config.runtime.compile_cache to a folder that can be written, or to '' to do without"
    return Finding(name, f"{path}: {e.strerror}", fix, essential=True)
  finally:
    for new in made:
      if new.is_dir() and not os.listdir(new):
        new.rmdir()
  return Finding(name, f"{path} can be written")
