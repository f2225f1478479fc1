"""How much arithmetic a function is: the compiler's count for a CPU, whatever it runs on. Nothing is run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import jax

from synthjax.models import attention


def flops_of(function: Callable, *arguments: Any) -> float:
  """Of arrays or their shapes. A fused kernel counts as none and a loop's body once, so attention is plain meanwhile; a
  GPU's client counts nothing at all, so there it is lowered for the host."""

  def shape_of(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)  # wherever it lies

  with attention.countable(), contextlib.ExitStack() as stack:
    with contextlib.suppress(RuntimeError):  # JAX_PLATFORMS leaves the host out
      stack.enter_context(jax.default_device(jax.local_devices(backend="cpu")[0]))
    # A jit of its own: one that was traced before would keep the kernels it has.
    lowered = jax.jit(lambda *args: function(*args)).lower(*jax.tree.map(shape_of, arguments))
    return float((lowered.cost_analysis() or {}).get("flops", 0.0))
