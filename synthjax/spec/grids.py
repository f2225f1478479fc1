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
import re
from collections.abc import Mapping
from typing import Any, cast

from synthjax.runtime.errors import UserError
from synthjax.spec import fields, group
from synthjax.spec.config import Config
from synthjax.spec.entries import Axes, Learner, SampledSet, Value
from synthjax.spec.points import LEARNER, PROMPTS, SET, SIZES, Entries, Name, Point, name_of, points_of
from synthjax.spec.references import ImagesRef

_MOST_POINTS = 10_000
_LONGEST = 60  # characters of what tells an entry from others


def expand(config: Config, own: Entries) -> Entries:
  """The study's entries with those of its grids. Sets and learners that only grids name are where their points come from."""
  if not config.scaling:
    return own
  axes: dict[str, Name] = {}
  points: list[Point] = []
  for name, grid in config.scaling.items():
    columns = {key: name_of(f"config.scaling.{name}", key) for key in (*grid.axes, *grid.fixed)}
    axes |= {columns[key].column: columns[key] for key in grid.axes}
    points += points_of(config, own, name, grid, columns)
    if len(points) > _MOST_POINTS:
      raise UserError(
        f"config.scaling: there are {len(points):,} points up to {name}; at most {_MOST_POINTS:,}"
      )
  sets, real = dict(own.sets), dict(own.real)
  points = [_placed(p, own, sets, real) for p in points]
  needs = {
    name: max(p.need for p in points if p.set_name == name) for name in {p.set_name for p in points} - {""}
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


# --- what its points are -----------------------------------------------------------------------------


def _placed(
  p: Point,
  own: Entries,
  sets: dict[str, SampledSet | fields.Import],
  real: dict[str, fields.Real],
) -> Point:
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
  p: Point,
  own: Entries,
  sets: Mapping[str, SampledSet | fields.Import],
  real: Mapping[str, fields.Real],
  axes: Mapping[str, Name],
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


def _source(p: Point) -> str:
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


def _free_name(p: Point, taken: Mapping[str, Any]) -> str:
  name = "-".join([p.grid, *(_word(p.values[column][1]) for column in p.axes)])
  return name if name not in taken and len(name) <= 100 else f"{name[:80]}-{_hash(repr(p))}"


def _hash(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()[:6]
