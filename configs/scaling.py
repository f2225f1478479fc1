"""How far do synthetic images go? Errors against numbers of images: real, synthetic, both, by prompts and guidance (Fan et al.).

    python -m synthjax.main --config configs/scaling.py --workdir runs/scaling
    python -m synthjax.main --config configs/scaling.py:classes --workdir runs/classes

In the small world, where what the generator learnt from can be drawn without end: rendered digits of other hands stand for real
images, and 10,000 more are the test in distribution. A small ResNet learns 10 to 640 of them a class, as many synthetic ones, or both.
Three prompt lists at three guidances go from 10 to 100. scikit-learn's digits are the test out of distribution; 4 to 60 a class are learnt
from too, alone and with as many synthetic ones. Each seed draws images of its own. Before anything is trained, each set's images are
measured: how many a CLIP takes for what they should be, how much they differ, how far they are from rendered ones.

`:classes` is about classes that a generator cannot draw: of 36 glyphs the study's own generator has seen 24, six of which were called
by each other's names half the time; the generator that ships has seen the ten digits alone. Which classes gain nothing from images?

`scaling/index.html` has curves, laws, and how many synthetic images a real one is worth; `synthjax fit runs/scaling/results.jsonl` fits
others. The recipes by number of images were chosen on other styles, one seed: `:recipes`.

5 seeds, 2026-11-29, k of the errors in distribution: rendered 0.50, synthetic 0.30 (LE, guidance 2), 0.23 at guidance 1; a rendered image is
worth 2.0 synthetic ones at 40 a class, and no number of them is worth 100; together they gain up to 40 a class, and lose from 200 on. All of it is in
docs/results.md. About an hour on 2 CPU cores by its parts: 14,400 images at 26 a second, 225 runs of 6 s and 100 of 12 s; it was not
timed alone. `:classes` was not run to its end.
"""

from synthjax.config import (
  UserError,
  encoder,
  grid,
  image_set,
  learner,
  log,
  network,
  prompt_list,
  real_images,
  set_metrics,
  study_config,
)

STYLES = "printed+handwritten+typed"
FEW, MANY = (10, 20, 40), (100, 200, 400, 640)  # images a class, each with a recipe of its own


def get_config(arg=""):
  made = {"": _sources, "classes": _classes, "recipes": _recipes}
  if arg not in made:
    raise UserError(f"configs/scaling.py knows :classes and :recipes, not :{arg}")
  return made[arg]()


def _sources():
  config = _small_world("digits")
  config.learners.few = learner(steps=300)
  config.learners.many = learner(steps=600)
  config.prompts.B = prompt_list("B")
  config.prompts.templates = prompt_list("templates")
  config.real.rendered = real_images(f"embedded:glyphs:{STYLES}:{max(MANY)}:learn")
  config.real.first = real_images("embedded:digits:first")
  config.tests.glyphs = f"embedded:glyphs:{STYLES}:1000"
  config.tests.digits = "embedded:digits:second"
  config.metrics.clip = set_metrics(encoder="clip", real="rendered", subsample=1000)  # as many of each set

  settings = dict(prompts=("LE", "B", "templates"), guidance=(2.0, 1.0, 4.0))
  for name, sizes, some in (("few", FEW, FEW), ("many", MANY, MANY[:1])):
    recipe = dict(learner=name)
    config.scaling[f"rendered_{name}"] = grid(real="rendered", shots=sizes, **recipe)
    config.scaling[f"synthetic_{name}"] = grid("base", images_per_class=sizes, **recipe)
    config.scaling[f"both_{name}"] = grid("base", real="rendered", shots=sizes, ratio=1.0, **recipe)
    config.scaling[f"settings_{name}"] = grid("base", images_per_class=some, **settings, **recipe)
  config.scaling.digits = grid(real="first", shots=log(4, 60, 6), learner="few")
  config.scaling.digits_both = grid("base", real="first", shots=log(4, 60, 6), ratio=1.0, learner="few")
  return config


def _classes():
  config, own = _small_world("glyphs"), "embedded:generator"
  config.networks.seen = network(
    "denoise",
    labels="seen-glyphs",
    autoencoder=own,
    text_encoder=own,
    begin_with=own,
    pictures=13_600,
    batch=64,
    ema=0.99,
    steps=600,
    warmup=50,
  )
  config.sets.base.generator = "network:seen"
  config.learning.steps = 600
  config.tests.glyphs = f"embedded:glyphs:{STYLES}:300"
  config.metrics.clip = set_metrics(encoder="clip", metrics="recognizability,spread")
  config.scaling.generators = grid(
    "base", generator=("network:seen", "embedded:generator"), images_per_class=(*FEW, 100)
  )
  return config


def _recipes():
  """Steps and mixup on styles that no test has; the digits are those that the generator's world was made by."""
  config = _small_world("digits")
  config.real.rendered = real_images(f"embedded:glyphs:{STYLES}:640:learn")
  config.tests.styles = "embedded:glyphs:scanned+painted"
  config.tests.first = "embedded:digits:first"
  config.seeds = 1
  sizes = dict(learning_steps=(300, 600, 1200), mixup=(0.0, 1.0))
  config.scaling.synthetic = grid("base", images_per_class=(10, 80, 640), **sizes)
  config.scaling.rendered = grid(real="rendered", shots=(10, 80, 640), **sizes)
  return config


def _small_world(labels):
  config = study_config(labels=labels)
  config.prompts.LE = prompt_list("LE")
  config.sets.base = image_set("LE", guidance=2.0)
  config.sampling.update(generator="embedded:generator", steps=12, images_per_class=10, images_per_shard=200)
  config.encoders.clip = encoder("embedded:clip-resnet")
  config.learning.update(model="resnet-mini", size=8, batch=64, learning_rate=8e-3, warmup=0.1)
  config.learning.update(rotate=10.0, shift=0.04, stretch=0.15, shear=0.15)
  config.seeds = 5
  return config
