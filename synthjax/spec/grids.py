"""Grids of runs, `config.scaling.NAME = grid(...)`: expanded to image sets, real images and learners of the study.

A value that is a tuple is an axis, any other holds at every point. Names are fields of an image set, of real images or of a learner;
`prompts`, `set` (SET or SET/FILTER) and `learner` (a recipe) choose among the study's own. Where a set and a learner both have a
field, it takes a prefix: sampling_steps, learning_steps.

Points that differ in nothing but numbers of images are one curve, whichever grids they come from, and read one image set, as large
as the largest of them needs. What a point is stands in its `axes`, and in the rows of its results: no name is ever read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

from synthjax.runtime.errors import UserError, nearest
from synthjax.spec import fields, group, tasks
from synthjax.spec.config import Config
from synthjax.spec.entries import Axes, Learner, SampledSet, Value
from synthjax.spec.group import Field, Group, Runtime
from synthjax.spec.references import ImagesRef

Combine = Literal["product", "around"]
# Numbers of images: a grid's curves run along the first of these that it has as an axis.
SIZES = ("images_per_class", "ratio", "shots", "fraction")
SET, PROMPTS, LEARNER = "set", "prompts", "learner"
_MOST_POINTS = 10_000
_LONGEST = 60  # characters of what tells an entry from others


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


class _Name(NamedTuple):
  """A field that an axis varies; its column is the name without a prefix that it does not need."""

  group: str  # sampling, real, learning; or choose
  field: str
  column: str


@dataclasses.dataclass(frozen=True)
class _Point:
  grid: str
  values: Mapping[str, tuple[_Name, Value]]  # by column: what is fixed, and axes
  axes: tuple[str, ...]  # columns
  along: str  # the column of the axis that its curve runs along
  images: ImagesRef
  real: str
  recipe: str
  set_name: str = ""  # in the study; "" = no synthetic images
  real_name: str = ""

  def of_group(self, of: str) -> dict[str, Value]:
    return {name.field: value for name, value in self.values.values() if name.group == of}


def expand(config: Config, own: Entries) -> Entries:
  """The study's entries with those of its grids. Sets and learners that only grids name are where their points come from."""
  if not config.scaling:
    return own
  axes: dict[str, _Name] = {}
  points: list[_Point] = []
  for name, grid in config.scaling.items():
    columns = {key: _name(f"config.scaling.{name}", key) for key in (*grid.axes, *grid.fixed)}
    axes |= {columns[key].column: columns[key] for key in grid.axes}
    points += _points(config, own, name, grid, columns)
    if len(points) > _MOST_POINTS:
      raise UserError(
        f"config.scaling: there are {len(points):,} points up to {name}; at most {_MOST_POINTS:,}"
      )
  sets, real = dict(own.sets), dict(own.real)
  points = [_placed(p, own, sets, real) for p in points]
  needs = {
    name: max(_need(p) for p in points if p.set_name == name) for name in {p.set_name for p in points} - {""}
  }
  used = _used(config, own)
  for name in {p.images.set for p in points} - used - {"", *needs}:
    del sets[name]
  for name, need in needs.items():
    asked = sets[name].images_per_class
    most = need and max(need, asked if name in used else 0)
    sets[name] = dataclasses.replace(sets[name], images_per_class=most or asked)
  learners = {name: one for name, one in own.learners.items() if name not in {p.recipe for p in points}}
  found: dict[Axes, tuple[str, Learner]] = {}
  for p in points:
    one = _learner(p, own, sets, real, axes)
    if one.axes in found:
      _check_same(p.grid, one, *found[one.axes])
      continue
    found[one.axes] = p.grid, one
    learners[_free_name(p, learners)] = one
  for name in needs:
    of_set = {n.column for n in axes.values() if n.group == "sampling" or n.column == PROMPTS}
    one = next(one for _, one in found.values() if one.images.set == name)
    if isinstance(drawn := sets[name], SampledSet):
      sets[name] = dataclasses.replace(drawn, axes=tuple((c, v) for c, v in one.axes if c in of_set))
  return Entries(sets, real, learners, own.common)


