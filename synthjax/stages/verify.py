"""Stage verify: reads every byte of the image sets and holds counts, hashes and ids against the plan."""

from __future__ import annotations

from collections.abc import Sequence

from synthjax.errors import UserError
from synthjax.stages.image_set import ImageSet
from synthjax.store import shards


def verify(sets: Sequence[ImageSet]) -> None:
  """Says what is wrong shard by shard; ends with the command that lets them be made again."""
  remove = []
  for image_set in sets:
    faults = image_set.faults()
    for index, why in faults:
      print(f"{image_set.name} {shards.shard_name(index)}: {why}")
      remove.append(shards.remove_command(image_set.folder, index))
    print(
      f"{image_set.name}: {'every shard is as planned' if not faults else f'{len(faults)} shards to redo'}"
    )
  if remove:
    raise UserError(f"{len(remove)} shards to redo; run this and then the study again: {'; '.join(remove)}")
