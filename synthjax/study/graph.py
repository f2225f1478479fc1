"""Which products a config asks for: what it wants by itself, and what that is made from."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from etils import epath

from synthjax.data.source import Source
from synthjax.data.sources import label_space, open_real, open_source
from synthjax.encoders.encoder import Encoder, encoder_of
from synthjax.filters.registry import RULES
from synthjax.labels.spaces import LabelSpace
from synthjax.products.base import P, Product
from synthjax.runtime import absence
from synthjax.runtime.errors import UserError
from synthjax.spec.config import Config
from synthjax.spec.study import StudySpec, resolve
from synthjax.study import notes
from synthjax.study.kinds import KINDS


class Study:
  """All products of a config, each declared once."""

  def __init__(self, spec: StudySpec, root: epath.Path, command: str = ""):
    self.spec, self.root, self.command = spec, root, command
    self._found: dict[tuple[str, ...], Product] = {}
    self._kinds: dict[type[Product], list[Product]] = {kind: [] for kind in KINDS}
    self._labels: dict[str, LabelSpace] = {}
    self._encoders: dict[str, Encoder] = {}
    self._sources: dict[str, Source] = {}
    self.studies = {name: _declared(name, own, root, command) for name, own in spec.studies.items()}
    alone = [kind for kind in KINDS if kind.alone and any(True for _ in kind.wanted(spec))]
    for kind in alone or [kind for kind in KINDS if not kind.alone]:
      for key in kind.wanted(spec):
        self.get(kind, *key)

  # --- what products are declared from ---------------------------------------------------------------

  @property
  def labels(self) -> LabelSpace:
    return self.label_space("")

  def label_space(self, name: str) -> LabelSpace:
    name = name or self.spec.labels
    if name not in self._labels:
      self._labels[name] = label_space(name)
    return self._labels[name]

  def get(self, kind: type[P], *key: str) -> P:
    own = next(k for k in KINDS if issubclass(k, kind) and k.describes(self.spec, *key))
    place = (own.__name__, *key)
    if place not in self._found:
      product = own.declare(self, *key)
      self._found[place] = product
      self._kinds[own].append(product)
    return cast("P", self._found[place])

  def encoder(self, name: str) -> Encoder:
    if name not in self._encoders:
      self._encoders[name] = encoder_of(self.spec, self.root, name, self.labels)
    return self._encoders[name]

  def source(self, name: str) -> Source:
    if name not in self._sources:
      is_test = name in self.spec.tests
      self._sources[name] = (
        open_source(self.spec.tests[name], self.labels)
        if is_test
        else open_real(self.spec.real[name], self.labels)
      )
    return self._sources[name]

  # --- what a command makes of them ------------------------------------------------------------------

  @property
  def products(self) -> list[Product]:
    """Each after what it is made from; those of the studies of a matrix first."""
    return [product for _, product in self.titled]

  @property
  def own(self) -> list[Product]:
    """Without those of the studies of a matrix."""
    found: dict[int, Product] = {}

    def add(product: Product) -> None:
      for needed in product.inputs if id(product) not in found else ():
        if needed in declared:
          add(needed)
      found.setdefault(id(product), product)

    declared = [product for made in self._kinds.values() for product in made]
    for product in declared:
      add(product)
    return list(found.values())

  def of(self, kind: type[P]) -> list[P]:
    return [cast("P", p) for own, made in self._kinds.items() if issubclass(own, kind) for p in made]

  @property
  def titled(self) -> list[tuple[str, Product]]:
    """Products under their folders below the workdir."""
    of_studies = [(f"{s}/{name}", p) for s, study in self.studies.items() for name, p in study.titled]
    return of_studies + [(product.name, product) for product in self.own]

  @property
  def each(self) -> list[Study]:
    """Of a matrix its studies, then it; else this one alone."""
    return [*self.studies.values(), self]

  @property
  def notes(self) -> list[str]:
    """What is legal and still may be a mistake."""
    found = [f"{name}: {note}" for name, study in self.studies.items() for note in study.notes]
    if any(product.alone for product in self.own):
      return found
    return [*found, *self.labels.notes(), *notes.learners(self.spec)]


def _declared(name: str, spec: StudySpec, root: epath.Path, command: str) -> Study:
  """A study of a matrix, below the workdir as if it had been run there alone."""
  with _of_study(name):
    return Study(spec, root / name, command)


@contextlib.contextmanager
def _of_study(name: str) -> Iterator[None]:
  """Errors within name the study of a matrix that they are of."""
  try:
    yield
  except UserError as e:
    raise UserError(f"study {name}: {e}" if name else str(e)) from None


def design(config: Config, root: epath.Path, command: str = "", stages: Sequence[str] = ()) -> Study:
  """Everything the config asks for, and no more: a filter or an encoder that no arm uses makes nothing.

  What the products of the given stages (none: of all) need of elsewhere is opened and checked: no other stage's.
  """
  spec = resolve(config)
  for name, own in {"": spec, **spec.studies}.items():
    with _of_study(name):
      _check_names(own)
  study = Study(spec, root, command)
  for name, one in {"": study, **study.studies}.items():
    with _of_study(name):
      check(p for p in one.own if not stages or p.stage in stages)
  return study


def _check_names(spec: StudySpec) -> None:
  """Those that rooms below register, beside what ships."""
  for name, own in spec.filters.items():
    RULES.find(own.rule, f"config.filters.{name}")


def check(products: Iterable[Product]) -> None:
  opened: set[tuple[str, LabelSpace]] = set()
  for product in products:
    absence.attempt(product.check)
    for reference, labels in product.reads():
      if (reference, labels) not in opened:
        opened.add((reference, labels))
        absence.attempt(functools.partial(open_source, reference, labels))
