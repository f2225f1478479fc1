"""A filter, a writer, a source of images and a learning task of one's own, registered by a config file.

python -m synthjax.main --config docs/examples/own_parts.py --workdir runs/own_parts

Nothing of synthjax is changed: a name that is registered here is used like one that ships. The SHA-256 of this file becomes
part of the identity of what the parts make, so after an edit the old lists and runs are not taken for the new ones.
Put parts that change seldom into a file of their own, and import it from the config.
"""

import functools
import hashlib
import io

import jax
import numpy as np
from PIL import Image, ImageOps

from synthjax.config import (
  arm,
  encoder,
  image_filter,
  imported_set,
  learner,
  prompt_list,
  real_images,
  study_config,
)
from synthjax.data.decoding import decode
from synthjax.data.embedded import open_embedded
from synthjax.data.source import Source
from synthjax.data.sources import SOURCES
from synthjax.filters.registry import RULES
from synthjax.filters.rule import ScoreRule
from synthjax.learning import settings
from synthjax.learning.tasks import TASKS
from synthjax.prompts.writers import WRITERS, Sentence
from synthjax.spec.fields import Classify
from synthjax.spec.group import Amount, Identity


@WRITERS.register("seasons")
def seasons(class_id, name, draws, seed):
  """A writer puts a class name into sentences, the same ones on every machine."""
  return [
    Sentence(f"{name} in {season}", {"season": season}) for season in ("spring", "summer", "autumn", "winter")
  ]


class Inverted(Source):
  """A source has images in a fixed order, labels, keys, and a digest of all that decides them."""

  def __init__(self, digits: Source):
    self._digits, self.name, self.split = digits, "inverted digits", digits.split
    self.labels, self.keys = digits.labels, digits.keys

  def encoded(self, i: int) -> bytes:
    buffer = io.BytesIO()
    self.image(i).save(buffer, "PNG")
    return buffer.getvalue()

  def image(self, i: int) -> Image.Image:
    return ImageOps.invert(self._digits.image(i).convert("L"))

  def pixels(self, i: int) -> None:
    return None  # no quicker way than `image`

  @functools.cached_property
  def digest(self) -> str:
    return hashlib.sha256(b"inverted " + self._digits.digest.encode()).hexdigest()


@SOURCES.register("inverted")
def open_inverted(reference, rest, labels):
  """inverted:first and inverted:second."""
  return Inverted(open_embedded(reference, f"digits:{rest}", labels))


@RULES.register("contrast")
class Contrast(ScoreRule):
  """A filter's rule gives each image a score; the config says what it must exceed, how many stay, and what fills them up."""

  score_means = "the spread of its grey values"

  def scores(self, images):
    file = images.files()
    grey = (np.asarray(decode(file(i), f"image {i}").convert("L")) for i in range(len(images.places)))
    return np.array([picture.std() for picture in grey])

  @property
  def how(self):
    return f"grey values spread by more than {self.threshold:g}"


class Price(Classify):
  """A task's fields: those of classify, and one of its own. The line is all that there is to write of it."""

  price: Identity[Amount] = 0.1  # of answers that are unsure


@TASKS.register("confident", fields=Price)
class Confident:
  """A task has `init`, `loss` and `predict`: here those of classify, and a price on answers that are unsure."""

  def __init__(self, fields, classes):
    self._classify, self.classes, self._price = settings.task(fields, classes), classes, fields.price
    self.init, self.predict = self._classify.init, self._classify.predict

  def loss(self, variables, batch, key, step):
    loss, (updates, metrics) = self._classify.loss(variables, batch, key, step)
    shares = jax.nn.softmax(self.predict(variables, batch["pixels"]))
    entropy = -(shares * jax.numpy.log(shares + 1e-9)).sum(-1).mean()
    return loss + self._price * entropy, (updates, metrics | {"entropy": entropy})


def get_config(arg: str = ""):
  config = study_config(labels="digits")
  config.seeds = 1
  config.prompts.seasons = prompt_list("LE", writer="seasons")
  config.sets.inverted = imported_set("inverted:first", images_per_class=12)
  config.encoders.clip = encoder("embedded:clip")
  config.filters.contrast = image_filter("contrast", threshold=40.0, kept_per_class=8)
  config.tests.digits = "embedded:digits:second"
  config.real.few = real_images("embedded:digits:first", shots=4)
  config.arms.zero = arm()
  config.arms["inverted+CE"] = arm("inverted/contrast")
  config.tuning.steps = 20
  config.learning.update(model="resnet-mini", size=8, batch=20, steps=20)
  config.learners.confident = learner("inverted/contrast", real="few", task="confident", price=0.2)
  return config
