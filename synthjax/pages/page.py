"""What a report shows: the parts of its page, as values. `report.render` makes HTML of them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Difference:
  """Of an arm against another one, image by image: in points of top-1, with its 95 % interval over test images."""

  against: str
  points: float
  low: float
  high: float
  p: float  # of this comparison alone: a page corrects it for all those that it shows


@dataclasses.dataclass(frozen=True)
class Arm:
  """One line of the result. With no images learnt from it is zero-shot: the reference of its encoder's arms."""

  name: str  # "LE+CF+CE"
  how: str  # one sentence: set, filter, loss
  images: int  # learnt from, in all; 0 for zero-shot
  per_class: int  # images a class; 0 for zero-shot
  top1: tuple[float, ...]  # percent, one a seed; () = not there yet
  mean_class: tuple[float, ...]  # the same, mean over classes
  by_class: tuple[float, ...]  # percent, mean over seeds, in class order; () = not there yet
  confusion: tuple[
    tuple[float, ...], ...
  ]  # rows true, columns predicted, percent of the true class; () = none
  encoder: str = ""
  reference: str = ""  # another arm that it is held against; "" = its encoder's zero-shot
  interval: tuple[float, float] | None = None  # 95 %, over test images, of the mean over seeds, in percent
  difference: Difference | None = None  # from its reference
  refused: bool = False  # what it is made from, or itself, was made under a rule since corrected

  @property
  def zero_shot(self) -> bool:
    return self.images == 0 and self.per_class == 0


@dataclasses.dataclass(frozen=True)
class Cell:
  """A generated image."""

  jpeg: bytes
  prompt: str
  image_id: str
  score: float | None  # of the filter: probability of its own class
  kept: bool | None  # None = no filter looked at it
  passed: bool | None = (
    None  # a quota keeps some that did not pass, and leaves some that did; None = as `kept`
  )


@dataclasses.dataclass(frozen=True)
class Sheet:
  """One image set."""

  name: str  # "LE"
  note: str  # "guidance 2, 10 steps, 1,000 images"
  filter: str  # "CF", or "" for none
  rows: tuple[tuple[str, tuple[Cell, ...]], ...]  # class id, its first images in plan order
  score: str = "the probability of the image’s own class"  # what the filter's number is
  kept: int = 0  # of the whole set, by the filter
  filled: int = 0  # of these, without passing


@dataclasses.dataclass(frozen=True)
class Acceptance:
  """What a filter did to one set."""

  keep: str  # "LE/CF"
  rule: str  # "own class's probability above 0.1"
  rows: tuple[
    tuple[str, int, int, int, int], ...
  ]  # class id, drawn, passed, kept, of them filled up by best score
  rounds: int  # of topping up
  pairs: bytes = b""  # PNG: repeats beside what they repeat


@dataclasses.dataclass(frozen=True)
class Meaning:
  """What a class name may mean, and how like that is to the class's real images."""

  text: str
  score: float | None
  is_chosen: bool


@dataclasses.dataclass(frozen=True)
class Prompts:
  """A prompt list that a language model wrote."""

  name: str  # "CD"
  written_by: str  # "CD: Qwen3-8B"
  prompts: int
  fewest: tuple[str, int]  # class id, its number of prompts
  distinct: tuple[float, float]  # share of words, and of pairs of words, that are not repeats
  dropped: tuple[tuple[str, int], ...]  # reason, texts
  spread: tuple[str, float] | None  # text encoder, and the mean distance of a class's prompts in it
  examples: tuple[tuple[str, tuple[str, ...]], ...]  # class id, its first prompts
  meanings: tuple[tuple[str, str, tuple[Meaning, ...]], ...] = ()  # class id, chosen by what, all of them


@dataclasses.dataclass(frozen=True)
class Progress:
  """A product of the study, and how much of it is there."""

  name: str
  state: str
  have: int
  want: int
  unit: str


@dataclasses.dataclass(frozen=True)
class Method:
  """Arms that differ in their real images alone."""

  name: str
  how: str
  points: tuple[tuple[int, tuple[float, ...]], ...]  # shots, top-1 of each draw
  gains: tuple[tuple[int, tuple[float, ...]], ...]  # shots, points against real images alone, of each draw


@dataclasses.dataclass(frozen=True)
class Family:
  """A real image, and what was drawn from it at each strength."""

  class_id: str
  parent_id: str
  parent: bytes  # PNG
  children: tuple[tuple[float, tuple[bytes, ...]], ...]  # strength, JPEGs


@dataclasses.dataclass(frozen=True)
class SetMetrics:
  """Metrics of image sets by one encoder: a table, a row a set."""

  name: str
  note: str  # "by encoder clip, against digits"
  metrics: tuple[str, ...]
  rows: tuple[tuple[str, int, tuple[float | None, ...]], ...]  # set, images, a value a metric
  blind: tuple[tuple[str, str], ...] = ()  # a metric, and what it does not see


@dataclasses.dataclass(frozen=True)
class Outdated:
  """Products that are refused or made again, for one reason."""

  names: tuple[str, ...]
  state: str
  why: str


@dataclasses.dataclass(frozen=True)
class Page:
  title: str
  classes: tuple[tuple[str, str], ...]  # id, name to show
  test: (
    str  # "digits (digits, second): 899 real images"; "" = nothing is tested, and `lead` says what there is
  )
  arms: tuple[Arm, ...]
  curves: tuple[
    tuple[str, tuple[tuple[int, tuple[float, ...]], ...]], ...
  ]  # name, (images a class, top-1 a seed)
  sheets: tuple[Sheet, ...]
  acceptance: tuple[Acceptance, ...]
  progress: tuple[Progress, ...]
  settings: tuple[tuple[str, str], ...]  # field path, value
  reproduce: tuple[str, ...]  # commands
  software: tuple[tuple[str, str], ...]
  caveat: str  # what this can and cannot prove; "" = nothing to say
  refresh_seconds: int  # 0 = finished; else the page says that the study is running, and reloads itself

  methods: tuple[Method, ...] = ()
  families: tuple[Family, ...] = ()
  prompts: tuple[Prompts, ...] = ()
  facts: tuple[tuple[str, str], ...] = ()  # what it was made with: "Encoders", "clip: embedded:clip"
  outdated: tuple[Outdated, ...] = ()
  metrics: tuple[SetMetrics, ...] = ()
  images: int = 0  # of the test
  lead: str = ""

  def __post_init__(self):
    k = len(self.classes)
    for arm in self.arms:
      if len(arm.by_class) not in (0, k):
        raise ValueError(f"{arm.name}: by_class has {len(arm.by_class)} values for {k} classes")
      if arm.confusion and {len(arm.confusion), *map(len, arm.confusion)} != {k}:
        raise ValueError(f"{arm.name}: confusion is not {k} by {k}")
