"""Sources in object stores: `SCHEME:URL[:SPLIT][?map=FILE]` becomes one of files on this machine.

Of a split, what is fetched is its folder and the files beside it, which say what the classes are.
"""

from __future__ import annotations

from synthjax.disk import fetched, objects
from synthjax.runtime import absence
from synthjax.runtime.errors import NotHere, UserError

_SCHEMES = ("folder", "webdataset", "parquet", "synthjax")


def local(reference: str, rest: str) -> str:
  """What follows the scheme, with a path in the place of a URL; fetched, but by --plan, where that is noted as not here."""
  if not objects.is_url(rest):
    return rest
  scheme = reference.partition(":")[0]
  if scheme not in _SCHEMES:
    raise UserError(
      f"source {reference!r}: {scheme} reads files of this machine; of URLs, {', '.join(_SCHEMES)} do"
    )
  place, mark, file = rest.partition("?map=")
  url, split = _parts(place)
  try:
    path = fetched.local(url, _of_split(split), split, fetches=not absence.is_passed_over())
  except objects.Unreachable as e:
    raise NotHere(f"source {reference}: {e}", reference, "it cannot be reached") from None
  except fetched.NotFetched as e:
    line = f"source {reference}: {e.files:,} files, {e.size / 1e9:.3g} GB, are not fetched yet"
    raise NotHere(line, reference, f"{e.files:,} files, {e.size / 1e9:.3g} GB, are to be fetched") from None
  except UserError as e:
    raise UserError(f"source {reference}: {e}") from None
  return f"{path}{split and f':{split}'}{mark}{file}"


def _parts(place: str) -> tuple[str, str]:
  """(URL, split)."""
  scheme, _, path = place.partition("://")
  path, _, split = path.partition(":")
  return f"{scheme}://{path.rstrip('/')}", split


def _of_split(split: str):
  def wanted(name: str) -> bool:
    return not split or "/" not in name or name.startswith(f"{split}/")

  return wanted
