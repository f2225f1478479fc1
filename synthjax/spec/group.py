"""Typed groups of fields. One line a field says its type, its bounds, its default and what happens when it changes:

  class Sampling(Group):
    steps: Identity[Positive] = 50

A field is of one kind:
  Identity  another value is another product; under an existing name it is refused, with both values;
  Growth    may grow, and only what is missing is made;
  Runtime   how, where and how fast; recorded, never refused.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Mapping
from typing import (
  Annotated,
  Any,
  Literal,
  Protocol,
  TypeVar,
  dataclass_transform,
  get_args,
  get_origin,
  get_type_hints,
)

from synthjax.runtime.errors import UserError, nearest

T = TypeVar("T")
G = TypeVar("G", bound="Group")


class Kind(enum.Enum):
  IDENTITY = "identity"
  GROWTH = "growth"
  RUNTIME = "runtime"


_OMIT_DEFAULT = "omit default from hash"

Identity = Annotated[T, Kind.IDENTITY]
# Products are older than the field: it counts in their identity once it says something.
IdentityUnlessDefault = Annotated[T, Kind.IDENTITY, _OMIT_DEFAULT]
Growth = Annotated[T, Kind.GROWTH]
Runtime = Annotated[T, Kind.RUNTIME]


@dataclasses.dataclass(frozen=True)
class Renamed:
  """The older name of a field: configs may still use it (renamed.py), and records and hashes keep it."""

  older: str


class Bound(Protocol):
  """What a value is held against."""

  @property
  def words(self) -> str:
    """at least 1."""
    ...

  def holds(self, value: Any) -> bool:
    """False of a NaN too."""
    ...


@dataclasses.dataclass(frozen=True)
class AtLeast:
  low: float

  @property
  def words(self) -> str:
    return f"at least {self.low}"

  def holds(self, value: Any) -> bool:
    return value >= self.low


@dataclasses.dataclass(frozen=True)
class Above:
  low: float

  @property
  def words(self) -> str:
    return f"above {self.low}"

  def holds(self, value: Any) -> bool:
    return value > self.low


@dataclasses.dataclass(frozen=True)
class Between:
  low: float
  high: float

  @property
  def words(self) -> str:
    return f"between {self.low} and {self.high}"

  def holds(self, value: Any) -> bool:
    return self.low <= value <= self.high


@dataclasses.dataclass(frozen=True)
class FromToBelow:
  low: float
  high: float

  @property
  def words(self) -> str:
    return f"from {self.low} to below {self.high}"

  def holds(self, value: Any) -> bool:
    return self.low <= value < self.high


@dataclasses.dataclass(frozen=True)
class AboveToAtMost:
  low: float
  high: float

  @property
  def words(self) -> str:
    return f"above {self.low} and at most {self.high}"

  def holds(self, value: Any) -> bool:
    return self.low < value <= self.high


Count = Annotated[int, AtLeast(0)]
Positive = Annotated[int, AtLeast(1)]
Amount = Annotated[float, AtLeast(0)]
AboveZero = Annotated[float, Above(0)]
Share = Annotated[float, Between(0, 1)]
Quality = Annotated[int, Between(1, 100)]
Dtype = Literal["float32", "bfloat16", "float16"]


@dataclasses.dataclass(frozen=True)
class Field:
  """What the line of a field says."""

  name: str
  kind: Kind
  type: type
  default: Any
  bounds: tuple[Bound, ...] = ()
  choices: tuple[str, ...] = ()
  omit_default: bool = False  # from the hash
  older_name: str = ""

  @property
  def recorded_name(self) -> str:
    """In records and hashes, which do not change with a name."""
    return self.older_name or self.name

  def check(self, what: str, value: Any) -> None:
    if self.choices and value not in self.choices:
      raise UserError(f"{what} {value!r}{nearest(value, self.choices)}")
    for bound in self.bounds:
      if not bound.holds(value):
        raise UserError(f"{what} is {bound.words}, not {value}")


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Group:
  """A frozen dataclass of fields. An attribute that has no kind is no field: it is neither hashed nor recorded."""

  def __init_subclass__(cls) -> None:
    dataclasses.dataclass(frozen=True, kw_only=True)(cls)

  @classmethod
  def of(cls: type[G], values: Mapping[str, Any], **others: Any) -> G:
    """The fields by name, as a config holds them."""
    return cls(**{name: values[name] for name in fields(cls)}, **others)

  def check(self, where: str) -> None:
    """Each value against what its field's line says. `where` stands before a field's name: `config.sets.LE: `."""
    for name, field in fields(type(self)).items():
      field.check(f"{where}{name}", getattr(self, name))

  def to_dict(self) -> dict[str, Any]:
    """By the names that records use."""
    return {field.recorded_name: getattr(self, name) for name, field in fields(type(self)).items()}

  def identity(self) -> dict[str, Any]:
    """The values that decide what a product is, by the names that records use."""
    return {
      field.recorded_name: getattr(self, name)
      for name, field in fields(type(self)).items()
      if field.kind is Kind.IDENTITY and not (field.omit_default and getattr(self, name) == field.default)
    }

  def of_kind(self, kind: Kind) -> dict[str, Any]:
    """By the names that records use."""
    return {
      field.recorded_name: getattr(self, name)
      for name, field in fields(type(self)).items()
      if field.kind is kind
    }


@functools.cache
def fields(group: type[Group]) -> Mapping[str, Field]:
  """By name, in the order in which they are written, those of a base class first."""
  hints = get_type_hints(group, include_extras=True)
  found = {}
  for one in dataclasses.fields(group):  # type: ignore[arg-type]
    of_type, *marks = (
      get_args(hints[one.name]) if get_origin(hints[one.name]) is Annotated else [hints[one.name]]
    )
    kinds = [mark for mark in marks if isinstance(mark, Kind)]
    if not kinds:
      continue
    choices = get_args(of_type) if get_origin(of_type) is Literal else ()
    found[one.name] = Field(
      one.name,
      kinds[0],
      type(one.default),
      one.default,
      tuple(mark for mark in marks if hasattr(mark, "holds")),
      choices,
      _OMIT_DEFAULT in marks,
      next((mark.older for mark in marks if isinstance(mark, Renamed)), ""),
    )
  return found


def own_fields(group: type[Group]) -> dict[str, Field]:
  """Those that no base class has."""
  inherited = {name for base in group.__bases__ if base is not Group for name in fields(base)}
  return {name: field for name, field in fields(group).items() if name not in inherited}