def _used(config: Config, own: Entries) -> set[str]:
  """Image sets that are named outside of grids."""
  named = [config.export.images, *(arm.images or "" for arm in config.arms.values())]
  named += [name for one in config.metrics.values() for name in map(str.strip, one.sets.split(","))]
  return {one.images.set for one in own.learners.values()} | {ImagesRef.parse(text).set for text in named}


def _need(p: _Point) -> int:
  """Images a class; 0 = as many as the set has."""
  learning = p.of_group("learning")
  return max(int(learning.get(name, 0)) for name in ("drawn_from", "images_per_class"))


def _check_same(grid: str, one: Learner, other_grid: str, other: Learner) -> None:
  """Two grids may share a point; two different ones must not look alike in their rows."""
  if one != other:
    differing = [n for n in group.fields(type(other)) if getattr(one, n, None) != getattr(other, n)] or [
      "images"
    ]
    raise UserError(
      f"config.scaling: {other_grid} and {grid} have a point in common, {_said(one.axes)}, and differ there in {differing[0]}; "
      "leave it out of one of them, or make that an axis"
    )


def _said(axes: Axes) -> str:
  return ", ".join(f"{column} {value}" for column, value in axes)


# --- what a grid says ------------------------------------------------------------------------------


def _name(where: str, key: str) -> _Name:
  if key in (SET, PROMPTS, LEARNER):
    return _Name("choose", key, key)
  known = _known()
  if key == "images_per_class":
    return _Name("learning", key, key)
  having = [of for of, names in known.items() if key in names]
  if len(having) == 1:
    return _Name(having[0], key, key)
  if having:
    both = " or ".join(f"{of}_{key}" for of in having)
    raise UserError(f"{where}: {key} is a field of several groups; name {both}")
  of, _, name = key.partition("_")
  if name in known.get(of, ()):
    is_shared = sum(name in names for names in known.values()) > 1
    return _Name(of, name, key if is_shared else name)
  every = [SET, PROMPTS, LEARNER, *(name for names in known.values() for name in names)]
  raise UserError(
    f"{where}: {key!r} names no field of a set, of real images or of a learner{nearest(key, every)}"
  )


def _known() -> dict[str, Mapping[str, Field]]:
  learning = {n: f for n, f in tasks.fields_of(*tasks.GROUPS).items() if n not in ("real", "task")}
  real = {n: f for n, f in group.fields(fields.Real).items() if n != "source"}
  return {"sampling": group.fields(fields.Sampling), "real": real, "learning": learning}


def _points(
  config: Config, own: Entries, grid_name: str, grid: Config, names: Mapping[str, _Name]
) -> Iterator[_Point]:
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
    point = _Point(
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
  axes: Mapping[str, Sequence[tuple[_Name, Value]]], along: str, combine: str
) -> Iterator[dict[str, tuple[_Name, Value]]]:
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


def _values(where: str, key: str, name: _Name, given: Sequence[Any]) -> list[Value]:
  if not isinstance(given, tuple | list) or not given:
    raise UserError(f"{where}: axis {key} is a tuple of values, not {given!r}")
  if name.group == "choose":
    found = [_typed(where, key, str, one) for one in given]
  else:
    field = _known()[name.group][name.field]
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


def _check_point(where: str, p: _Point, config: Config, own: Entries) -> None:
  if p.images:
    _known_name(f"{where}: image set", p.images.set, own.sets)
  if p.images.filter:
    _known_name(f"{where}: filter", p.images.filter, config.filters)
    quota = config.filters[p.images.filter].kept_per_class
    if 0 < quota < _need(p):
      raise UserError(
        f"{where}: {_need(p)} images a class of {p.images}, of which the filter keeps {quota}; raise its kept_per_class"
      )
  if p.real:
    _known_name(f"{where}: real", p.real, own.real)
  if p.recipe:
    _known_name(f"{where}: learner", p.recipe, own.learners)
    if own.learners[p.recipe].images or own.learners[p.recipe].real:
      raise UserError(
        f"{where}: learner {p.recipe!r} has images of its own; a grid takes a recipe, learner(...) without images and real"
      )
  if not (p.images or p.real):
    raise UserError(f"{where} has nothing to learn from: give it images, the name of a set, or real")
  chosen = p.of_group("choose")
  if PROMPTS in chosen:
    _known_name(f"{where}: prompts", str(chosen[PROMPTS]), config.prompts)
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


