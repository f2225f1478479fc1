"""What a row of the benchmark says, on planted numbers."""

import signal
import sys

import jax
import jax.numpy as jnp
import pytest

from synthjax import benchmark
from synthjax.benchmark import table
from synthjax.benchmark.case import Measuring, figures, measure
from synthjax.runtime import devices, peaks
from synthjax.runtime.errors import Interrupted
from synthjax.runtime.stopping import Stop


class Planted:
  """100 images a second on the devices alone, 80 with the host; each image costs 2e9 operations."""

  name, dtype, batch_size = "planted", jnp.dtype("float32"), 8

  def __init__(self, fault: Exception | None = None, after_bare=lambda: None):
    self.facts = {"network": "none", "per_device_batch": 2}
    self.calls, self.is_released, self._fault, self._after_bare = [], False, fault, after_bare

  def flops(self):
    return 2e9

  def mesh(self):
    return devices.local_mesh()

  def load(self, mesh):
    del mesh

  def compile(self):
    return jax.jit(lambda x: x + 1).lower(jnp.zeros(1000)).compile(), {"plain": ["4x4"]}

  def bare(self, n):
    self.calls.append(("bare", n))
    self._after_bare()
    return 100.0

  def whole(self, n):
    self.calls.append(("whole", n))
    if self._fault:
      raise self._fault
    return 80.0

  def theirs(self):
    raise ImportError

  def release(self):
    self.is_released = True


def how(**fields) -> Measuring:
  defaults = dict(rounds=2, seconds=0.01, torch=True, memory_limit=10**9, stop=Stop(), tell=lambda _: None)
  return Measuring(**(defaults | fields))


def test_arithmetic_of_a_row():
  got = figures(
    3e12, bare=[4.0, 2.0, 8.0], whole=[3.0, 2.0, 6.0], peak=[24.0, 12.0, 48.0], theirs=[2.0, 4.0, 4.0]
  )
  assert got["tflops"] == {"median": 12.0, "min": 6.0, "max": 24.0}
  assert got["share_of_peak"] == {
    "median": 0.5,
    "min": 0.5,
    "max": 0.5,
  }  # round by round: a slow minute is slow for all
  assert got["whole_over_bare"] == {"median": 0.75, "min": 0.75, "max": 1.0}
  assert got["ours_over_theirs"] == {"median": 2.0, "min": 0.5, "max": 2.0}
  assert figures(1.0, [1.0], [1.0], [], [])["share_of_peak"] is None


def test_rates_are_of_one_device_and_rounds_in_turn():
  case = Planted()
  row = measure(case, how())
  assert row["device_only"]["median"] == 25.0  # 4 devices
  assert row["end_to_end"]["median"] == 20.0
  assert row["tflops"]["median"] == pytest.approx(0.05)
  assert row["share_of_peak"]["median"] == pytest.approx(0.05 / row["peak_tflops"]["median"], rel=0.5)
  assert row["memory_by"] == "compiler" and row["memory_bytes"] >= 8000
  # The first two warm up and say how many images a round takes; a whole loop has two batches at least.
  assert case.calls == [("whole", 8), ("bare", 8), *[("bare", 8), ("whole", 16)] * 2]
  assert case.is_released


def test_a_round_takes_about_the_seconds_asked_for():
  case = Planted()
  measure(case, how(seconds=1.0))
  assert case.calls[-1] == ("whole", 96)  # the batches of 8 that are nearest to 100 images


def test_what_does_not_fit_is_a_row():
  case = Planted()
  row = measure(case, how(memory_limit=1000))
  assert row["refused"] == "needs 0.0 GB of a device that has 0.0 GB"
  assert not case.calls and case.is_released
  at_run = measure(Planted(fault=jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GB")), how())
  assert at_run["refused"] == "the device ran out of memory"
  _, _, refused, *_ = table.of_cases([measure(Planted(), how()), row]).splitlines()
  assert refused.startswith("planted  2      needs 0.0 GB of a device")
  with pytest.raises(jax.errors.JaxRuntimeError):
    measure(Planted(fault=jax.errors.JaxRuntimeError("INTERNAL")), how())


def test_a_stop_is_honoured_between_measurements():
  with Stop() as stop:
    case = Planted(after_bare=lambda: signal.raise_signal(signal.SIGTERM) if len(case.calls) == 3 else None)
    with pytest.raises(Interrupted):
      measure(case, how(stop=stop, rounds=50))
  assert len(case.calls) == 3 and case.is_released


def test_without_pytorch_its_columns_are_empty(monkeypatch):
  monkeypatch.setitem(sys.modules, "torch", None)
  monkeypatch.delitem(sys.modules, "synthjax.benchmark.pytorch", raising=False)
  monkeypatch.delattr(benchmark, "pytorch", raising=False)

  class Asks(Planted):
    def theirs(self):
      from synthjax.benchmark import pytorch

      return pytorch

  row = measure(Asks(), how())
  assert row["torch"] is None and row["ours_over_theirs"] is None
  header, line, *notes = table.of_cases([row]).splitlines()
  assert line.split()[-2:] == ["-", "-"] and header.split()[-2:] == ["PyTorch/s", "ours/theirs"]
  assert "PyTorch: is not installed" in notes


@pytest.mark.parametrize(
  ("kind", "peak"),
  [
    ("NVIDIA H100 80GB HBM3", 989),
    ("NVIDIA H100 PCIe", 756),
    ("NVIDIA H200", 989),
    ("NVIDIA A100-SXM4-80GB", 312),
    ("NVIDIA L4", 121),
    ("NVIDIA L40S", None),
    ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
    ("TPU v4", 275),
    ("TPU v4 lite", None),
    ("TPU v5 lite", 197),
    ("TPU v5p", 459),
    ("TPU v6 lite", 918),
    ("cpu", None),
  ],
)
def test_published_peaks(kind, peak):
  assert peaks.published(kind) == peak
