"""Every operation of attention is counted, whatever kernel runs it."""

import jax
import jax.numpy as jnp
import pytest

from synthjax.models import attention
from synthjax.models.flops import flops_of


@pytest.mark.parametrize("platform", ["cpu", "cuda9.0"])
def test_attention_is_counted_whole(monkeypatch, platform):
  monkeypatch.setattr(attention, "_platform", lambda: platform)
  monkeypatch.setattr(attention, "_SCORES", 2**20)  # the scores are chunked in 64
  q = jax.ShapeDtypeStruct((1, 2048, 4, 64), jnp.bfloat16)
  counted = flops_of(attention.attend, q, q, q)
  products = 2 * 2 * 2048**2 * 4 * 64
  assert products < counted < 1.1 * products
