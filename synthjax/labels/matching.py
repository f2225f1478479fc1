"""Which class a data set's label is: by id or by name, never by its place in a list.

Two lists of the same names in two orders make every number of a study wrong, and nothing shows it.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Sequence

import numpy as np

from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError, nearest

PASSED_OVER = -1
_SHOWN = 4


def match(theirs: Sequence[str], labels: LabelSpace, where: str, fix: str = "") -> np.ndarray:
  """[len(theirs)] places in the space, PASSED_OVER for what it says is no class; whatever else is an error.

  Tried in turn: the id, the name, an alias, to the letter; then id and name without regard to case and punctuation.
  `fix` is what an error advises; "" = aliases in the labels file.
  """
  exact = {**_keys(zip(labels.names, labels.ids, strict=True)), **{i: {i} for i in labels.ids}}
  exact |= {theirs: {class_id} for theirs, class_id in labels.aliases}
  loose = _keys((plain(key), i) for key, ids in exact.items() for i in ids)
  passed_over = {plain(label) for label in labels.passed_over}
  places = {class_id: k for k, class_id in enumerate(labels.ids)}
  aliases = dict(labels.aliases)
  found, taken = np.full(len(theirs), PASSED_OVER, np.int32), {}
  for k, label in enumerate(theirs):
    ids = exact.get(label) or loose.get(plain(label), set())
    if not ids and plain(label) in passed_over:
      continue
    if not ids:
      raise UserError(
        f"{where}: its label {label!r} is no class of the label space{nearest(label, labels.names)}; "
        f"{_sides(theirs, labels)}; {fix or f'choose the labels of this data set, or add aliases: {{{label}: CLASS ID}}'}"
      )
    if len(ids) > 1:
      raise UserError(
        f"{where}: its label {label!r} may be classes {', '.join(sorted(ids))}, which share that name; "
        f"{fix or f'say which with aliases: {{{label}: CLASS ID}} in the labels file'}; {_sides(theirs, labels)}"
      )
    (class_id,) = ids
    if class_id in taken and label not in aliases:
      raise UserError(
        f"{where}: its labels {taken[class_id]!r} and {label!r} are both class {class_id!r}; {_sides(theirs, labels)}"
      )
    taken[class_id] = label
    found[k] = places[class_id]
  return found


def plain(text: str) -> str:
  """Without case, underscores, spaces and punctuation."""
  return re.sub(r"[\W_]+", " ", text.casefold()).strip()


def _keys(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
  found: dict[str, set[str]] = collections.defaultdict(set)
  for key, class_id in pairs:
    found[key].add(class_id)
  return found


def _sides(theirs: Sequence[str], labels: LabelSpace) -> str:
  return f"it has {_some(theirs)}, the space {_some(labels.names)}"


def _some(texts: Sequence[str]) -> str:
  shown = ", ".join(repr(t) for t in texts[:_SHOWN])
  return f"{len(texts)} labels ({shown}{', ...' if len(texts) > _SHOWN else ''})"
