"""Writes `synsets.json`, the synsets that label spaces name, from the files of WordNet 3.0.

apt-get install wordnet-base && python -m synthjax.labels.make_wordnet /usr/share/wordnet

A class's synset is its id where that is a WordNet id (the n and the offset in data.noun), or what `wordnet:` in its file says.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from synthjax.labels import synsets

_WNID = re.compile(r"n(\d{8})")
_PUBLISHED = Path(__file__).parent / "published"
_Line = tuple[list[str], str, str]  # lemmas, gloss, the parent's id


def wanted() -> list[str]:
  """The ids of all synsets that published label spaces name."""
  found: set[str] = set()
  for file in _PUBLISHED.glob("*.json"):
    body = json.loads(file.read_text())
    named = [*body.get("classes", {}), *body.get("wordnet", {}).values()]
    found |= {name for name in named if isinstance(name, str) and _WNID.fullmatch(name)}
  return sorted(found)


def read(data: bytes, wnid: str) -> _Line:
  """A line of data.noun, as wndb(5WN) describes it: `02012849 05 n 01 crane 0 004 @ 02000954 n 0000 ... | gloss; "example"`.

  Of several parents the first: @ is a hypernym, @i the class of an instance.
  """
  offset = int(wnid[1:])
  line = data[offset : data.index(b"\n", offset)].decode()
  fields, _, text = line.partition(" | ")
  words = fields.split()
  if f"n{words[0]}" != wnid:
    raise ValueError(f"data.noun has no synset {wnid}")
  n = int(words[3], 16)
  lemmas = [word.replace("_", " ") for word in words[4 : 4 + 2 * n : 2]]
  pointers = words[4 + 2 * n + 1 :]
  parents = {sign: f"n{at}" for sign, at in reversed(list(zip(pointers[::4], pointers[1::4], strict=False)))}
  gloss = re.split(r';\s*"', text, maxsplit=1)[0].strip(" ;")
  return lemmas, gloss, parents.get("@", parents.get("@i", ""))


def lines(data: bytes, wnids: Iterable[str]) -> Iterator[tuple[str, _Line]]:
  """Of these synsets and all that they are kinds of, sorted by id."""
  named = set(wnids)
  found: dict[str, _Line] = {}
  for wnid in named:
    while wnid and wnid not in found:
      found[wnid] = read(data, wnid)
      wnid = found[wnid][2]
  for wnid, (lemmas, gloss, parent) in sorted(found.items()):
    yield wnid, (lemmas, gloss, parent) if wnid in named else (lemmas[:1], "", parent)


def to_text(data: bytes) -> str:
  rows = [f"{json.dumps(i)}: {json.dumps(line, ensure_ascii=False)}" for i, line in lines(data, wanted())]
  return "{\n" + ",\n".join(rows) + "\n}\n"


if __name__ == "__main__":
  synsets.FILE.write_text(to_text((Path(sys.argv[1]) / "data.noun").read_bytes()))
