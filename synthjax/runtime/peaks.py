"""What a device could do at most: dense 16-bit peaks as published."""

from __future__ import annotations

import re

# TFLOP/s. Of NVIDIA's the first whose words stand in the name: an L40S is no L4, and slower boards bear the chip's name.
_NVIDIA = {
  "H100 PCIe": 756.0,
  "H100 NVL": 835.0,
  "H200 NVL": 835.0,
  "H100": 989.0,
  "H200": 989.0,
  "GH200": 989.0,
  "A100": 312.0,
  "L4": 121.0,
}
_TPU = {
  "TPU v4": 275.0,
  "TPU v5 lite": 197.0,
  "TPU v5e": 197.0,
  "TPU v5": 459.0,
  "TPU v5p": 459.0,
  "TPU v6 lite": 918.0,
  "TPU v6e": 918.0,
}


def published(device_kind: str) -> float | None:
  """Of bfloat16 and float16 alike; None where it is not known."""
  if device_kind in _TPU:
    return _TPU[device_kind]
  if not device_kind.startswith("NVIDIA") or "MIG" in device_kind:  # a part of a device
    return None
  found = (peak for name, peak in _NVIDIA.items() if re.search(rf"\b{name}\b", device_kind))
  return next(found, None)
