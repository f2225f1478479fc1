"""The published files of networks that metrics look through, as tensors under the names that metric_networks.py reads.

inception  pt_inception-2015-12-05-6726825d.pth, a state dict.
lpips      a state dict of `lpips.LPIPS`, or two files: the weights of channels (lpips/weights/v0.1/alex.pth or vgg.pth) and
           torchvision's network, whose convolutions they go with (alexnet-owt-7be5be79.pth, vgg16-397923af.pth).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synthjax.models import lpips
from synthjax.runtime.errors import UserError

_INCEPTION = ("Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch_pool.conv.weight")
_LPIPS = "lin0.model.1.weight"
# Of pixels in -1..1; the code that they are published in has them, and not the files of channels.
_SCALING = {"shift": (-0.030, -0.088, -0.188), "scale": (0.458, 0.448, 0.450)}


def is_inception(tensors: Mapping[str, Any]) -> bool:
  return all(name in tensors for name in _INCEPTION)


def is_lpips(tensors: Mapping[str, Any]) -> bool:
  return _LPIPS in tensors


def has_backbone(tensors: Mapping[str, Any]) -> bool:
  return any(name.startswith("net.") for name in tensors)


def joined(tensors: Mapping[str, Any], backbone: Mapping[str, Any]) -> dict[str, Any]:
  """Weights of channels, and torchvision's network that they go with, as one network's."""
  network = _network(backbone)
  found, like = dict(tensors), tensors[_LPIPS]
  for i, index in lpips.places(network):
    for leaf in ("weight", "bias"):
      name = f"features.{index}.{leaf}"
      if name not in backbone:
        raise UserError(f"--backbone lacks {name}; fetch it again")
      found[f"net.slice{i + 1}.{index}.{leaf}"] = backbone[name]
  widths = {
    i: len(backbone[f"features.{index}.bias"]) for i, index in lpips.places(network)
  }  # of each layer's last
  if any(len(found[name][0]) != n for i, n in widths.items() if (name := f"lin{i}.model.1.weight") in found):
    raise UserError(
      f"--backbone is {network}, which these weights of channels do not go with; take the other network"
    )
  for name, values in _SCALING.items():
    found.setdefault(f"scaling_layer.{name}", like.new_tensor(values).reshape(1, 3, 1, 1))
  return found


def _network(backbone: Mapping[str, Any]) -> lpips.Network:
  there = {name for name in backbone if name.startswith("features.") and name.endswith(".weight")}
  for network in lpips.NETWORKS:
    if there == {f"features.{index}.weight" for _, index in lpips.places(network)}:
      return network
  raise UserError(
    "--backbone holds neither torchvision's AlexNet nor its VGG-16; take alexnet-owt-7be5be79.pth or vgg16-397923af.pth"
  )
