"""The same work in PyTorch, by the classes of diffusers and transformers: random weights, their defaults, not compiled.

Nothing else here imports PyTorch; whoever imports this module is ready for an ImportError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from transformers import (
  CLIPTextConfig,
  CLIPTextModel,
  CLIPTextModelWithProjection,
  CLIPVisionConfig,
  CLIPVisionModelWithProjection,
)

from synthjax.benchmark.rounds import seconds
from synthjax.encoders.towers import Towers
from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.models.clip_resnet import ResNetConfig
from synthjax.runtime import devices
from synthjax.sampling.program import Setting

_GUIDANCE = 7.5
_TRIED = 8  # images in a trial


class _Work:
  """On the device that we run on; on CPUs with the batch of all our devices, on one core or on all, as is faster."""

  def __init__(self, dtype: jax.numpy.dtype, per_device_batch: int):
    platform = devices.platform()
    if platform == "gpu" and torch.cuda.is_available():
      self._device, self.shares = "cuda", 1
    elif platform == "cpu":
      self._device, self.shares = "cpu", jax.local_device_count()
    else:
      raise LookupError(f"PyTorch sees no {platform}")
    self._dtype = getattr(torch, dtype.name)
    self._batch = per_device_batch * self.shares

  def _trial(self) -> None:
    """A part of a run that says how fast all of it would be."""
    raise NotImplementedError

  def warm_up(self) -> None:
    self._trial()
    if self._device == "cpu":
      # PyTorch's threads spin while they wait for one another: on a shared machine two were nine times as slow as one.
      took = {n: self._seconds_on(n) for n in (1, min(self.shares, devices.threads()))}
      torch.set_num_threads(min(took, key=lambda n: took[n]))

  def _seconds_on(self, threads: int) -> float:
    torch.set_num_threads(threads)
    return seconds(self._trial)

  @property
  def where(self) -> str:
    device = (
      torch.cuda.get_device_name()
      if self._device == "cuda"
      else f"{torch.get_num_threads()} of {devices.threads()} cores"
    )
    return f"{torch.__version__}, {device}"

  def _made(self, build: Callable[[], Any]) -> Any:
    """A module, made on the device, so that no copy lies on the host."""
    with torch.device(self._device):
      return build().to(self._dtype).eval().requires_grad_(False)


class Sampling(_Work):
  """The text encoders, the UNet in its scheduler's loop with guidance, the decoder, pixels fetched."""

  def __init__(self, generator: StableDiffusion, setting: Setting, per_device_batch: int):
    super().__init__(generator.dtype, per_device_batch)
    checkpoint, self._setting = generator.checkpoint, setting
    self._texts = [self._made(lambda p=part: _text(p, checkpoint.texts[p])) for part in checkpoint.texts]
    self._unet = self._made(lambda: UNet2DConditionModel.from_config(checkpoint.unet))
    self._vae = self._made(lambda: AutoencoderKL.from_config(checkpoint.vae))
    self._scale = self._vae.config.scaling_factor
    schedule = checkpoint.schedule
    scheduler: Any = DDIMScheduler  # its annotations are narrower than what it takes
    self._scheduler = scheduler(
      num_train_timesteps=schedule.trained_steps,
      trained_betas=_betas(schedule.alpha_bar),
      clip_sample=False,
      set_alpha_to_one=False,
      steps_offset=1,
      prediction_type=schedule.prediction,
    )
    self._guided, self._is_xl = setting.is_guided(generator), checkpoint.is_xl
    self._latent = (self._batch, *generator.latent_shape(setting.size))
    self._ids = torch.zeros((self._batch, generator.max_tokens), dtype=torch.long, device=self._device)
    self._ids[:, -1] = checkpoint.texts["text_encoder"]["vocab_size"] - 1  # the end
    self._without = self._encode()  # of the empty prompt, once, as with us

  def run(self) -> int:
    return self._draw(self._setting.steps)

  def _trial(self) -> None:
    self._draw(2)

  @torch.inference_mode()
  def _draw(self, steps: int) -> int:
    conditioning = self._encode()
    if self._guided:
      conditioning = {k: torch.cat([self._without[k], c]) for k, c in conditioning.items()}
    added_conditions = {k: conditioning[k] for k in ("text_embeds", "time_ids") if k in conditioning} or None
    guidance = None
    if width := self._unet.config.time_cond_proj_dim:  # distilled: the UNet takes it
      guidance = torch.ones((self._batch, width), dtype=self._dtype, device=self._device)
    self._scheduler.set_timesteps(steps, device=self._device)
    x = torch.randn(self._latent, dtype=self._dtype, device=self._device)
    for t in self._scheduler.timesteps:
      twice = torch.cat([x, x]) if self._guided else x
      tokens = conditioning["tokens"]
      out = self._unet(twice, t, tokens, timestep_cond=guidance, added_cond_kwargs=added_conditions).sample
      if self._guided:
        without, with_prompt = out.chunk(2)
        out = without + _GUIDANCE * (with_prompt - without)
      x = self._scheduler.step(out, t, x).prev_sample
    pixels = self._vae.decode(x / self._scale).sample
    eight_bit = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return len(_fetched(eight_bit.permute(0, 2, 3, 1)))

  @torch.inference_mode()
  def _encode(self) -> dict[str, torch.Tensor]:
    if not self._is_xl:
      return {"tokens": self._texts[0](self._ids).last_hidden_state}
    first, second = (text(self._ids, output_hidden_states=True) for text in self._texts)
    size = self._setting.size
    sizes = torch.tensor([[size, size, 0, 0, size, size]] * self._batch, device=self._device)
    return {
      "tokens": torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1),
      "text_embeds": second.text_embeds,
      "time_ids": sizes.to(self._dtype),
    }


class Encoding(_Work):
  """Pixels to the device, the image tower, features fetched."""

  def __init__(self, encoder: Towers, per_device_batch: int):
    vision = encoder.architecture.vision
    if isinstance(vision, ResNetConfig):
      raise LookupError("transformers has no residual tower")
    super().__init__(encoder.dtype, per_device_batch)
    shape: dict[str, Any] = vision.to_dict() | dict(projection_dim=encoder.width)
    config = CLIPVisionConfig(**shape)
    self._tower = self._made(lambda: CLIPVisionModelWithProjection(config))
    side = encoder.preprocess.side
    self._pixels = torch.zeros((self._batch, side, side, 3), dtype=torch.uint8)
    normal = (torch.tensor(x, device=self._device) for x in (encoder.preprocess.mean, encoder.preprocess.std))
    self._mean, self._std = normal

  def run(self) -> int:
    return self._read(self._pixels)

  def _trial(self) -> None:
    self._read(self._pixels[:_TRIED])

  @torch.inference_mode()
  def _read(self, pixels_BxSxSx3: torch.Tensor) -> int:
    scaled = (pixels_BxSxSx3.to(self._device) / 255 - self._mean) / self._std
    pixels = scaled.permute(0, 3, 1, 2).to(self._dtype)
    return len(_fetched(self._tower(pixels).image_embeds.float()))


def _text(part: str, config: dict) -> torch.nn.Module:
  known = CLIPTextConfig(**{k: v for k, v in config.items() if not k.startswith("_")})
  return (CLIPTextModel if part == "text_encoder" else CLIPTextModelWithProjection)(known)


def _betas(alpha_bar: np.ndarray) -> np.ndarray:
  return 1 - alpha_bar / np.concatenate([[1.0], alpha_bar[:-1]])


def _fetched(tensor: torch.Tensor) -> np.ndarray:
  return tensor.cpu().numpy()
