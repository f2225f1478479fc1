"""The networks compute what PyTorch's classes compute on the same files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.generators import random_weights
from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError

FAMILIES = ("tiny", "tiny2", "tinyxl", "tinylcm")


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
  return random_weights.make(request.param, tmp_path_factory.mktemp("generators") / request.param)


@pytest.fixture(scope="module")
def family(folder):
  return (*load(folder), folder)


@pytest.fixture(scope="module")
def loaded(weights):
  return load(weights)


def load(folder):
  generator = StableDiffusion(folder)
  return generator, generator.load_params(devices.local_mesh(jax.local_devices()[:1]))


def error(ours, theirs) -> float:
  theirs = theirs.detach().numpy()
  return float(np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs))


TEXTS = ["a photo of a digit 3", "", "Zwölf Boxkämpfer, 99 %!"]


@pytest.mark.parity
def test_text_encoders_equal_pytorchs(torch, family):
  from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

  generator, params, folder = family
  padded = dict(padding="max_length", max_length=generator.max_tokens, return_tensors="pt")
  ids = [CLIPTokenizer.from_pretrained(folder / t)(TEXTS, **padded).input_ids for t in tokenizers(generator)]
  np.testing.assert_array_equal(generator.tokenize(TEXTS).ids, torch.stack(ids, 1).numpy())
  first = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
  got = generator.encode(params, jnp.asarray(torch.stack(ids, 1).numpy()), 32)
  with torch.no_grad():
    if len(ids) == 1:
      assert error(got["tokens"], first(ids[0]).last_hidden_state) <= 1e-5
      return
    second = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2").eval()
    outs = [m(i, output_hidden_states=True) for m, i in zip((first, second), ids, strict=True)]
  assert error(got["tokens"], torch.cat([out.hidden_states[-2] for out in outs], -1)) <= 1e-5
  assert error(got["pooled"], outs[1].text_embeds) <= 1e-5
  np.testing.assert_array_equal(got["sizes"], [[32, 32, 0, 0, 32, 32]] * 3)


def tokenizers(generator) -> list[str]:
  return [part for part in generator.checkpoint.parts if part.startswith("tokenizer")]


@pytest.mark.parity
def test_unet_equals_pytorchs(torch, family):
  from diffusers import LatentConsistencyModelPipeline, UNet2DConditionModel

  generator, params, folder = family
  rng, width = np.random.default_rng(0), generator.checkpoint.unet["cross_attention_dim"]
  x = rng.standard_normal((2, 4, 8, 8), np.float32)
  conditioning = {"tokens": rng.standard_normal((2, generator.max_tokens, width), np.float32)}
  model = UNet2DConditionModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False).eval()
  extra, guidance = {}, np.array([1.5, 8.0], np.float32)
  if generator.checkpoint.is_xl:
    conditioning |= {"pooled": rng.standard_normal((2, 48), np.float32)}
    conditioning |= {"sizes": np.array([[32, 32, 0, 0, 32, 32]] * 2, np.float32)}
    texts = dict(
      text_embeds=torch.tensor(conditioning["pooled"]), time_ids=torch.tensor(conditioning["sizes"])
    )
    extra["added_cond_kwargs"] = texts
  if generator.guidance_width:
    embed = LatentConsistencyModelPipeline.get_guidance_scale_embedding
    extra["timestep_cond"] = embed(None, torch.tensor(guidance) - 1, generator.guidance_width)
  with torch.no_grad():
    want = model(torch.tensor(x), 481, torch.tensor(conditioning["tokens"]), **extra).sample
  got = generator.predict(
    params, jnp.asarray(x), jnp.float32(481), jax.tree.map(jnp.asarray, conditioning), jnp.asarray(guidance)
  )
  assert error(got, want) <= 1e-5  # without the corrections of models/flax_classes.py 4e-5 to 4e-3


@pytest.mark.parity
def test_the_autoencoder_equals_pytorchs_both_ways(torch, family):
  from diffusers import AutoencoderKL

  generator, params, folder = family
  rng, scale = np.random.default_rng(0), generator.checkpoint.vae["scaling_factor"]
  latent, pixels = rng.standard_normal((2, 4, 8, 8), np.float32), rng.random((2, 32, 32, 3), np.float32)
  model = AutoencoderKL.from_pretrained(folder / "vae", low_cpu_mem_usage=False).eval()
  with torch.no_grad():
    decoded = (model.decode(torch.tensor(latent) / scale).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    encoded = model.encode(torch.tensor(2 * pixels - 1).permute(0, 3, 1, 2)).latent_dist.mean * scale
  assert error(generator.decode(params, jnp.asarray(latent)), decoded) <= 1e-5
  assert error(generator.encode_pixels(params, jnp.asarray(pixels)), encoded) <= 1e-5


def test_an_empty_negative_prompt_of_xl_is_zero(family):
  """As diffusers' pipeline has it, unless model_index.json says otherwise."""
  generator, params, _ = family
  ids = jnp.asarray(generator.tokenize([""]).ids)
  empty, words = (generator.without_prompt(params, ids, 32, is_empty) for is_empty in (True, False))
  assert (np.abs(empty["tokens"]).max() == 0) == generator.checkpoint.is_xl
  assert np.abs(words["tokens"]).max() > 0


def test_lengths_count_what_would_be_cut(loaded):
  generator, _ = loaded
  lengths = generator.tokenize(["x" * 10, "x" * 500]).lengths
  assert list(lengths) == [12, 502]  # a token a letter, and the two marks
  assert generator.tokenize(["x" * 500]).ids.shape == (1, 1, generator.max_tokens)


def test_flops_follow_the_forwards(loaded):
  generator, _ = loaded
  zero, one, two = (generator.flops(32, forwards) for forwards in (0, 1, 2))
  assert two - one == one - zero > zero / 10 > 0


def test_sizes_that_do_not_fit_are_refused(loaded):
  with pytest.raises(UserError, match="multiples of 8"):
    loaded[0].latent_shape(36)  # the decoder could, the UNet halves once more


def test_a_folder_that_is_none(tmp_path):
  with pytest.raises(UserError, match=r"is no folder; config\.sampling.generator takes"):
    StableDiffusion(tmp_path / "none")
