"""CIFAR-100 after pre-training, by the recipe of He et al. 2023 (Sec. 4 and C.6): 200 epochs of SGD.

    python -m synthjax.main --config configs/cifar100_transfer.py --workdir runs/cifar100 \\
        --config.learners.transfer.init=folder:WEIGHTS

CIFAR-100 is tfds', built once with: tfds build cifar100 --file_format=array_record. WEIGHTS is a folder with a ResNet-50 as
timm or transformers store it, or leave it out and set `init` to learner:NAME of a learner that you add here.

Not run by us yet. The paper: from scratch 78.83; after synthetic images of CIFAR-100's classes 83.90 (1.2 M), 85.03
(2.4 M), 85.24 (3.6 M); after ImageNet 84.50.
"""

from synthjax.config import learner, real_images, study_config


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
  config.learners.scratch = learner(real="train", learning_rate=0.1)
  config.learners.transfer = learner(real="train", init="folder:weights")
  config.seeds = 1
  return config
