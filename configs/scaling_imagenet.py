"""Scaling laws of synthetic images at full size (Fan et al. 2024): ImageNet's classes, Stable Diffusion 1.5, ViT-B/16, ResNet-50.

    python -m synthjax.main --config configs/scaling_imagenet.py --workdir runs/scaling_imagenet --plan

Supervised training on 125 to 4,000 synthetic images a class (0.125 to 4 M), by six ways to write prompts and seven guidances
around the base point; on a tenth to all of ImageNet; and on as many synthetic as real images. `scaling/index.html` shows the
paper's exponents, read off its figure, beside ours. Not run; `--plan` needs nothing of what is not here.

Prompts: class names, with WordNet's gloss, with hypernyms, sentences of a T5 (Word2Sen), CLIP's templates, and captions of ImageNet's
training images, by a server at localhost that reads images (the paper used BLIP-2). The recipes are ours where the paper leaves
them open: ViT-B/16 as DeiT, ResNet-50 as the usual 90 epochs.
"""

from synthjax.config import grid, image_set, learner, log, prompt_list, real_images, study_config

GUIDANCE = (2.0, 1.5, 3.0, 4.0, 6.0, 7.5, 10.0)  # the first is the base point
PROMPTS = ("captions", "names", "gloss", "hypernyms", "sentences", "templates")
MOST = 4000


def get_config(arg=""):
  del arg
  config = study_config(labels="imagenet")
  config.real.train = real_images("tfds:imagenet2012:train")
  config.tests.val = "tfds:imagenet2012:validation"
  config.tests.v2 = "tfds:imagenet_v2/matched-frequency:test"
  config.tests.sketch = "tfds:imagenet_sketch:test"
  config.tests.r = "tfds:imagenet_r:test"
  config.tests.a = "tfds:imagenet_a:test"

  config.prompts.captions = prompt_list(
    "captions",
    real="train",
    writer="server:http://localhost:8000/v1",
    model="Salesforce/blip2-opt-2.7b",
    per_class=1300,
  )
  config.prompts.names = prompt_list("B", template="{}")
  config.prompts.gloss = prompt_list("gloss")
  config.prompts.hypernyms = prompt_list("hypernyms")
  config.prompts.sentences = prompt_list("LE", writer="t5:mrm8488/t5-base-finetuned-common_gen")
  config.prompts.templates = prompt_list("templates")
  config.sets.base = image_set("captions", guidance=GUIDANCE[0])
  config.sampling.update(
    generator="stable-diffusion-v1-5/stable-diffusion-v1-5",
    stored_size=256,
    dtype="bfloat16",
    images_per_shard=1000,
  )

  config.learning.update(
    size=224, stored_size=256, crop=0.08, flip=True, dtype="bfloat16", subset_tests="r,a"
  )
  config.learners["vit-b16"] = learner(
    model="vit-b16",
    batch=4096,
    steps=94_000,  # 300 epochs of ImageNet
    learning_rate=4e-3,
    weight_decay=0.05,
    warmup=0.017,
    drop_path=0.1,
    randaugment=9.0,
    mixup=0.8,
    cutmix=1.0,
    erasing=0.25,
    smoothing=0.1,
  )
  config.learners.resnet50 = learner(
    model="resnet50",
    batch=1024,
    steps=112_500,  # 90 epochs of ImageNet
    optimizer="sgd",
    learning_rate=0.4,
    weight_decay=1e-4,
    warmup=0.055,
    clip_norm=0.0,
  )
  sizes, networks = log(125, MOST, 6), ("vit-b16", "resnet50")
  config.scaling.synthetic = grid(
    "base", images_per_class=sizes, prompts=PROMPTS, learner=networks, drawn_from=MOST
  )
  config.scaling.guidance = grid(
    "base",
    images_per_class=sizes[:4],
    guidance=GUIDANCE,
    prompts=("captions", "templates"),
    learner="vit-b16",
    drawn_from=MOST,
  )
  config.scaling.real = grid(real="train", fraction=(0.1, 0.25, 0.5, 1.0), learner=networks)
  config.scaling.both = grid(
    "base", real="train", fraction=(0.1, 0.25, 0.5, 1.0), ratio=1.0, learner=networks, drawn_from=MOST
  )
  return config
