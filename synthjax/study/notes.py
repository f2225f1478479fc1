"""What a config may ask for, and hardly means: reported, and done as it is written."""

from __future__ import annotations

from synthjax.models import networks
from synthjax.spec.study import StudySpec


def learners(config: StudySpec) -> list[str]:
  found = []
  for name, fields in config.learners.items():
    if edge := networks.unseen_edge(fields.model, fields.size):
      found.append(
        f"config.learners.{name}: size {fields.size} is no multiple of the patches of {fields.model}, "
        f"which never sees the last {edge} rows and columns; size {fields.size - edge} has none left over"
      )
  return found
