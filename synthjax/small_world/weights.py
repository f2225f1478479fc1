"""The networks that ship: `embedded:clip` and `embedded:generator` stand where a folder of weights may stand."""

from __future__ import annotations

from pathlib import Path

from synthjax.runtime.errors import UserError, nearest

_HERE = Path(__file__).parent / "weights"
_SCHEME = "embedded:"


def folder(reference: str) -> Path:
  """Where the weights of a reference lie: a folder's path, or one of those that ship."""
  if not reference.startswith(_SCHEME):
    return Path(reference).expanduser()
  name = reference.removeprefix(_SCHEME)
  known = sorted(p.name for p in _HERE.iterdir() if p.is_dir()) if _HERE.is_dir() else []
  if name not in known:
    raise UserError(f"weights {reference!r}{nearest(name, known)}")
  return _HERE / name
