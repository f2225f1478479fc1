"""Whole pictures against PyTorch's pipelines: same weights, same noise, every sampler, every family."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.generators import random_weights
from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.runtime import devices
from synthjax.sampling.program import SamplingProgram, Setting
from synthjax.store.plan import Plan, Segment, key_words
from synthjax.store.prompt import Prompt

SIZE, N = 32, 2
PROMPTS, NEGATIVE = ["a photo of an ant", "a drawing of two “bees” &amp; ｏｎｅ ﬂy"], "blurry"
SCHEDULERS = {
  "ddim": "DDIMScheduler",
  "dpmpp_2m": "DPMSolverMultistepScheduler",
  "euler": "EulerDiscreteScheduler",
  "euler_ancestral": "EulerAncestralDiscreteScheduler",
  "lcm": "LCMScheduler",
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
  """family -> (generator, parameters, PyTorch pipeline), each made once."""
  made = {}

  def load(family: str):
    if family not in made:
      folder = random_weights.make(family, tmp_path_factory.mktemp("generators") / family)
      generator = StableDiffusion(folder)
      made[family] = generator, generator.load_params(mesh()), pipeline(generator)
    return made[family]

  return load


def mesh() -> jax.sharding.Mesh:
  return devices.local_mesh(jax.local_devices()[:1])


def pipeline(generator):
  import diffusers
  from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

  folder = generator.folder
  whole = dict(low_cpu_mem_usage=False)
  parts = dict(
    unet=diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", **whole).eval(),
    vae=diffusers.AutoencoderKL.from_pretrained(folder / "vae", **whole).eval(),
    text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder").eval(),
    tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
    scheduler=diffusers.DDIMScheduler.from_pretrained(folder / "scheduler"),
  )
  if generator.checkpoint.is_xl:
    parts |= dict(
      text_encoder_2=CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2").eval(),
      tokenizer_2=CLIPTokenizer.from_pretrained(folder / "tokenizer_2"),
      add_watermarker=False,
    )
    made = diffusers.StableDiffusionXLPipeline(**parts)
  else:
    of = (
      diffusers.LatentConsistencyModelPipeline
      if generator.guidance_width
      else diffusers.StableDiffusionPipeline
    )
    if generator.guidance_width:
      parts["scheduler"] = diffusers.LCMScheduler.from_config(parts["scheduler"].config)
    made = of(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
  for name in ("tokenizer", "tokenizer_2"):
    if getattr(made, name, None):
      getattr(made, name).model_max_length = generator.max_tokens
  made.set_progress_bar_config(disable=True)
  return made


@pytest.mark.parity
@pytest.mark.parametrize(
  ("family", "sampler", "negative"),
  [("tiny", sampler, "") for sampler in SCHEDULERS]
  + [("tiny2", "ddim", NEGATIVE), ("tiny2", "dpmpp_2m", "")]
  + [("tinyxl", "euler", ""), ("tinyxl", "ddim", NEGATIVE)]
  + [("tinylcm", "lcm", "")],
)
def test_pictures_equal_pytorchs(torch, monkeypatch, loaded, family, sampler, negative):
  import diffusers

  generator, params, pipe = loaded(family)
  steps = 4 if family == "tinylcm" else 20
  setting = Setting(
    steps=steps, guided=True, size=SIZE, stored_size=SIZE, sampler=sampler, negative_prompt=negative
  )
  program = SamplingProgram(generator, params, setting, mesh(), N)
  prompts, latents_of = [Prompt("a", text) for text in PROMPTS], jax.jit(program.latents)
  decode = jax.jit(generator.decode)
  pipe.scheduler = getattr(diffusers, SCHEDULERS[sampler]).from_config(pipe.scheduler.config)
  said = {} if family == "tinylcm" else dict(negative_prompt=[negative] * N if negative else None)
  # A distilled UNet is told any guidance, also those that guide no other.
  for guidance in (0.0, 0.5, 2.0, 7.5) if family == "tinylcm" else (2.0, 7.5):
    plan = Plan(("a",), prompts, [Segment((N,))], images_per_shard=N, drawing="", guidance=guidance, seed=0)
    images = plan.images(plan.shards[0])
    got = np.asarray(decode(params, latents_of(*program.arguments(images)[1:])))
    noise = [torch.tensor(n) for n in noise_of(images, steps + 1, generator.latent_shape(SIZE))]
    streams = iter(noise[1:])
    for module in ("euler_ancestral_discrete", "lcm"):
      monkeypatch.setattr(
        f"diffusers.schedulers.scheduling_{module}.randn_tensor", lambda *a, s=streams, **k: next(s)
      )
    want = pipe(
      [i.prompt for i in images],
      height=SIZE,
      width=SIZE,
      num_inference_steps=steps,
      guidance_scale=guidance,
      latents=noise[0],
      output_type="np",
      **said,
    ).images
    assert want.std() > 0.05  # pictures, not one colour
    error = np.linalg.norm(got - want) / np.linalg.norm(want)
    print(f"\n{family} {sampler} {guidance}: {error:.1e}")
    assert error <= 1e-3


def noise_of(images, streams: int, shape) -> np.ndarray:
  """The noise that the program takes: [streams, N, *shape]."""
  keys = jax.random.wrap_key_data(jnp.array([key_words(i.noise_id) for i in images]), impl="threefry2x32")

  def one(stream):
    return jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, stream), shape))(keys)

  return np.array(jax.lax.map(one, jnp.arange(streams)))
