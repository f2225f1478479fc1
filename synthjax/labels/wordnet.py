"""The WordNet definition and the hypernyms of a class of a label space."""

from __future__ import annotations

from synthjax.labels import synsets
from synthjax.labels.spaces import LabelSpace
from synthjax.labels.synsets import Synset


def synset(labels: LabelSpace, class_id: str) -> Synset | None:
  """By the space's key `wordnet`, else by the class's id, where that is the id of a synset that ships; else None."""
  return dict(labels.wordnet).get(class_id) or synsets.shipped(class_id)


def gloss(labels: LabelSpace, class_id: str) -> str:
  """`large long-necked wading bird of marshes and plains in many parts of the world`; "" = not known."""
  found = synset(labels, class_id)
  return found.gloss if found else ""


def hypernyms(labels: LabelSpace, class_id: str) -> tuple[str, ...]:
  """`wading bird`, `aquatic bird`, ..., `entity`; () = not known."""
  found = synset(labels, class_id)
  return found.hypernyms if found else ()
