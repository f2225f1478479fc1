"""What a page knows of a product: plain data, which the product fills in itself.

Unasked, a product says what holds before anything of it is made, so that what is missing or refused has a place on a page
too. `Asked` names what else is to be read from disk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from synthjax.data.source import Source
from synthjax.evaluation.accuracy import Tally
from synthjax.pages.page import Progress, Prompts
from synthjax.spec.entries import Axes


@dataclasses.dataclass(frozen=True)
class Asked:
  """What is to be read beside numbers of images and one-line descriptions; of what is not there yet, nothing is."""

  results: tuple[str, ...] = ()  # of a run, on these tests
  images: int = 0  # of a set, the first so many of each class
  parents: Collection[str] = ()  # of a set, the real images with these ids that some of it began as
  scores: Collection[str] = ()  # of a keep-list, those of the images with these ids
  pairs: bool = False  # of a keep-list, what did not stay, beside what speaks against it


class Described(Protocol):
  """What pages ask of a product. One that does not answer is shown by its progress alone."""

  def about(self, asked: Asked | None = None) -> About:
    """What it is; with `asked` also what of it is there. Never makes anything."""
    del asked
    return About()

  def rows(self) -> Sequence[dict[str, Any]]:
    """What results.jsonl says of it; empty until all of it is there."""
    return ()


@dataclasses.dataclass(frozen=True)
class About:
  """Of one product: at most one of these."""

  run: Run | None = None
  images: Images | None = None
  keep: Keep | None = None
  metrics: SetMetrics | None = None
  prompts: Prompts | None = None  # of a list that a language model wrote, once it is there


@dataclasses.dataclass(frozen=True)
class Member:
  """A product of the study that a page is of."""

  product: Described
  about: About
  progress: Progress
  why: str = ""  # it is made again, or is refused
  is_refused: bool = False


# --- runs ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Measured:
  """Real images that a run is measured on."""

  source: str  # digits
  split: str
  n: int  # images of the source
  skipped: int = 0  # of these: cannot be read
  digest: str = ""  # of the source, where there are results
  tallies: tuple[Tally, ...] = ()  # one a seed; () = not asked for, or not all are there

  @classmethod
  def of(cls, source: Source, tallies: Iterable[Tally], skipped: int = 0) -> Measured:
    found = tuple(tallies)  # a digest may read all images, so it is not asked for without need
    return cls(source.name, source.split, len(source), skipped, source.digest if found else "", found)


@dataclasses.dataclass(frozen=True)
class Point:
  """A run's place on a curve of runs that differ in nothing but a number of images."""

  axis: str  # which number: images, real (of each class), ratio (synthetic to real)
  key: str  # the same for all runs of one curve
  name: str  # of the curve, by this run
  at: int  # images a class


@dataclasses.dataclass(frozen=True, eq=False)  # tallies are arrays
class Run:
  """Something that is trained and tested: an arm, or a learner."""

  name: str  # LE+CF+CE
  how: str  # one sentence: set, filter, loss
  tests: Mapping[str, Measured]
  how_in_general: str = ""  # likewise, whatever the shots and the draw
  encoder: str = ""  # its name in the config; "" = a learner, which has no zero-shot accuracy
  method: str = ""  # under which it is shown beside other shots and draws
  shots: int = 0  # real images a class
  draw: int = 0
  images: int = 0  # learnt from, once there are results
  per_class: int = 0  # likewise of each class; before, as many as the config asks for
  real: str = ""  # real images of the config that it learns from
  real_images: int = 0  # how many they are
  has_set: bool = False  # learns from an image set
  has_init: bool = False  # begins with given weights
  is_plainly_real: bool = False  # learns from real images alone, as a linear classifier
  recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of a learner: its identity fields
  points: tuple[Point, ...] = ()  # once there are results
  axes: Axes = ()  # of a point of a grid; () = an arm, or a learner of its own
  curve: Axes = ()  # of these, what tells its curve from others

  def tallies(self, test: str) -> tuple[Tally, ...]:
    return self.tests[test].tallies


# --- image sets and keep-lists -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Picture:
  """An image of a set."""

  label: int
  image_id: str
  prompt: str
  jpeg: bytes
  parent_id: str  # of the real image that it began as
  strength: float


@dataclasses.dataclass(frozen=True)
class Images:
  """An image set."""

  name: str  # LE
  class_ids: tuple[str, ...]
  drawn_by: str = ""  # the generator, as the config has it; "" = not known
  imported_from: str = ""  # "" = drawn here
  written_by: str = ""  # its prompts, where a page must say so: LE: words
  have: int = 0  # images that are there
  note: str = ""  # beside their number: guidance 2, 10 steps
  seconds_each: float = 0.0  # of a device, to draw one, as measured; 0 = not known
  has_parents: bool = False  # its images began as real ones
  first: tuple[Picture, ...] = ()  # in plan order
  parents: Mapping[str, bytes] = dataclasses.field(default_factory=dict)  # id -> PNG


@dataclasses.dataclass(frozen=True)
class SetMetrics:
  """Metrics of an image set by one encoder."""

  images: str  # the set's name
  name: str  # in config.metrics
  encoder: str  # its name in the config
  real: str = ""  # what the set is compared with
  numbers: tuple[tuple[str, float, int], ...] = ()  # metric, value, images; () = not there yet
  by_class: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)  # metric -> class id


class Counts(NamedTuple):
  """What a filter did to one class."""

  class_id: str
  drawn: int
  passed: int
  kept: int
  filled: int  # of those kept: to fill the class up, by best score


@dataclasses.dataclass(frozen=True)
class Scored:
  """What a filter said of one image."""

  score: float
  stays: bool
  passed: bool  # whatever the quota


@dataclasses.dataclass(frozen=True)
class Keep:
  """A keep-list: what a filter keeps of a set."""

  images: str  # the set's name
  filter: str  # CF
  encoder: str  # its name in the config
  score: str  # what a score is
  how: str = ""  # what it keeps, in one sentence
  classes: tuple[Counts, ...] = ()  # () = not there yet
  rounds: int = 0  # of topping up
  scored: Mapping[str, Scored] = dataclasses.field(default_factory=dict)  # by image id
  pairs: bytes = b""  # PNG
