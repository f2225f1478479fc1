"""The published architectures at full size: names and shapes of every tensor, and Stable Diffusion 1.5's networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from synthjax.generators import random_weights
from synthjax.generators.architectures import ARCHITECTURES
from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.models import initial
from synthjax.weights import names

PUBLISHED = ("sd15", "sd21", "sdxl")


def of_configs(architecture, folder) -> StableDiffusion:
  random_weights.write_configs(architecture, folder)
  return StableDiffusion(folder)


def torch_model(torch, part: str, config: dict, device: str):
  from diffusers import AutoencoderKL, UNet2DConditionModel
  from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

  with torch.device(device):
    if part == "unet":
      return UNet2DConditionModel.from_config(config).eval()
    if part == "vae":
      return AutoencoderKL.from_config(config).eval()
    of = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
    return of(CLIPTextConfig(**config)).eval()


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("architecture", PUBLISHED)
def test_names_and_shapes_are_pytorchs(torch, tmp_path, architecture):
  generator = of_configs(architecture, tmp_path)
  for part, shapes in generator.param_shapes().items():
    model = torch_model(torch, part, ARCHITECTURES[architecture][part], "meta")
    theirs = {n: tuple(p.shape) for n, p in model.named_parameters()}
    flat = traverse_util.flatten_dict(dict(shapes))
    ours = {
      names.torch_names(path)[0]: names.torch_shape(path, tuple(leaf.shape)) for path, leaf in flat.items()
    }
    assert ours == theirs


def same_weights(torch, generator: StableDiffusion, part: str):
  """(ours, PyTorch's network with the same parameters), scaled so that activations are of order 1."""
  shapes = generator.param_shapes()[part]
  params = initial.scaled(shapes, np.random.default_rng(0))
  model = torch_model(torch, part, ARCHITECTURES["sd15"][part], "meta")
  tensors = {
    names.torch_names(path)[0]: torch.from_numpy(np.ascontiguousarray(names.to_torch(path, leaf)))
    for path, leaf in traverse_util.flatten_dict(dict(params)).items()
  }
  model.to_empty(device="cpu")  # buffers that no file holds
  for name, buffer in model.named_buffers():
    if name.endswith("position_ids"):
      buffer.copy_(torch.arange(buffer.shape[-1])[None])
  model.load_state_dict(tensors, assign=True, strict=False)
  return {part: params}, model.eval()


def error(ours, theirs) -> float:
  theirs = theirs.detach().numpy()
  return float(np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs))


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.alone  # 12 GB
def test_unet_of_15_equals_pytorchs(torch, tmp_path):
  generator = of_configs("sd15", tmp_path)
  params, model = same_weights(torch, generator, "unet")
  rng = np.random.default_rng(0)
  x, tokens = rng.standard_normal((1, 4, 32, 32), np.float32), rng.standard_normal((1, 77, 768), np.float32)
  with torch.no_grad():
    want = model(torch.tensor(x), 481, torch.tensor(tokens)).sample
  got = jax.jit(generator.predict)(params, x, jnp.float32(481), {"tokens": tokens})
  assert 0.1 < float(want.std()) < 10
  print(f"\nSD1.5 UNet: {error(got, want):.1e}")
  assert error(got, want) <= 1e-4


@pytest.mark.parity
@pytest.mark.slow
def test_autoencoder_and_text_encoder_of_15_equal_pytorchs(torch, tmp_path):
  generator = of_configs("sd15", tmp_path)
  rng, scale = np.random.default_rng(0), 0.18215
  params, vae = same_weights(torch, generator, "vae")
  latent, pixels = rng.standard_normal((1, 4, 16, 16), np.float32), rng.random((1, 128, 128, 3), np.float32)
  with torch.no_grad():
    decoded = (vae.decode(torch.tensor(latent) / scale).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    encoded = vae.encode(torch.tensor(2 * pixels - 1).permute(0, 3, 1, 2)).latent_dist.mean * scale
  errors = {
    "decoder": error(jax.jit(generator.decode)(params, latent), decoded),
    "encoder": error(jax.jit(generator.encode_pixels)(params, pixels), encoded),
  }
  params, text = same_weights(torch, generator, "text_encoder")
  ids = generator.tokenize(["a photo of a bee", ""]).ids
  with torch.no_grad():
    want = text(torch.tensor(ids[:, 0])).last_hidden_state
  errors["text"] = error(jax.jit(generator.encode, static_argnums=2)(params, ids, 512)["tokens"], want)
  print(f"\n{errors}")
  assert max(errors.values()) <= 1e-4


@pytest.mark.slow
def test_sixteen_pictures_of_1024_are_decoded_in_parts(tmp_path):
  """All the scores of the decoder's one wide head at once would be 17 GB, its activations 34 GB at the widest."""
  from synthjax.sampling.program import SamplingProgram, Setting

  generator = of_configs("sdxl", tmp_path)
  generator = StableDiffusion(generator.folder, "bfloat16")
  program = SamplingProgram.__new__(
    SamplingProgram
  )  # the decoding alone: the UNet would take minutes to compile
  program.generator = generator
  program.setting = Setting(steps=1, guided=True, size=1024, stored_size=1024)
  shapes = {
    "vae": jax.tree.map(
      lambda a: jax.ShapeDtypeStruct(a.shape, jnp.bfloat16), generator.param_shapes()["vae"]
    )
  }
  latent = jax.ShapeDtypeStruct((16, 4, 128, 128), jnp.float32)
  compiled = jax.jit(program._to_pixels).lower(shapes, latent).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < 20e9
