"""What a rule is: it scores the images of a set, and says what the scores mean. choose.py makes lists of scores, whatever the rule.

A new rule is a file with one class, a line in registry.py, and its name and fields in `spec.fields.Filter`. It is given
features and files of images, and knows no products.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from etils import epath

from synthjax.data.source import Source
from synthjax.encoders.encoder import Encoder
from synthjax.spec.fields import Filter
from synthjax.store import schema
from synthjax.store.export import Examples
from synthjax.store.features import Features
from synthjax.store.image_ids import PackedIds

Array = np.ndarray


class Others(Protocol):
  """Real images that a set is compared with, and their features by one encoder."""

  @property
  def source(self) -> Source: ...

  def load(self) -> Features:
    """Of the images that could be read. They may be gigabytes, so they are read from disk at each call."""
    ...


@dataclasses.dataclass(frozen=True)
class View:
  """One encoder of a filter, and what the filter compares the set with, by this encoder."""

  encoder: Encoder
  against: Others | None = None  # None: nothing, or the set itself

  @property
  def identity(self) -> dict[str, Any]:
    return self.encoder.identity | {"others": self.against.source.digest if self.against else ""}


class Embedded(Protocol):
  """The images of a set, in plan order, and what an encoder has made of them, which stays on disk."""

  @property
  def labels(self) -> Array: ...

  @property
  def ids(self) -> PackedIds: ...

  def at(self, places: Array) -> Features:
    """Of these images, in this order. What is returned is the only copy."""
    ...


@dataclasses.dataclass(frozen=True)
class Images:
  """Images of a set that a rule scores, in this order."""

  folder: epath.Path  # of the set
  places: Array  # of the images in the set
  features: Sequence[Features]  # by each of the rule's encoders

  def files(self) -> Callable[[int], bytes]:
    """Reads the image file of the i-th; for several threads."""
    examples = Examples(self.folder)
    return lambda i: schema.parse_image(examples[int(self.places[i])])


SheetRow = tuple[str, Sequence[bytes]]  # a label, and image files to show beside each other


class Evidence(Protocol):
  """What speaks against each image that does not pass. The work is done when it is asked for: once a list, not once a round."""

  @property
  def note(self) -> str:
    """For the user, in one line: what this search does not find, for instance. Empty: nothing to say."""
    ...

  def counts(self) -> dict[str, Any]:
    """For summary.json."""
    ...

  def to_csv(self) -> bytes:
    """All images that do not pass."""
    ...

  def sheet(self) -> list[SheetRow]:
    """The clearest cases."""
    ...


class Rule(Protocol):
  """How a filter scores images, made from the filter's fields and one view for each of its encoders."""

  score_means: ClassVar[str]  # for the report, beside the scores of a set
  counted: ClassVar[tuple[str, ...]]  # the keys of `Evidence.counts` that are numbers of images
  may_fill: ClassVar[bool]  # whether `when_short = "top"` fills up a class with images that did not pass

  def __init__(self, fields: Filter, views: Sequence[View]) -> None: ...

  @staticmethod
  def encoders(fields: Filter) -> list[str]:
    """Names in config.encoders, of those that must see the set. The first one names the folder of the list."""
    ...

  def identity(self) -> dict[str, Any]:
    """All that decides the list beside the images of the set. It enters the hash of the record."""
    ...

  @property
  def threshold(self) -> float:
    """In the units of the config; summary.json records it."""
    ...

  @property
  def must_exceed(self) -> float:
    """An image passes when its score is larger than this."""
    ...

  def score(self, images: Images) -> tuple[Array, Evidence | None]:
    """(scores, the larger the better; what speaks against images, None where the scores say it all).

    The score of an image may depend on others only if they come before it, so that a set may grow.
    """
    ...

  @property
  def how(self) -> str:
    """Which images pass, for the report."""
    ...

  def found(self, summary: Mapping[str, Any]) -> str:
    """What its evidence counted, for the report and the terminal; empty for a rule without evidence."""
    ...

  @property
  def limits(self) -> str:
    """What it is known not to find, for the report; may be empty."""
    ...


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes."""

  host: int
  device: int  # of each


@runtime_checkable
class NeedsMemory(Protocol):
  """A rule that holds the features of all images at once can say what that takes, before anything is made for it."""

  def memory(self, images: int) -> Memory:
    """To score so many."""
    ...


class ScoreRule(abc.ABC):
  """A rule that gives each image a score of its own by what one encoder makes of the set: `scores` and `how` are all it needs.

  The config's `threshold` is what a score must exceed, whatever its unit; classes that miss their quota may be filled up.
  """

  score_means: ClassVar[str] = "its score"
  counted: ClassVar[tuple[str, ...]] = ()
  may_fill: ClassVar[bool] = True
  # So many images are given to `scores` at once, from the first on, and none twice, so that their features need not fit in
  # memory. 0 = all of them, in each round, for a rule whose numbers depend on how many come at once.
  at_once: ClassVar[int] = 0

  def __init__(self, fields: Filter, views: Sequence[View]):
    self.fields, self.views = fields, views

  @abc.abstractmethod
  def scores(self, images: Images) -> Array:
    """[N], the larger the better."""

  @property
  @abc.abstractmethod
  def how(self) -> str:
    """Which images pass, for the report."""

  @staticmethod
  def encoders(fields: Filter) -> list[str]:
    return [fields.encoder]

  def identity(self) -> dict[str, Any]:
    return self.fields.identity() | self.views[0].encoder.classifier_identity

  @property
  def threshold(self) -> float:
    return self.fields.threshold

  @property
  def must_exceed(self) -> float:
    return self.threshold

  def score(self, images: Images) -> tuple[Array, None]:
    return self.scores(images), None

  @property
  def limits(self) -> str:
    return ""

  def found(self, summary: Mapping[str, Any]) -> str:
    del summary
    return ""
