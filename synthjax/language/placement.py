"""Where a language model's parameters lie: whole on every device where they fit, else split over as few as hold them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jax.sharding import AxisType, Mesh

from synthjax.runtime import devices
from synthjax.runtime.errors import UserError

_SHARE = 0.7  # of a device's memory, at most, for parameters; keys, values and scores need the rest


def mesh_for(size: float, of: Sequence[devices.Device], limit: int, name: str) -> Mesh:
  """Axes data, over which rows are split, and fsdp, over which parameters of `size` bytes are. A device has `limit` bytes."""
  parts = next((n for n in range(1, len(of) + 1) if len(of) % n == 0 and size / n <= _SHARE * limit), None)
  if parts is None:
    raise UserError(
      f"language model {name} needs {size / 1e9:.1f} GB, and {len(of)} devices of {limit / 1e9:.1f} GB have no room for it; "
      "take bfloat16, a smaller model, or more devices"
    )
  return Mesh(np.array(of).reshape(-1, parts), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
