"""Which numbers CLIP's networks keep in 32 bits: read from the program that is traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.encoders.layouts import openclip_architecture
from synthjax.encoders.preprocess import Preprocess
from synthjax.encoders.towers import Towers
from synthjax.models.attention import attend

VISION = {
  "patches": dict(image_size=32, layers=2, width=32, head_width=16, patch_size=8),
  "residual": dict(image_size=64, layers=[1, 1, 1, 1], width=8),
}


def towers(kind: str, dtype: str) -> Towers:
  vision = VISION[kind]
  text = dict(context_length=12, vocab_size=50, width=32, heads=2, layers=2)
  model = dict(embed_dim=24, quick_gelu=True, vision_cfg=vision, text_cfg=text)
  side = vision["image_size"]
  return Towers(openclip_architecture(kind, model), Preprocess(side, side), dtype)


def equations(jaxpr):
  for equation in jaxpr.eqns:
    yield equation
    for value in equation.params.values():
      inner = getattr(value, "jaxpr", value)
      if hasattr(inner, "eqns"):
        yield from equations(inner)


def traced(encoder: Towers, what: str) -> list:
  side = encoder.preprocess.side
  inputs = {"image": ((2, side, side, 3), jnp.uint8), "text": ((2, 12), jnp.int32)}[what]
  function = getattr(encoder, f"{what}_features")
  return list(
    equations(jax.make_jaxpr(function)(encoder.param_shapes(), jax.ShapeDtypeStruct(*inputs)).jaxpr)
  )


@pytest.mark.parametrize(
  ("kind", "what", "products"), [("patches", "image", 18), ("patches", "text", 17), ("residual", "image", 25)]
)
def test_16_bits_are_for_products_alone(kind, what, products):
  found = traced(towers(kind, "bfloat16"), what)
  dots = [e for e in found if e.primitive.name in ("dot_general", "conv_general_dilated")]
  wide = [e for e in dots if e.invars[0].aval.dtype == jnp.float32]
  assert len(dots) == products
  # The first convolution, where there is one, and the last projection, for one row an image or text.
  assert [e.primitive.name for e in wide] == ["conv_general_dilated"] * (what == "image") + ["dot_general"]
  assert wide[-1].outvars[0].aval.shape == (2, 24)
  assert all(v.aval.dtype == jnp.bfloat16 for e in dots if e not in wide for v in e.invars)
  for name in ("exp", "rsqrt", "reduce_sum", "reduce_max", "div"):  # of softmax and norms
    assert {v.aval.dtype for e in found if e.primitive.name == name for v in e.outvars} <= {
      np.dtype("float32")
    }, name
  assert any(e.primitive.name == "exp" for e in found) and any(e.primitive.name == "rsqrt" for e in found)
  sums = [
    e
    for e in found
    if e.primitive.name == "add" and len(e.outvars[0].aval.shape) == (4 if kind == "residual" else 3)
  ]
  branches = [
    e for e in sums if all(getattr(v.aval, "shape", ()) == e.outvars[0].aval.shape for v in e.invars)
  ]
  assert branches and all(e.outvars[0].aval.dtype == jnp.float32 for e in branches)


def test_32_bits_stay():
  for what in ("image", "text"):
    assert not any(
      v.aval.dtype == jnp.bfloat16 for e in traced(towers("patches", "float32"), what) for v in e.outvars
    )


@pytest.mark.parametrize("causal", [False, True])
def test_attention_by_hand(causal):
  q, k, v = np.random.default_rng(0).standard_normal((3, 2, 5, 3, 4)).astype(np.float32)
  scores = np.einsum("blhd,bmhd->bhlm", q, k).astype(np.float64) / 2  # the root of 4
  if causal:
    scores[..., np.triu(np.ones((5, 5), bool), 1)] = -np.inf
  shares = np.exp(scores - scores.max(-1, keepdims=True))
  want = np.einsum("bhlm,bmhd->blhd", shares / shares.sum(-1, keepdims=True), v)
  np.testing.assert_allclose(attend(q, k, v, causal=causal), want, rtol=1e-5, atol=1e-6)


def test_attention_in_16_bits_sums_in_32():
  """1,000 equal shares of 1/1,000: in 16 bits they would sum to anything but 1."""
  zeros, ones = jnp.zeros((1, 1000, 1, 8), jnp.bfloat16), jnp.ones((1, 1000, 1, 8), jnp.bfloat16)
  out = attend(zeros[:, :1], zeros, ones)
  assert out.dtype == jnp.bfloat16
  np.testing.assert_allclose(np.asarray(out, np.float32), 1, rtol=4e-3)
