"""What stays in memory from one product to the next, and is released when another kind of work begins.

A generator's parameters, an encoder's, and the pictures of tests are read once for all products that use them. Each kind
of product says what it uses: drawing and embedding keep both sets of parameters, since the rounds of a filter go to and fro
between them; what trains has the memory to itself. A classifier on features needs little: what a later product would read
again stays meanwhile, so the studies of a matrix, which draw, embed and tune by turns, read a network once.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterable

GENERATOR, ENCODER, PICTURES, LANGUAGE = "generator", "encoder", "pictures of tests", "language model"
_release: dict[str, Callable[[], bool]] = {}
_expected: set[str] = set()


def register(name: str, release: Callable[[], bool]) -> None:
  """`release` lets go of it, and says whether there was any."""
  _release[name] = release


def expect(uses: Iterable[Collection[str]]) -> None:
  """What the products use that come after the one that is being made."""
  _expected.clear()
  _expected.update(name for used in uses for name in used)


def begin(uses: Collection[str], small: bool = False) -> None:
  """Before the work on a product: releases what it does not use. `small`: it needs no room for itself."""
  used = {*uses, *(_expected if small else ())}
  released = [release() for name, release in _release.items() if name not in used]
  if any(released):
    gc.collect()  # a jitted program and the object whose method it is hold each other
