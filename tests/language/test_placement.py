"""Parameters lie whole on each device where they fit, and else on as few together as hold them."""

import math

import jax
import pytest

from synthjax.language.placement import mesh_for
from synthjax.models.qwen3 import Qwen3, Qwen3Config
from synthjax.runtime import sharding
from tests.conftest import said_of

GB = 10**9


@pytest.mark.parametrize(
  ("size", "limit", "shape"),
  [
    (1.2 * GB, 16 * GB, {"data": 4, "fsdp": 1}),
    (16.4 * GB, 24 * GB, {"data": 4, "fsdp": 1}),
    (16.4 * GB, 16 * GB, {"data": 2, "fsdp": 2}),
    (16.4 * GB, 8 * GB, {"data": 1, "fsdp": 4}),
  ],
)
def test_as_few_devices_as_hold_them(size, limit, shape):
  mesh = mesh_for(size, jax.local_devices()[:4], limit, "qwen")
  assert dict(mesh.shape) == shape and len(set(mesh.devices.flat)) == 4


def test_no_number_of_devices_holds_them():
  line = said_of(lambda: mesh_for(32.8 * GB, jax.local_devices()[:4], 8 * GB, "qwen"))
  assert line.startswith("language model qwen needs 32.8 GB, and 4 devices of 8.0 GB have no room for it")
  assert mesh_for(8 * GB, jax.local_devices()[:3], 8 * GB, "qwen").shape["fsdp"] == 3


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_the_largest_model_is_split_evenly(parts):
  """Qwen3-8B: of its parameters every device has its share, but for a thousandth."""
  network = Qwen3(Qwen3Config(151936, 4096, 12288, 36, 32, 8, 128, 40960, 1e6))
  whole = here = 0
  for x in jax.tree.leaves(network.shapes):
    whole += math.prod(x.shape)
    here += math.prod(x.shape) // (parts if any(sharding.spec(x.shape, parts)) else 1)
  assert whole / parts <= here <= 1.001 * whole / parts
