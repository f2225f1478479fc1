"""PyTorch's part does the work that ours does: counted, the same operations."""

import pytest

from synthjax.benchmark.encoding import EncodingCase
from synthjax.benchmark.sampling import SamplingCase
from synthjax.spec.config import encoding_case, sampling_case, study_config

pytestmark = pytest.mark.parity


def counted(torch, work) -> float:
  from torch.utils.flop_counter import FlopCounterMode

  with FlopCounterMode(display=False) as counter:
    n = work.run()
  return counter.get_total_flops() / n


@pytest.mark.parametrize("network", ["tiny", "tiny2", "tinyxl", "tinylcm"])
def test_sampling_is_the_same_work(torch, network):
  config = study_config()
  config.benchmark.sampling["x"] = sampling_case(f"random:{network}", steps=4, per_device_batch=1)
  case = SamplingCase(config, "x", loop=None)
  assert counted(torch, case.theirs()) == pytest.approx(case.flops(), rel=0.1)  # ours leaves the prompt out


def test_encoding_is_the_same_work(torch):
  config = study_config()
  config.benchmark.encoding["x"] = encoding_case("embedded:clip")
  case = EncodingCase(config, "x")
  assert counted(torch, case.theirs()) == pytest.approx(case.flops(), rel=0.1)
