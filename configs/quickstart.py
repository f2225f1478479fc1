"""Sample a few hundred images of the ten digits with a small generator of random weights, and look at them.

    python -m synthjax.main --config configs/quickstart.py --workdir runs/quickstart

2 CPU cores, 20 s. The pictures are coloured noise, since nothing here was trained; prompts, noise, shards, ids and
records are the real ones. Put your own checkpoint in place of the random one with
--config.sampling.generator=FOLDER.
"""

from synthjax.config import image_set, prompt_list, study_config


def get_config(arg: str = ""):
  del arg
  config = study_config(labels="digits")
  config.prompts.B = prompt_list("B")
  config.prompts.LE = prompt_list("LE", per_class=20, draws=25)
  config.sets.B = image_set("B")
  config.sets.LE = image_set("LE")
  config.sampling.generator = "random:tiny"
  config.sampling.images_per_class = 20
  config.sampling.steps = 20
  config.sampling.images_per_shard = 64
  return config
