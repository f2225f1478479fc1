"""The points of a grid of `config.scaling`: which fields it names, what it combines, and whether each point can be."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from synthjax.runtime.errors import UserError, known, nearest
from synthjax.spec import fields, group, tasks
from synthjax.spec.config import Config
from synthjax.spec.entries import Learner, SampledSet, Value
from synthjax.spec.group import Field, Group, Runtime
from synthjax.spec.references import ImagesRef

Combine = Literal["product", "around"]
# Numbers of images: a grid's curves run along the first of these that it has as an axis.
SIZES = ("images_per_class", "ratio", "shots", "fraction")
SET, PROMPTS, LEARNER = "set", "prompts", "learner"


class Grid(Group):
  """What a grid has beside its axes and fixed values."""

  images: Runtime[str] = ""  # SET or SET/FILTER, whose fields hold where no axis says otherwise
  real: Runtime[str] = ""  # of config.real, likewise
  learner: Runtime[str] = ""  # of config.learners, one that names no images: a recipe; "" = config.learning
  combine: Runtime[Combine] = "product"  # or around: one axis at a time, others at their first values


@dataclasses.dataclass(frozen=True)
class Entries:
  sets: Mapping[str, SampledSet | fields.Import]
  real: Mapping[str, fields.Real]
  learners: Mapping[str, Learner]
  common: Learner  # the recipe that config.learning is


class Name(NamedTuple):
  """A field that an axis varies; its column is the name without a prefix that it does not need."""

  group: str  # sampling, real, learning; or choose
  field: str
  column: str


@dataclasses.dataclass(frozen=True)
class Point:
  grid: str
  values: Mapping[str, tuple[Name, Value]]  # by column: what is fixed, and axes
  axes: tuple[str, ...]  # columns
  along: str  # the column of the axis that its curve runs along
  images: ImagesRef
  real: str
  recipe: str
  set_name: str = ""  # in the study; "" = no synthetic images
  real_name: str = ""

  def of_group(self, of: str) -> dict[str, Value]:
    return {name.field: value for name, value in self.values.values() if name.group == of}

  @property
  def need(self) -> int:
    """Images a class; 0 = as many as the set has."""
    learning = self.of_group("learning")
    return max(int(learning.get(name, 0)) for name in ("drawn_from", "images_per_class"))


def name_of(where: str, key: str) -> Name:
  if key in (SET, PROMPTS, LEARNER):
    return Name("choose", key, key)
  fields_of = _fields()
  if key == "images_per_class":
    return Name("learning", key, key)
  having = [of for of, names in fields_of.items() if key in names]
  if len(having) == 1:
    return Name(having[0], key, key)
  if having:
    both = " or ".join(f"{of}_{key}" for of in having)
    raise UserError(f"{where}: {key} is a field of several groups; name {both}")
  of, _, name = key.partition("_")
  if name in fields_of.get(of, ()):
    is_shared = sum(name in names for names in fields_of.values()) > 1
    return Name(of, name, key if is_shared else name)
  every = [SET, PROMPTS, LEARNER, *(name for names in fields_of.values() for name in names)]
  raise UserError(
    f"{where}: {key!r} names no field of a set, of real images or of a learner{nearest(key, every)}"
  )


def _fields() -> dict[str, Mapping[str, Field]]:
  learning = {n: f for n, f in tasks.fields_of(*tasks.GROUPS).items() if n not in ("real", "task")}
  real = {n: f for n, f in group.fields(fields.Real).items() if n != "source"}
  return {"sampling": group.fields(fields.Sampling), "real": real, "learning": learning}


def points_of(
  config: Config, own: Entries, grid_name: str, grid: Config, names: Mapping[str, Name]
) -> Iterator[Point]:
  where = f"config.scaling.{grid_name}"
  if not grid.axes:
    raise UserError(f"{where} has no axis; give a field several values, as images_per_class=log(10, 1000, 5)")
  axes = {
    names[key].column: [(names[key], v) for v in _values(where, key, names[key], grid.axes[key])]
    for key in grid.axes
  }
  fixed = {
    names[key].column: (names[key], _values(where, key, names[key], (grid.fixed[key],))[0])
    for key in grid.fixed
  }
  if both := axes.keys() & fixed.keys():
    raise UserError(f"{where}: {min(both)} is an axis and a fixed value too; leave one out")
  along = next((size for size in SIZES if size in axes), "")
  for values in _combined(axes, along, grid.combine):
    point = Point(
      grid=grid_name,
      values=fixed | values,
      axes=tuple(axes),
      along=along,
      images=ImagesRef.parse(grid.images),
      real=grid.real,
      recipe=grid.learner,
    )
    chosen = point.of_group("choose")
    point = dataclasses.replace(
      point,
      images=ImagesRef.parse(str(chosen.get(SET, grid.images))),
      recipe=str(chosen.get(LEARNER, grid.learner)),
    )
    _check_point(where, point, config, own)
    yield point


def _combined(
  axes: Mapping[str, Sequence[tuple[Name, Value]]], along: str, combine: str
) -> Iterator[dict[str, tuple[Name, Value]]]:
  """Each combination; or around the first values, one axis at a time, each with all sizes."""
  if combine == "product":
    varied = [tuple(axes)]
  else:
    varied = [(name, along) for name in axes if name != along] or [(along,)]
  seen = []
  for names in varied:
    choices = [own if name in names else own[:1] for name, own in axes.items()]
    for values in itertools.product(*choices):
      point = dict(zip(axes, values, strict=True))
      if point not in seen:
        seen += [point] if combine != "product" else []
        yield point


def _values(where: str, key: str, name: Name, given: Sequence[Any]) -> list[Value]:
  if not isinstance(given, tuple | list) or not given:
    raise UserError(f"{where}: axis {key} is a tuple of values, not {given!r}")
  if name.group == "choose":
    found = [_typed(where, key, str, one) for one in given]
  else:
    field = _fields()[name.group][name.field]
    found = [_typed(where, key, field.type, one) for one in given]
    for one in found:
      field.check(f"{where}: {key}", one)
  if len(set(found)) < len(found):
    raise UserError(f"{where}: axis {key} has a value twice: {', '.join(map(str, found))}")
  return found


def _typed(where: str, key: str, of: type, value: Any) -> Value:
  if of is float and isinstance(value, int) and not isinstance(value, bool):
    return float(value)
  if type(value) is not of or (of is float and not math.isfinite(value)):
    words = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}
    raise UserError(f"{where}: {key} is {words.get(of, of.__name__)}, not {value!r}")
  return value


def _check_point(where: str, p: Point, config: Config, own: Entries) -> None:
  if p.images:
    known(f"{where}: image set", p.images.set, own.sets)
  if p.images.filter:
    known(f"{where}: filter", p.images.filter, config.filters)
    quota = config.filters[p.images.filter].kept_per_class
    if 0 < quota < p.need:
      raise UserError(
        f"{where}: {p.need} images a class of {p.images}, of which the filter keeps {quota}; raise its kept_per_class"
      )
  if p.real:
    known(f"{where}: real", p.real, own.real)
  if p.recipe:
    known(f"{where}: learner", p.recipe, own.learners)
    if own.learners[p.recipe].images or own.learners[p.recipe].real:
      raise UserError(
        f"{where}: learner {p.recipe!r} has images of its own; a grid takes a recipe, learner(...) without images and real"
      )
  if not (p.images or p.real):
    raise UserError(f"{where} has nothing to learn from: give it images, the name of a set, or real")
  chosen = p.of_group("choose")
  if PROMPTS in chosen:
    known(f"{where}: prompts", str(chosen[PROMPTS]), config.prompts)
  drawn = [n.column for n, _ in p.values.values() if n.group == "sampling" or n.field == PROMPTS]
  if drawn and not isinstance(own.sets.get(p.images.set), SampledSet):
    what = f"set {p.images.set} is imported" if p.images else "it has no images"
    raise UserError(f"{where}: {drawn[0]} is of sampled sets, and {what}")
  if (of_real := p.of_group("real")) and not p.real:
    raise UserError(f"{where}: {min(of_real)} is of real images; name some, real=NAME of config.real")
  sizes = [n.field for n, _ in p.values.values() if n.group == "learning" and n.field in SIZES]
  if sizes and not p.images:
    raise UserError(
      f"{where}: {sizes[0]} counts synthetic images; name a set, images=SET, or vary shots of real ones"
    )
