"""record.json: what a product was made from and what it cost, so that it can be made again and nothing is mixed up."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable
from typing import Any

from etils import epath

from synthjax.disk import checksums, workdir
from synthjax.runtime.errors import UserError
from synthjax.store import corrections

FORMAT = 1
_SOFTWARE = (
  "synthjax",
  "jax",
  "flax",
  "diffusers",
  "transformers",
  "tokenizers",
  "ftfy",
  "pillow",
  "array-record",
  "numpy",
)


def digest(value: Any) -> str:
  """A hash of anything JSON can say, the same on every machine."""
  text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
  return hashlib.sha256(text.encode()).hexdigest()


class Corrected(UserError):
  """A product on disk was made under a rule that has been corrected since."""


@dataclasses.dataclass(frozen=True)
class Record:
  product: str  # prompts/LE, images/LE, ...
  identity: dict[str, Any]
  growth: dict[str, Any] = dataclasses.field(default_factory=dict)
  runtime: dict[str, Any] = dataclasses.field(default_factory=dict)
  inputs: dict[str, str] = dataclasses.field(default_factory=dict)  # product -> hash of its content
  cost: dict[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def hash(self) -> str:
    return digest([FORMAT, self.product.split("/")[0], self.identity, self.inputs])

  def to_json(self) -> bytes:
    body = dataclasses.asdict(self) | {"format": FORMAT, "hash": self.hash, "software": software()}
    return workdir.to_json(body)


def to_lines(rows: Iterable[dict[str, Any]]) -> bytes:
  """JSON lines."""
  return "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows).encode()


def software() -> dict[str, str]:
  found = {"python": platform.python_version()}
  for name in _SOFTWARE:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
  return found


def load(folder: epath.Path) -> Record | None:
  """The record of a finished or begun product, or None."""
  path = folder / "record.json"
  if not workdir.is_file(path):
    return None
  body = checksums.read_json(path, "record")
  if not isinstance(body, dict) or not isinstance(body.get("format"), int):
    raise UserError(f"{path} is not a record of synthjax; remove {folder} and run again")
  if body["format"] > FORMAT:
    raise UserError(
      f"{path} has format {body['format']}, this synthjax reads up to {FORMAT}; install a newer synthjax"
    )
  try:
    with checksums.parsing(path, "record"):
      checksums.shaped(
        body, {f.name: str if f.name == "product" else dict for f in dataclasses.fields(Record)}
      )
    return Record(**{f.name: body[f.name] for f in dataclasses.fields(Record)})
  except KeyError as e:
    raise UserError(f"{path} lacks {e}; remove {folder} and run again") from None


def compare(folder: epath.Path, wanted: Record) -> Record | None:
  """The record that lies there, refused where its identity or its inputs are not the wanted ones."""
  found = load(folder)
  if found is None:
    return None
  fix = f"give the new one another name in the config, or remove {folder}"
  wanted_identity = json.loads(workdir.to_json(wanted.identity))  # tuples become lists, as in the file
  rules = corrections.since(found.identity, wanted_identity)
  if rules and corrections.before(found.identity) == corrections.before(wanted_identity):
    raise Corrected(
      f"{wanted.product} was made under a rule that has been corrected since: {rules}; remove {folder} to make it "
      "again, or use the release that made it"
    )
  for field in sorted(
    wanted_identity.keys() | found.identity.keys(), key=lambda f: (f == corrections.KEY, f)
  ):
    then, now = found.identity.get(field), wanted_identity.get(field)
    if then != now:
      raise UserError(
        f"{wanted.product}: {field} was {_short(then)} when it was made and is {_short(now)} now; {fix}"
      )
  for product in sorted(wanted.inputs.keys() | found.inputs.keys()):
    if found.inputs.get(product) != wanted.inputs.get(product):
      raise UserError(
        f"{wanted.product} was made from another {product} than the one that is there now; {fix}"
      )
  return found


def settle(folder: epath.Path, wanted: Record) -> Record:
  """Begins a product, or joins it: after this, the record that lies there has the wanted identity."""
  found = compare(folder, wanted)
  if found is None:
    folder.mkdir(parents=True, exist_ok=True)
    checksums.publish(folder / "record.json", wanted.to_json())
    found = compare(folder, wanted)  # another process may have been quicker, with another config
    assert found is not None
  return found


def update(folder: epath.Path, record: Record) -> None:
  checksums.replace(folder / "record.json", record.to_json())


def _short(value: Any) -> str:
  text = json.dumps(value, ensure_ascii=False)
  return text if len(text) <= 60 else f"{text[:40]}... (hash {digest(value)[:8]})"