def _known_name(what: str, value: str, among: Mapping[str, Any]) -> None:
  if value not in among:
    raise UserError(f"{what} {value!r}{nearest(value, among)}")


# --- what its points are -----------------------------------------------------------------------------


def _placed(
  p: _Point,
  own: Entries,
  sets: dict[str, SampledSet | fields.Import],
  real: dict[str, fields.Real],
) -> _Point:
  """With the set and the real images that it reads, which are added where they are not there yet."""
  set_name, real_name = p.images.set, p.real
  if p.images:
    base, changed = own.sets[set_name], p.of_group("sampling")
    if PROMPTS in (chosen := p.of_group("choose")):
      changed[PROMPTS] = chosen[PROMPTS]
    changed = {k: v for k, v in changed.items() if getattr(base, k) != v}
    set_name = _variant(set_name, changed)
    _add(sets, "sets", set_name, dataclasses.replace(base, **changed))
  if p.real:
    changed = {k: v for k, v in p.of_group("real").items() if getattr(own.real[p.real], k) != v}
    real_name = _variant(p.real, changed)
    _add(real, "real", real_name, dataclasses.replace(own.real[p.real], **cast("dict[str, Any]", changed)))
  return dataclasses.replace(p, set_name=set_name, real_name=real_name)


def _add(among: dict[str, Any], where: str, name: str, one: Any) -> None:
  if among.setdefault(name, one) != one:
    raise UserError(
      f"config.{where}.{name} has the name that a grid gives to other values; call it otherwise"
    )


def _learner(
  p: _Point,
  own: Entries,
  sets: Mapping[str, SampledSet | fields.Import],
  real: Mapping[str, fields.Real],
  axes: Mapping[str, _Name],
) -> Learner:
  learning = p.of_group("learning")
  if {"images_per_class", "ratio"} & learning.keys():  # each seed has its own, of as many as the set has
    learning.setdefault("drawn_from", sets[p.set_name].images_per_class)
  one = dataclasses.replace(
    own.learners[p.recipe] if p.recipe else own.common,
    images=ImagesRef(p.set_name, p.images.filter),
    real=p.real_name,
    **cast("dict[str, Any]", learning),
  )
  images = sets.get(p.set_name)
  has: dict[str, object] = {
    "sampling": images,
    "real": real.get(p.real_name),
    "learning": one,
    "choose": images,
  }
  columns: dict[str, Value] = {"source": _source(p)}
  columns |= {SET: str(p.images)} if p.images else {}
  columns |= {"real_set": p.real} if p.real else {}
  counts = {"images_per_class": bool(p.images), "ratio": bool(p.images and p.real)}
  for column, name in axes.items():
    if column == LEARNER:
      columns[column] = p.recipe
      continue
    value = getattr(has[name.group], name.field, None) if counts.get(column, True) else None
    if value is not None and (value or column not in SIZES):  # 0: another of them says how many
      columns.setdefault(column, value)
  along = {p.along} if p.images and p.real else {*SIZES}
  curve = tuple((column, value) for column, value in columns.items() if column not in along)
  return dataclasses.replace(one, axes=tuple(columns.items()), curve=curve)


def _source(p: _Point) -> str:
  return "both" if p.images and p.real else "synthetic" if p.images else "real"


# --- names, which nothing reads ------------------------------------------------------------------------


def _variant(base: str, changed: Mapping[str, Value]) -> str:
  """The name of a set whose fields differ in this from the set `base`. Other axes or values of a grid do not change it."""
  return base + "".join(f"+{name}_{_word(changed[name])}" for name in sorted(changed))


def _word(value: Value) -> str:
  """Two numbers that differ have two words; a text that is changed says which it was."""
  text = str(value).removesuffix(".0") if isinstance(value, float) else str(value)
  word = re.sub(r"[^A-Za-z0-9-]+", "_", text).strip("_")[-_LONGEST:]
  return word if isinstance(value, int | float) or word == text else f"{word}_{_hash(text)}"


def _free_name(p: _Point, taken: Mapping[str, Any]) -> str:
  name = "-".join([p.grid, *(_word(p.values[column][1]) for column in p.axes)])
  return name if name not in taken and len(name) <= 100 else f"{name[:80]}-{_hash(repr(p))}"


def _hash(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()[:6]
