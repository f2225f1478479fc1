"""How close the sampling loop comes to its ceilings: the devices alone, and the host alone.

    python -m synthjax.main --config configs/benchmark.py:sampling --workdir runs/benchmark

2 CPU cores, 70 s. Whole loop against the devices alone 0.997 (0.981 - 1.050 over 5 rounds), against 60 % of the host's
encoding rate at 512 px 0.983 (0.980 - 0.984).
"""

from synthjax.config import image_set, prompt_list, study_config


def get_config(arg: str = "sampling"):
  if arg != "sampling":
    raise ValueError(f"configs/benchmark.py knows :sampling, not :{arg}")
  config = study_config(labels="digits")
  config.prompts.B = prompt_list("B")
  config.sets.tiny = image_set("B")
  config.sampling.generator = "random:tiny"
  config.sampling.steps = 20
  config.sampling.images_per_shard = 128
  config.benchmark.rounds = 5
  config.benchmark.batches = 16
  return config
