"""How fast generators draw and encoders read: against the devices' peak, PyTorch, and what the host can do.

    python -m synthjax.main --config configs/benchmark.py:sampling --workdir runs/benchmark

`:sampling`, `:encode`, or neither for both; `cpu`, which is meant where nothing is said, or `gpu`: `:encode,gpu`.
Generators and encoders have random weights, made on the devices.

cpu: 2 cores. `:sampling` took 4 min beside other work (load 5) and 156 s of CPU time, PyTorch's part included. Ours over
PyTorch, 3 rounds: tiny 1.12 (1.11 - 1.17), embedded 1.10 (0.87 - 1.28); embedded CLIP 1.47 (0.99 - 1.57), ViT-B/32 0.70
(0.69 - 0.83). No published generator: SD1.5's parameters take 4.3 GB a core.

gpu: one H100 or H200, about 8 min by estimate; not yet run. Aims: SD1.5 4.8 images/s (40 % of peak), SDXL 1.9 (55 %).
PyTorch lives beside us: XLA_PYTHON_CLIENT_MEM_FRACTION=.6 leaves it room.
"""

from ml_collections import ConfigDict

from synthjax.config import encoding_case, sampling_case, study_config


def get_config(arg: str = ""):
  words = arg.split(",") if arg else []
  for word in words:
    if word not in ("sampling", "encode", "cpu", "gpu"):
      raise ValueError(f"configs/benchmark.py knows :sampling, :encode, cpu and gpu, not {word}")
  config = study_config()
  config.benchmark.rounds = 3
  (_on_gpu if "gpu" in words else _on_cpu)(config.benchmark)
  if "encode" in words and "sampling" not in words:
    config.benchmark.sampling = ConfigDict()
  if "sampling" in words and "encode" not in words:
    config.benchmark.encoding = ConfigDict()
  return config


def _on_cpu(benchmark: ConfigDict) -> None:
  benchmark.seconds = 1.0
  benchmark.sampling["tiny"] = sampling_case("random:tiny", steps=20, per_device_batch=8)
  benchmark.sampling["embedded"] = sampling_case("embedded:generator", steps=20, per_device_batch=8)
  benchmark.encoding["embedded"] = encoding_case("embedded:clip")
  benchmark.encoding["B32"] = encoding_case("random:clip-b32")


def _on_gpu(benchmark: ConfigDict) -> None:
  benchmark.seconds = 1.0  # at least: a batch of 32 takes 7
  half = dict(dtype="bfloat16")
  for batch in (1, 8, 32):
    benchmark.sampling[f"SD15-512-b{batch}"] = sampling_case(
      "random:sd15", size=512, steps=50, per_device_batch=batch, **half
    )
  benchmark.sampling["SDXL-1024-b8"] = sampling_case(
    "random:sdxl", size=1024, steps=20, per_device_batch=8, **half
  )
  benchmark.encoding["B16"] = encoding_case("random:clip-b16", per_device_batch=256, **half)
  benchmark.encoding["L14"] = encoding_case("random:clip-l14", per_device_batch=256, **half)
  benchmark.encoding["RN50"] = encoding_case("random:clip-rn50", per_device_batch=256, **half)
