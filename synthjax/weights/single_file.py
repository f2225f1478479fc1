"""Stable Diffusion in a single file, under the names of CompVis and Stability, taken apart into diffusers' networks.

The map runs from the tensors that diffusers' PyTorch classes want to those that the file holds, so that every tensor of
both sides is accounted for. PyTorch is imported where it is used: this module belongs to the converter.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from synthjax.models.without_torchvision import hide_torchvision
from synthjax.runtime.errors import UserError
from synthjax.weights.read import some
from synthjax.weights.single_file_configs import CONFIGS, PIPELINES

Configs = dict[str, dict[str, Any]]  # file -> body
_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
# Where a kind keeps its text encoders, and whether in OpenCLIP's naming. In the order in which a kind is recognised.
_TEXT = {
  "sdxl": {
    "text_encoder": ("conditioner.embedders.0.transformer.", False),
    "text_encoder_2": ("conditioner.embedders.1.model.", True),
  },
  "sd2": {"text_encoder": ("cond_stage_model.model.", True)},
  "sd1": {"text_encoder": ("cond_stage_model.transformer.", False)},
}
# Buffers, the loss of the autoencoder, and what of OpenCLIP's text tower no UNet reads.
_UNUSED = re.compile(r"\.position_ids$|\.logit_scale$|\.text_projection$|\.loss\.|\.attn_mask$|\.model_ema\.")
_RESNET = {
  "norm1": "in_layers.0",
  "conv1": "in_layers.2",
  "time_emb_proj": "emb_layers.1",
  "norm2": "out_layers.0",
  "conv2": "out_layers.3",
  "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
  "time_embedding.linear_1": "time_embed.0",
  "time_embedding.linear_2": "time_embed.2",
  "add_embedding.linear_1": "label_emb.0.0",
  "add_embedding.linear_2": "label_emb.0.2",
  "conv_in": "input_blocks.0.0",
  "conv_norm_out": "out.0",
  "conv_out": "out.2",
}
_OPEN_CLIP = (
  ("text_model.embeddings.token_embedding.weight", "token_embedding.weight"),
  ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
  ("text_model.final_layer_norm", "ln_final"),
  ("text_model.encoder.layers", "transformer.resblocks"),
  ("text_projection.weight", "text_projection"),
  ("layer_norm", "ln_"),
  ("mlp.fc1", "mlp.c_fc"),
  ("mlp.fc2", "mlp.c_proj"),
  ("self_attn.out_proj", "attn.out_proj"),
)


@dataclasses.dataclass(frozen=True)
class Source:
  """The tensor of the file that holds a wanted one: which third of its rows (-1: all of them), and whether turned."""

  name: str
  third: int = -1
  turned: bool = False

  def cut(self, tensor: Any) -> Any:
    if self.third >= 0:
      n = tensor.shape[0] // 3
      tensor = tensor[self.third * n : (self.third + 1) * n]
    return tensor.T if self.turned else tensor


def split(tensors: Mapping[str, Any], prediction: str = "") -> tuple[Configs, dict[str, dict[str, Any]]]:
  """All config files of diffusers' layout, and the tensors of each network under its folder's name."""
  kind = _kind(tensors)
  configs = _configs(kind, tensors, prediction)
  ema = {k: flat for k in tensors if k.startswith(_UNET) and (flat := _averaged(k)) in tensors}
  found, used, faults = {}, set(), []
  for part, (prefix, name_of) in _parts(kind, configs).items():
    found[part] = {}
    for name, shape in _wanted(part, configs[f"{part}/config.json"]).items():
      source = name_of(name)
      place = prefix + source.name
      if place not in tensors:
        faults.append(f"{place} is missing")
        continue
      used.add(place)
      # An average over the training draws better, and is what the published folders hold.
      tensor = source.cut(tensors[ema.get(place, place)])
      if part == "vae" and len(shape) == 2 and tuple(tensor.shape[2:]) == (1, 1):
        tensor = tensor[:, :, 0, 0]  # the attention's projections were convolutions
      if tuple(tensor.shape) != shape:
        faults.append(f"{place} is {tuple(tensor.shape)}, not {shape}")
      found[part][name] = tensor
    last = f"{prefix}transformer.resblocks.{configs[f'{part}/config.json'].get('num_hidden_layers')}."
    faults += [
      f"{n} is extra"
      for n in tensors
      if n.startswith(prefix) and n not in used and not _UNUSED.search(n) and not n.startswith(last)
    ]
  if faults:
    raise UserError(f"weights: the file is no {kind} checkpoint that can be read: {some(faults)}")
  return configs, found


def _kind(tensors: Mapping[str, Any]) -> str:
  entry = tensors.get(f"{_UNET}input_blocks.0.0.weight")
  if entry is None or not any(n.startswith(_VAE) for n in tensors):
    raise UserError(
      "weights: the file holds no whole Stable Diffusion (model.diffusion_model.*, first_stage_model.* and a text encoder)"
    )
  if entry.shape[1] != 4:
    raise UserError(
      f"weights: the file's UNet takes {entry.shape[1]} channels: a model that edits images cannot generate from text alone"
    )
  for kind, parts in _TEXT.items():
    if all(any(n.startswith(prefix) for n in tensors) for prefix, _ in parts.values()):
      return kind
  raise UserError(
    "weights: the file has no text encoder of SD 1.x, SD 2.x or SDXL base; only these can be read"
  )


def _configs(kind: str, tensors: Mapping[str, Any], prediction: str) -> Configs:
  if kind == "sdxl" and "v_pred" in tensors:
    prediction = prediction or "v_prediction"
  if kind == "sd2" and not prediction:
    raise UserError(
      "weights: SD 2.x predicts noise (the 512 px base models) or v (768 px), which its tensors do not show; give --prediction epsilon or --prediction v_prediction"
    )
  found = CONFIGS[f"sd2-{prediction}" if kind == "sd2" else kind]
  schedule = found["scheduler/scheduler_config.json"] | {"prediction_type": prediction or "epsilon"}
  return found | {
    "model_index.json": {"_class_name": PIPELINES[kind]},
    "scheduler/scheduler_config.json": schedule,
  }


def _averaged(name: str) -> str:
  """Where a full training checkpoint keeps the average of a tensor."""
  return "model_ema." + name.removeprefix("model.").replace(".", "")


def _parts(kind: str, configs: Configs) -> dict[str, tuple[str, Callable[[str], Source]]]:
  """The prefix of each network, and where below it a wanted tensor lies."""
  unet, vae = configs["unet/config.json"], configs["vae/config.json"]
  text = {
    p: (prefix, open_clip_source if is_open else Source) for p, (prefix, is_open) in _TEXT[kind].items()
  }
  return text | {
    "unet": (_UNET, lambda name: unet_source(name, unet)),
    "vae": (_VAE, lambda name: vae_source(name, len(vae["block_out_channels"]))),
  }


def _wanted(part: str, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
  """Names and shapes of diffusers' own class; nothing is allocated."""
  hide_torchvision()
  import diffusers
  import torch
  import transformers

  with torch.device("meta"):
    if part in ("unet", "vae"):
      model = getattr(diffusers, config["_class_name"]).from_config(dict(config))
    else:
      own = {k: v for k, v in config.items() if k not in ("architectures", "model_type")}
      model = getattr(transformers, config["architectures"][0])(transformers.CLIPTextConfig(**own))
  return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def unet_source(name: str, config: dict[str, Any]) -> Source:
  """`config` is the UNet's. Blocks are numbered through, a level's last one being its change of size."""
  stem, _, leaf = name.rpartition(".")
  if stem in _UNET_ENDS:
    return Source(f"{_UNET_ENDS[stem]}.{leaf}")
  layers = config["layers_per_block"]
  side, *rest = name.split(".", 1 if name.startswith("mid") else 2)
  if side == "mid_block":
    what, n, below = rest[0].split(".", 2)
    return Source(f"middle_block.{1 if what == 'attentions' else 2 * int(n)}.{_resnet(what, below)}")
  level, below = int(rest[0]), rest[1]
  what, n, below = below.split(".", 2)
  down = side == "down_blocks"
  blocks = "input_blocks" if down else "output_blocks"
  first = level * (layers + 1) + down  # input block 0 is conv_in
  if what == "downsamplers":
    return Source(f"{blocks}.{first + layers}.0.{below.replace('conv', 'op')}")
  if what == "upsamplers":
    after = 2 if config["up_block_types"][level].startswith("CrossAttn") else 1
    return Source(f"{blocks}.{first + layers}.{after}.{below}")
  return Source(f"{blocks}.{first + int(n)}.{int(what == 'attentions')}.{_resnet(what, below)}")


def _resnet(what: str, below: str) -> str:
  if what != "resnets":
    return below
  head, _, leaf = below.partition(".")
  return f"{_RESNET[head]}.{leaf}"


def vae_source(name: str, levels: int) -> Source:
  """The decoder's levels are numbered from the other end."""
  name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
  name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
  name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{levels - 1 - int(m[1])}.block", name)
  name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name)
  name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
  name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
  if "mid_block.attentions.0" in name:
    name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
    name = re.sub(r"to_([qkv])\.", r"\1.", name).replace("to_out.0", "proj_out")
  return Source(name)


def open_clip_source(name: str) -> Source:
  """Queries, keys and values lie in one tensor."""
  turned = name == "text_projection.weight"
  for ours, theirs in _OPEN_CLIP:
    name = name.replace(ours, theirs)
  if match := re.fullmatch(r"(.*)\.self_attn\.([qkv])_proj\.(weight|bias)", name):
    return Source(f"{match[1]}.attn.in_proj_{match[3]}", "qkv".index(match[2]))
  return Source(name, turned=turned)
