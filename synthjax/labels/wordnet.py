"""x"""

from synthjax.labels.spaces import LabelSpace


def gloss(labels: LabelSpace, class_id: str) -> str:
  return ""
