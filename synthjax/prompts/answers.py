"""What language models have answered, kept as it comes: a killed run asks nothing twice, and a list can be made again from it.

    prompts/<list>/answers/<process>.jsonl     the model on the first line, then an answer a line

Each process appends to a file of its own and reads everybody's. A line counts once its end is there, so what a death cut
off is asked again and nothing else is. An answer is found by the hash of the whole request and the model.
In a bucket a process puts a new object every few seconds, and a death costs the answers of these.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
import uuid
from collections.abc import Mapping
from typing import IO, Any

from etils import epath

from synthjax.disk import checksums, faults, workdir
from synthjax.disk.bucket import BucketPath
from synthjax.prompts.requests import Answer
from synthjax.runtime import processes
from synthjax.runtime.errors import UserError

FOLDER = "answers"
_SUFFIX = ".jsonl"
_PART_SECONDS, _PART_LINES = 5.0, 256  # of an object in a bucket
_SHAPE = {"key": str, "text": str, "prompt_tokens": int, "answer_tokens": int, "ended": bool, "sha": str}


class Answers:
  """Of one model, in one folder; `with Answers(folder, model) as answers:` for who adds some."""

  def __init__(self, folder: epath.Path, model: Mapping[str, Any]):
    self._folder, self._model = folder, dict(model)
    self._found: dict[str, Answer] = {}
    self._read: dict[str, int] = {}  # bytes of each file that are known
    self._file: IO[bytes] | _Parts | None = None
    self.refresh()

  def __enter__(self) -> Answers:
    return self

  def __exit__(self, *_: object) -> None:
    if self._file:
      self._file.close()
      self._file = None

  def __len__(self) -> int:
    return len(self._found)

  def mean_tokens(self) -> tuple[float, float] | None:
    """Asked and answered, of an answer; None where there are none."""
    n = len(self)
    if not n:
      return None
    found = self._found.values()
    return sum(a.prompt_tokens for a in found) / n, sum(a.answer_tokens for a in found) / n

  def get(self, key: str) -> Answer | None:
    return self._found.get(key)

  def refresh(self) -> None:
    """Reads what other processes have added."""
    for name in sorted(workdir.names(self._folder, f"*{_SUFFIX}")):
      path = self._folder / name
      if name in self._read and isinstance(path, BucketPath):  # nobody adds to an object
        continue
      with path.open("rb") as file:
        file.seek(self._read.get(name, 0))
        data = file.read()
      whole = data[: data.rfind(b"\n") + 1]
      if whole:
        with checksums.parsing(path, "answers"):
          self._take(path, whole.split(b"\n")[:-1], is_start=name not in self._read)
        self._read[name] = self._read.get(name, 0) + len(whole)

  def _take(self, path: epath.Path, lines: list[bytes], is_start: bool) -> None:
    if is_start:
      model = json.loads(lines.pop(0))["model"]
      if model != self._model:
        raise UserError(f"{path} holds answers of another model, {_short(model)}; remove the list's folder")
    for line in lines:
      body = checksums.shaped(json.loads(line), _SHAPE)
      answer = Answer(*(body[name] for name in ("text", "prompt_tokens", "answer_tokens", "ended")))
      if body["sha"] != _sha(body["key"], answer):
        raise ValueError("an answer is not what was written")
      self._found[body["key"]] = answer

  def add(self, key: str, answer: Answer) -> Answer:
    """As it will be read: half of a surrogate pair cannot be. On disk once this returns, as far as a killed process can tell."""
    text = answer.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    answer = dataclasses.replace(answer, text=text)
    if self._file is None:
      self._folder.mkdir(parents=True, exist_ok=True)
      name = f"{processes.host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}{_SUFFIX}"
      if isinstance(self._folder, BucketPath):
        self._file = _Parts(self._folder / name, _line({"model": self._model}))
      else:
        self._file = open(self._folder / name, "xb", buffering=0)  # noqa: SIM115  until __exit__
        self._write({"model": self._model})
    body = {"key": key, "text": answer.text, "prompt_tokens": answer.prompt_tokens}
    body |= {"answer_tokens": answer.answer_tokens, "ended": answer.ended, "sha": _sha(key, answer)}
    self._write(body)
    self._found[key] = answer
    return answer

  def _write(self, body: Mapping[str, Any]) -> None:
    assert self._file is not None
    line = _line(body)
    with faults.needing_room(self._folder):
      while line:
        line = line[self._file.write(line) :]


class _Parts:
  """A process's answers in a bucket, where no object grows: each part is one, put some seconds after its first answer."""

  def __init__(self, path: BucketPath, head: bytes):
    self._path, self._head = path, head
    self._lines: list[bytes] = []
    self._n, self._since = 0, 0.0

  def write(self, line: bytes) -> int:
    self._since = self._since if self._lines else time.monotonic()
    self._lines.append(line)
    if time.monotonic() - self._since > _PART_SECONDS or len(self._lines) >= _PART_LINES:
      self.close()
    return len(line)

  def close(self) -> None:
    if self._lines:
      name = f"{self._path.stem}-{self._n:06d}{_SUFFIX}"
      workdir.publish_bytes(self._path.with_name(name), self._head + b"".join(self._lines))
      self._n, self._lines = self._n + 1, []


def _line(body: Mapping[str, Any]) -> bytes:
  return json.dumps(body, ensure_ascii=True).encode() + b"\n"


def model_of(folder: epath.Path) -> dict[str, Any] | None:
  """Whose answers lie there; None where there are none."""
  for name in sorted(workdir.names(folder, f"*{_SUFFIX}")):
    with (folder / name).open("rb") as file:
      line = file.readline()
    if line.endswith(b"\n"):
      with checksums.parsing(folder / name, "answers"):
        return checksums.shaped(json.loads(line), {"model": dict})["model"]
  return None


def cover(folder: epath.Path) -> None:
  """Gives each file its checksum, once nobody will add to it."""
  for name in workdir.names(folder, f"*{_SUFFIX}"):
    if not checksums.is_covered(folder / name):
      checksums.cover(folder / name)


def _sha(key: str, answer: Answer) -> str:
  said = json.dumps([key, answer.text, answer.prompt_tokens, answer.answer_tokens, answer.ended])
  return hashlib.sha256(said.encode()).hexdigest()[:16]


def _short(model: Mapping[str, Any]) -> str:
  return json.dumps(model)[:80]
