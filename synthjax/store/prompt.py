"""A text to draw a class by, as prompt lists and the records of images hold it."""

from __future__ import annotations

import dataclasses
import hashlib
import json


@dataclasses.dataclass(frozen=True)
class Prompt:
  class_id: str
  text: str
  repeat: int = 1  # how often it stands in the class's list
  parts: dict[str, str] = dataclasses.field(default_factory=dict)  # style, scene, ...
  origin: str = ""  # how it came about

  @property
  def id(self) -> str:
    return hashlib.sha256(f"{self.class_id}\0{self.text}".encode()).hexdigest()[:16]

  def to_line(self) -> str:
    return json.dumps({"id": self.id, **dataclasses.asdict(self)}, ensure_ascii=False)
