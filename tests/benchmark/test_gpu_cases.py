"""The programs of the GPU preset can be lowered for an H100, though none is here: shapes, dtypes, kernels' limits."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from synthjax.cli.command_line import load_config_file
from synthjax.encoders.layouts import openclip_architecture
from synthjax.encoders.preprocess import Preprocess
from synthjax.encoders.random_weights import ARCHITECTURES
from synthjax.encoders.towers import Towers
from synthjax.generators import random_weights
from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.models import attention
from tests.conftest import ROOT

pytestmark = pytest.mark.slow
BENCHMARK = load_config_file(str(ROOT / "configs" / "benchmark.py"), "gpu").benchmark


@pytest.fixture(autouse=True)
def h100(monkeypatch):
  monkeypatch.setattr(attention, "_platform", lambda: "cuda9.0")
  monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91002)
  monkeypatch.setattr(fused_attention_stablehlo, "check_compute_capability", lambda _: True)


def lowered(function, *shapes) -> str:
  return jax.jit(function).trace(*shapes).lower(lowering_platforms=("cuda",)).as_text()


def spec(*shape, dtype=jnp.float32):
  return jax.ShapeDtypeStruct(shape, dtype)


@pytest.mark.parametrize("name", BENCHMARK.sampling)
def test_generators(tmp_path, name):
  fields = BENCHMARK.sampling[name]
  random_weights.write_configs(fields.generator.removeprefix("random:"), tmp_path)
  generator = StableDiffusion(tmp_path, fields.dtype)
  b = 2 * fields.per_device_batch  # with and without the prompt
  params = jax.tree.map(lambda s: spec(*s.shape, dtype=generator.dtype), generator.param_shapes())
  encode = functools.partial(generator.encode, size=fields.size)
  ids = spec(b, len(generator.checkpoint.texts), generator.max_tokens, dtype=jnp.int32)
  conditioning = jax.eval_shape(encode, params, ids)
  latent = generator.latent_shape(fields.size)
  assert "cudnn" not in lowered(encode, params, ids)  # 77 tokens
  assert "cudnn" in lowered(generator.predict, params, spec(b, *latent), spec(), conditioning)
  assert "cudnn" not in lowered(generator.decode, params, spec(1, *latent))  # its one head is 512 wide


@pytest.mark.parametrize("name", BENCHMARK.encoding)
def test_encoders(name):
  fields = BENCHMARK.encoding[name]
  architecture = openclip_architecture(name, ARCHITECTURES[fields.weights.removeprefix("random:")])
  side = architecture.vision.image_size
  encoder = Towers(architecture, Preprocess(side, side), fields.dtype)
  pixels = spec(fields.per_device_batch, side, side, 3, dtype=jnp.uint8)
  assert "bf16" in lowered(encoder.image_features, encoder.param_shapes(), pixels)
