"""Which seeds of an arm are, or were, learnt side by side: a file for each group, in a folder of the run."""

from __future__ import annotations

from etils import epath

from synthjax.disk import checksums, workdir

FOLDER = "groups"


def groups(run: epath.Path, seeds: int) -> list[tuple[int, ...]]:
  """A group is written down before it begins, and never changes: seeds that none holds make a further one."""
  folder = run / FOLDER
  files = [folder / name for name in workdir.names(folder, "*.json")]
  found = [tuple(checksums.read_json(file, "group", {"seeds": [int]})["seeds"]) for file in files]
  known = sum(map(len, found))
  if known < seeds:
    folder.mkdir(exist_ok=True)
    found.append(tuple(range(known, seeds)))
    checksums.publish(folder / f"{len(found) - 1:05d}.json", workdir.to_json({"seeds": found[-1]}))
  return found
