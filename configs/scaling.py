"""How far do synthetic images go? Errors against numbers of images: real, synthetic, both, by prompts and guidance (Fan et al.).

    python -m synthjax.main --config configs/scaling.py --workdir runs/scaling

In the small world: a small ResNet learns 4 to 60 real digits a class; or 10 to 640 synthetic ones of three prompt lists at three
guidances, at the base point (LE, guidance 2) and 10 to 160 elsewhere; or as many of each. Every seed draws images of its own.
Laws are fitted to its errors and losses on 10,000 rendered digits; the second half of the real digits is far from what the
generator knows. Before anything is trained, each set's images are measured: how many a classifier takes for what they should be, how much
they differ, how far they are from real ones. `scaling/index.html` has curves, laws, and how many synthetic images a real one is worth; `synthjax fit
runs/scaling/results.jsonl` fits others. The recipe is that of configs/real_and_synthetic.py, the same at every size.
"""

from synthjax.config import encoder, grid, image_set, log, prompt_list, real_images, set_metrics, study_config


def get_config(arg=""):
  del arg
  config = study_config(labels="digits")
  config.prompts.LE = prompt_list("LE")
  config.prompts.B = prompt_list("B")
  config.prompts.templates = prompt_list("templates")
  config.sets.base = image_set("LE", guidance=2.0)
  config.sampling.update(generator="embedded:generator", steps=12, images_per_class=60, images_per_shard=200)
  config.real.first = real_images("embedded:digits:first")
  config.tests.glyphs = "embedded:glyphs:printed+handwritten+typed:1000"
  config.tests.real = "embedded:digits:second"
  config.encoders.clip = encoder("embedded:clip-resnet")
  config.metrics.clip = set_metrics(
    encoder="clip", real="first", subsample=890
  )  # as many of each set as real ones

  config.learning.update(model="resnet-mini", size=16, batch=32, steps=400, learning_rate=4e-3, warmup=0.1)
  config.learning.update(
    mixup=1.0, smoothing=0.1, rotate=10.0, shift=0.04, stretch=0.15, shear=0.15, elastic=0.7
  )
  config.seeds = 5
  config.scaling.real = grid(real="first", shots=log(4, 60, 6))
  config.scaling.synthetic = grid("base", images_per_class=log(10, 640, 7))
  config.scaling.settings = grid(
    "base", prompts=("LE", "B", "templates"), guidance=(2.0, 1.0, 4.0), images_per_class=log(10, 160, 5)
  )
  config.scaling.both = grid("base", real="first", shots=log(4, 60, 6), ratio=1.0)
  return config
