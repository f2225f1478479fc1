"""CIFAR-100, from scratch and after pre-training, by the recipes of He et al. 2023 (Sec. 4 and C.6).

    python -m synthjax.main --config configs/cifar100_transfer.py --workdir runs/cifar100 \\
        --config.learners.transfer.init=folder:WEIGHTS

CIFAR-100 is tfds', built once with: tfds build cifar100 --file_format=array_record. WEIGHTS is a folder with a ResNet-50 as
timm or transformers store it. Or a network is pre-trained here, on generated images alone, and goes on from there:

    python -m synthjax.main --config configs/cifar100_transfer.py:resnet50 --workdir runs/resnet50

`:resnet50` and `:deit-s` pre-train on the classes of CIFAR-100 (downstream-aware), `:resnet50-imagenet` and
`:deit-s-imagenet` on those of ImageNet; 1.2 million images each, at 224 pixels, as are CIFAR's. What was pre-trained is also
held against CIFAR-100 by k-NN and a linear probe. `sampling.generator` is a checkpoint (docs/guides/checkpoints.md). The
prompts are LE's, without a filter, as in the paper: 200 of 250 sentences a class by its T5, from the hub (1.2 GB), or of a
folder, --config.prompts.LE.writer=t5:FOLDER. Meant for hosts with eight GPUs or TPU chips.

Not run by us yet, but for a few steps in small. The paper: from scratch 78.83; after synthetic images of CIFAR-100's classes
83.90 (1.2 M), 85.03 (2.4 M), 85.24 (3.6 M); after ImageNet 84.50: ResNet-50s all.
"""

from synthjax.config import UserError, image_set, learner, prompt_list, real_images, study_config

_R50 = dict(model="resnet50", epochs=90.0, batch=512, crop=0.08, flip=True, dtype="bfloat16")
_DEIT = dict(  # DeiT (Touvron et al. 2021)
  model="vit-s16",
  epochs=300.0,
  batch=1024,
  optimizer="adamw",
  learning_rate=5e-4 * 1024 / 512,
  weight_decay=0.05,
  decay_all=False,
  schedule="cosine",
  warmup=5 / 300,
  drop_path=0.1,
  crop=0.08,
  flip=True,
  randaugment=9.0,
  mixup=0.8,
  cutmix=1.0,
  erasing=0.25,
  smoothing=0.1,
  dtype="bfloat16",
)
# How to pre-train, and on whose classes.
RECIPES = {
  "resnet50": (
    _R50 | dict(optimizer="adamw", learning_rate=1e-4, weight_decay=0.9, decay_all=False, schedule="cosine"),
    "cifar100",
  ),
  "resnet50-imagenet": (
    _R50
    | dict(
      optimizer="sgd",
      learning_rate=0.2,
      weight_decay=1e-4,
      schedule="step",
      drops=(1 / 3, 2 / 3),
      drop_factor=0.1,
    ),
    "imagenet",
  ),
  "deit-s": (_DEIT, "cifar100"),
  "deit-s-imagenet": (_DEIT, "imagenet"),
}


def get_config(arg: str = ""):
  config = study_config(labels="cifar100")
  config.real.train = real_images("tfds:cifar100:train")
  config.tests.cifar100 = "tfds:cifar100:test"
  config.learning.update(
    model="resnet50-cifar",
    size=32,
    real="train",
    epochs=200.0,
    batch=128,
    optimizer="sgd",
    learning_rate=3e-3,
    momentum=0.9,
    weight_decay=5e-4,
    decay_all=True,
    schedule="step",
    drops=(0.3, 0.6, 0.8),  # at 60, 120 and 160 epochs
    drop_factor=0.2,
    clip_norm=0.0,
    crop=0.2,
    flip=True,
    dtype="bfloat16",
  )
  config.learning.evaluate_steps = 3910  # ten epochs
  config.seeds = 1
  if arg:
    _pretrain(config, arg)
  else:
    config.learners.scratch = learner(real="train", learning_rate=0.1)
    config.learners.transfer = learner(real="train", init="folder:weights")
  return config


def _pretrain(config, name: str) -> None:
  if name not in RECIPES:
    raise UserError(f"configs/cifar100_transfer.py:{name}: it is one of {', '.join(RECIPES)}, or nothing")
  recipe, labels = RECIPES[name]
  t5 = "t5:mrm8488/t5-base-finetuned-common_gen"
  config.prompts.LE = prompt_list("LE", writer=t5, labels="" if labels == config.labels else labels)
  config.sets.LE = image_set("LE")
  config.sampling.update(generator="checkpoints/sd15", stored_size=256, dtype="bfloat16")
  config.sampling.images_per_class = 12_000 if labels == "cifar100" else 1_200
  config.learning.update(model=recipe["model"], size=224, stored_size=32)
  config.learners.pretrain = learner("LE", real="", stored_size=256, probe="train", **recipe)
  config.learners.transfer = learner(init="learner:pretrain")
