"""How fast generators draw, encoders read and networks learn: against the devices' peak, PyTorch, and what the host can do.

    python -m synthjax.main --config configs/benchmark.py:sampling --workdir runs/benchmark

`:sampling`, `:encode`, `:train`, cases by their names, several of these, or none for all; `cpu`, which is meant where nothing
is said, or `gpu`: `:encode,gpu`, `:gpu,ResNet-50`. All have random weights, made on the devices.

cpu: 2 cores. `:sampling` took 4 min beside other work (load 5) and 156 s of CPU time, PyTorch's part included. Ours over
PyTorch, 3 rounds: tiny 1.12 (1.11 - 1.17), embedded 1.10 (0.87 - 1.28); embedded CLIP 1.47 (0.99 - 1.57), ViT-B/32 0.70
(0.69 - 0.83). No published generator: SD1.5's parameters take 4.3 GB a core.

gpu: one H100 or H200. Seen on one H200 with 16 slow cores, 2026-11-27, jax 0.11.2, 2 rounds (`:gpu,ResNet-50`, `:gpu,B16`):
ResNet-50 learns 5,650 (5,220 - 6,080) images/s on the device alone (14 % of peak), 2,247 (2,173 - 2,321) from JPEGs on; CLIP
ViT-B/16 reads 7,590 (7,567 - 7,614) alone (27 %; 1.05 of PyTorch's pace), 1,188 (1,175 - 1,201) from JPEGs on: decoding by
Pillow in threads of one process was the limit (3,600 pictures/s there, the more threads beyond 4 the fewer); learners have
another decoder since, not yet seen on a GPU. Compiled there, but not timed: SD1.5 at batch 8 (41 s, by cuDNN attention),
ResNet-50-aux, CLIP's L/14 and RN50. Not tried: SDXL, and ViT-B/16 learning. Aims: SD1.5 4.8 images/s (40 % of peak), SDXL 1.9
(55 %). A case takes 1 to 2 min.
PyTorch lives beside us: XLA_PYTHON_CLIENT_MEM_FRACTION=.6 leaves it room.

`:bookkeeping` measures something else: what it costs to plan, choose from, claim and read 20,000, 200,000 and 2,000,000 images,
and how that grows (docs/performance.md). No device is used.
"""

from ml_collections import ConfigDict

from synthjax.config import UserError, encoding_case, sampling_case, study_config, training_case

_KINDS = {"sampling": "sampling", "encode": "encoding", "train": "training"}


def get_config(arg: str = ""):
  words = arg.split(",") if arg else []
  config = study_config()
  config.benchmark.rounds = 3
  if "bookkeeping" in words:
    if len(words) > 1:
      raise UserError("configs/benchmark.py:bookkeeping is measured alone")
    config.benchmark.bookkeeping = (20_000, 200_000, 2_000_000)
    return config
  (_on_gpu if "gpu" in words else _on_cpu)(config.benchmark)
  kinds = {word: config.benchmark[kind] for word, kind in _KINDS.items()}
  known = dict.fromkeys(
    [*kinds, "bookkeeping", "cpu", "gpu", *(name for cases in kinds.values() for name in cases)]
  )
  for word in words:
    if word not in known:
      raise UserError(f"configs/benchmark.py knows {', '.join(known)}, not {word}")
  if not set(words) <= {"cpu", "gpu"}:
    for kind, cases in kinds.items():
      for name in [] if kind in words else [name for name in cases if name not in words]:
        del cases[name]
  return config


def _on_cpu(benchmark: ConfigDict) -> None:
  benchmark.seconds = 1.0
  benchmark.sampling["tiny"] = sampling_case("random:tiny", steps=20, per_device_batch=8)
  benchmark.sampling["embedded"] = sampling_case("embedded:generator", steps=20, per_device_batch=8)
  benchmark.encoding["embedded"] = encoding_case("embedded:clip")
  benchmark.encoding["B32"] = encoding_case("random:clip-b32")
  small = dict(size=16, stored_size=16, classes=10, per_device_batch=64)
  benchmark.training["resnet-mini"] = training_case("resnet-mini", **small)
  benchmark.training["resnet-mini-aux"] = training_case("resnet-mini", norm="auxiliary", **small)
  benchmark.training["vit-mini"] = training_case("vit-mini", **small)


def _on_gpu(benchmark: ConfigDict) -> None:
  benchmark.seconds = 4.0  # at least: a batch of 32 takes 7
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
  benchmark.training["ResNet-50"] = training_case("resnet50", per_device_batch=256, **half)
  benchmark.training["ResNet-50-aux"] = training_case(
    "resnet50", norm="auxiliary", per_device_batch=256, **half
  )
  benchmark.training["ViT-B16"] = training_case("vit-b16", per_device_batch=128, **half)
