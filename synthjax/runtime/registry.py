"""Names that a config may use, and what stands behind them: what ships, and what a config file registers of its own.

    from synthjax.filters.rule import RULES

    @RULES.register("bright")
    class Bright(Rule): ...

What ships is known by its name. What a user registers may change under its name, so the SHA-256 of the file that defines it
belongs to the identity of all that it makes.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from synthjax.runtime.errors import UserError, nearest

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
  def __init__(self, what: str, shipped: Mapping[str, T]):
    self._what, self._shipped = what, dict(shipped)
    self._own: dict[str, tuple[T, str]] = {}

  def register(self, name: str) -> Callable[[T], T]:
    """Decorates a class or a function of a config file; the same name in another file takes its place."""
    if name in self._shipped:
      raise UserError(f"{self._what} {name!r} ships with synthjax; register yours under another name")

    def add(made: T) -> T:
      self._own[name] = made, _sha256_of_file(made)
      return made

    return add

  def find(self, name: str, where: str) -> T:
    """Raises UserError, with the nearest name that there is. `where` names the field."""
    if name not in self:
      raise UserError(f"{where}: {self._what} {name!r}{nearest(name, list(self))}")
    return self[name]

  def identity(self, name: str) -> dict[str, Any]:
    """What an identity gains by the use of a name: nothing by one that ships."""
    return {} if name in self._shipped else {"registered": {f"{self._what} {name}": self._own[name][1]}}

  def __getitem__(self, name: str) -> T:
    return self._shipped[name] if name in self._shipped else self._own[name][0]

  def __iter__(self) -> Iterator[str]:
    return iter([*self._shipped, *self._own])

  def __len__(self) -> int:
    return len(self._shipped) + len(self._own)


def _sha256_of_file(made: Any) -> str:
  file = inspect.getsourcefile(made) if inspect.isclass(made) or inspect.isfunction(made) else None
  if file is None or not Path(file).is_file():
    raise UserError(f"{made!r} cannot be registered: define it in a Python file, as a class or a function")
  return hashlib.sha256(Path(file).read_bytes()).hexdigest()
