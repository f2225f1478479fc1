"""Which of our classes a class of somebody else's data is: by id, by name, or as a file says; never by position."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from synthjax.disk import documents
from synthjax.labels.matching import match
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import NotHere, UserError, nearest

FILES = ("classes.yaml", "classes.json")  # in a folder of images: what its folders, or names, are


@dataclasses.dataclass(frozen=True)
class Reference:
  """`SCHEME:PATH[:SPLIT][?map=FILE]`, taken apart."""

  text: str
  path: Path
  split: str = ""
  map: Path | None = None

  @property
  def folder(self) -> Path:
    return self.path / self.split if self.split else self.path


def parse(reference: str, rest: str) -> Reference:
  """A path that is there is taken whole, whatever stands in it."""
  scheme = reference.partition(":")[0]
  if not rest:
    raise UserError(f"source {reference!r} names no folder; expected {scheme}:PATH")
  if Path(rest).expanduser().exists():
    return Reference(reference, Path(rest).expanduser())
  place, mark, file = rest.partition("?map=")
  if not mark and "?" in place and not any(c in place for c in "*["):
    raise UserError(f"source {reference!r}: after ? comes map=FILE")
  path, split = Path(place).expanduser(), ""
  if not path.exists() and Path(place.rpartition(":")[0]).expanduser().is_dir() and ":" in place:
    head, _, split = place.rpartition(":")
    path = Path(head).expanduser()
    if not split or Path(split).is_absolute() or ".." in Path(split).parts:
      raise UserError(f"source {reference!r}: {split!r} is no split; expected {scheme}:PATH:SPLIT")
  return Reference(reference, path, split, Path(file).expanduser() if mark else None)


def absent(reference: Reference, line: str) -> UserError:
  """What `line` says: NotHere where nothing lies at the path, and not where a split of it, or another kind of file, is meant."""
  if reference.split or reference.path.exists():
    return UserError(line)
  return NotHere(line, reference.text, f"there is no {reference.path}")


def mapping_of(reference: Reference) -> dict[str, str] | None:
  """Their class to our class id, from the file that the reference names or that lies in its folder; "" = left out."""
  if reference.map:
    return _read(reference.map)
  found = [reference.path / name for name in FILES if (reference.path / name).is_file()]
  return _read(found[0]) if found else None


def _read(file: Path) -> dict[str, str]:
  """YAML or JSON, one flat mapping of texts; what stands there twice is an error."""
  subject = f"class mapping {file}"
  text = documents.read_text(file, subject)
  if file.suffix == ".json":  # not as YAML, which takes each half of an escaped pair for a character
    body = documents.parse_json(text, subject, unique=True, number=str)
  else:
    body = documents.parse_yaml(text, subject)
  values = body.values() if isinstance(body, dict) else [body]
  if not isinstance(body, dict) or any(isinstance(value, dict | list) for value in values):
    raise UserError(
      f"{subject} is a mapping of their class to our class id, one line each, as 'crane_bird: n02012849'"
    )
  return {theirs: _class_id(ours) for theirs, ours in body.items()}


def _class_id(value: str | bool | None) -> str:
  """As it is written in the file; "" = left out."""
  if isinstance(value, bool):
    return str(value).lower()
  return "" if value in (None, "null", "~") else str(value)


def digest_of(mapping: Mapping[str, str] | None) -> bytes:
  """For a source's digest: another mapping is other labels."""
  return json.dumps(mapping, sort_keys=True).encode() if mapping else b""


def places(
  labels: LabelSpace,
  theirs: Sequence[str],
  mapping: Mapping[str, str] | None,
  where: str,
  *,
  names: bool = False,
) -> list[int]:
  """The place in our label space of each of their classes; -1 where the mapping, or the space, leaves it out.

  Without a mapping a class is known by our id, and with `names` also by what `labels/matching.py` knows it by.
  """
  if mapping is None and names:
    return match(theirs, labels, f"source {where}", "or give a mapping with ?map=FILE").tolist()
  ids = {class_id: k for k, class_id in enumerate(labels.ids)}
  found = []
  for their in theirs:
    if mapping is not None and their not in mapping:
      raise UserError(f"source {where}: class {their!r} is not in its class mapping{nearest(their, mapping)}")
    ours = their if mapping is None else mapping[their]
    if ours and ours not in ids:
      raise UserError(
        f"source {where}: {their!r} is mapped to class {ours!r}, which the label space lacks{nearest(ours, ids)}"
        if mapping is not None
        else f"source {where}: no class {their!r}{nearest(their, ids)}; name classes by their ids, or give a mapping with ?map=FILE"
      )
    found.append(ids[ours] if ours else -1)
  return found
