"""Stage report: a page and a table that are derived from the products of a study, or of many. They grow while these are made."""

from __future__ import annotations

import abc
import threading
from collections.abc import Iterable, Mapping, Sequence

from etils import epath

from synthjax.disk import checksums, snapshot, workdir
from synthjax.pages.inputs import Asked, Member
from synthjax.pages.page import Progress
from synthjax.products.base import DONE, REFUSED, Product, status_or_refusal
from synthjax.runtime.stopping import Stop


class DerivedPage(Product):
  """`state.json` says what the finished page was rendered from; while there is none, the page is a passing one."""

  def __init__(self, root: epath.Path, table: str, inputs: Sequence[Product], folder: str = "report"):
    self._folder = root / folder
    self.page, self.table = self.folder / "index.html", root / table
    self._state_file = self.folder / "state.json"
    self.inputs = tuple(inputs)
    self._lock, self._is_final = threading.Lock(), False

  @abc.abstractmethod
  def summary(self) -> list[str]:
    """The result, for a terminal."""

  @abc.abstractmethod
  def _files(self, refresh_seconds: int) -> Mapping[epath.Path, bytes]:
    """Pages rendered from the products as they are."""

  @abc.abstractmethod
  def _finish(self) -> dict[str, str]:
    """Renders the final page; returns what it was rendered from."""

  def make(self, stop: Stop) -> bool:
    stop.check()
    with snapshot.one_look():
      if any(product.status().state != DONE for product in self.inputs):
        return False
      checksums.replace(self._state_file, workdir.to_json(self._finish()))
    return True

  def render(self, refresh_seconds: int) -> None:
    """As far as the products are there; with seconds to refresh, the page says that they are being made."""
    with self._lock, snapshot.one_look():  # the study and the thread that renders meanwhile
      if self._is_final:
        return
      self.folder.mkdir(parents=True, exist_ok=True)
      if refresh_seconds:
        checksums.forget(self._state_file)  # the page there is not the finished one
      for file, data in self._files(refresh_seconds).items():
        checksums.replace(file, data)
      self._is_final = not refresh_seconds

  def _is_rendered_from(self, wanted: Mapping[str, str]) -> bool:
    return (
      checksums.read_json(self._state_file, self.name) == wanted
      and self.page.exists()
      and self.table.exists()
    )


def members(products: Iterable[tuple[str, Product]], tests: Iterable[str]) -> list[Member]:
  """Products under the names that a page gives them, with what they have of results on these tests."""
  found, asked = [], Asked(results=tuple(tests))
  for name, product in products:
    s = status_or_refusal(product)
    is_refused = s.state == REFUSED
    about = product.about(None if is_refused else asked)
    progress = Progress(name, s.state, s.have, s.want, s.unit)
    found.append(Member(product, about, progress, s.why, is_refused))
  return found


def made_from(products: Iterable[Product]) -> list[Product]:
  """These and all that they are made from, each once."""
  found: dict[int, Product] = {}
  left = list(products)
  while left:
    product = left.pop(0)
    if id(product) not in found:
      found[id(product)] = product
      left += product.inputs
  return list(found.values())
