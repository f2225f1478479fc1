"""Files of products that hold something else than was written, where no checksum says so: one line, never a traceback."""

import contextlib
import io
import json
import os
import shutil
import stat
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from etils import epath

from synthjax import study
from synthjax.disk import checksums
from synthjax.disk.checksums import FOLDER
from synthjax.labels.spaces import load
from synthjax.learning import metrics
from synthjax.products.prompt_list import PromptList
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec.command import Command
from synthjax.spec.study import resolve
from synthjax.store import features, kept, records
from tests.test_damage import Made


@pytest.fixture(scope="module")
def made(tmp_path_factory, weights) -> Made:
  return Made(tmp_path_factory.mktemp("other"), weights)


def of_other_types(value: Any) -> Any:
  """Numbers where strings are, and so on, under the same keys."""
  match value:
    case dict():
      return {k: of_other_types(v) for k, v in value.items()}
    case list():
      return {str(i): of_other_types(v) for i, v in enumerate(value)}
    case str():
      return 7
    case None:
      return []
  return str(value)


def arrays_of(data: bytes) -> dict[str, np.ndarray]:
  with np.load(io.BytesIO(data)) as found:
    return dict(found)


def archive(arrays: dict[str, np.ndarray]) -> bytes:
  buffer = io.BytesIO()
  np.savez(buffer, **arrays)
  return buffer.getvalue()


def other_contents(path: Path) -> Iterator[tuple[str, bytes]]:
  """(name, contents) that no checksum contradicts."""
  data = path.read_bytes()
  yield "zeros at the end", data + bytes(512)
  yield "zeros from the middle on", data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
  yield "half", data[: len(data) // 2]
  yield "not UTF-8", data[: len(data) // 2] + b"\xff\xfe" + data[len(data) // 2 :]
  if path.suffix == ".json":
    body = json.loads(data)
    for name, other in [("list", []), ("object", {}), ("number", 5), ("text", "x"), ("nothing", None)]:
      yield name, json.dumps(other).encode()
    yield "of other types", json.dumps(of_other_types(body)).encode()
    yield "nested", b"[" * 100_000 + b"]" * 100_000
    yield "5,000 digits", json.dumps(body).encode().replace(b"1", b"1" * 5000, 1)
    if isinstance(body, dict):
      for key in sorted(body):
        yield f"without {key}", json.dumps({k: v for k, v in body.items() if k != key}).encode()
        yield f"{key} as a list", json.dumps(body | {key: [body[key]]}).encode()
  if path.suffix == ".jsonl":
    first, *rest = data.splitlines(keepends=True)
    for name, other in [("list", b"[]\n"), ("object", b"{}\n"), ("number", b"5\n"), ("empty line", b"\n")]:
      yield f"{name} first", b"".join([other, *rest])
    row = json.loads(first)
    yield "of other types", b"".join([json.dumps(of_other_types(row)).encode(), b"\n", *rest])
    yield "nested", b"".join([b"[" * 100_000, b"]" * 100_000, b"\n", *rest])
    for key in sorted(row):
      without = {k: v for k, v in row.items() if k != key}
      yield f"without {key}", b"".join([json.dumps(without).encode(), b"\n", *rest])
      yield f"{key} as a list", b"".join([json.dumps(row | {key: [row[key]]}).encode(), b"\n", *rest])
    yield "no line", b""
  if path.suffix == ".npz":
    arrays = arrays_of(data)
    yield "no array", archive({})
    yield "objects", archive({k: np.array([{}], dtype=object) for k in arrays})
    for key, array in arrays.items():
      yield f"without {key}", archive({k: v for k, v in arrays.items() if k != key})
      yield f"{key} flat and short", archive(arrays | {key: array.ravel()[:1]})
      yield f"{key} a number", archive(arrays | {key: np.array(3)})
      yield f"{key} as text", archive(arrays | {key: array.astype(str)})
      yield f"{key} negative", archive(arrays | {key: np.full(array.shape, -5)})
      yield f"{key} huge", archive(arrays | {key: np.full(array.shape, 2**62)})


class Copy:
  """Of a workdir: whole again before each use, for which only products with a file that changed are copied anew."""

  def __init__(self, made: Made, folder: Path):
    self._whole, self.folder = made.root, folder
    shutil.copytree(self._whole, folder, symlinks=True)
    self._stamps = self._now()

  def _now(self) -> dict[Path, tuple[int, ...]]:
    """A file's number and times; of a folder, that it is there."""
    stats = [(path.relative_to(self.folder), path.lstat()) for path in self.folder.rglob("*")]
    return {
      name: () if stat.S_ISDIR(s.st_mode) else (s.st_ino, s.st_size, s.st_ctime_ns) for name, s in stats
    }

  def restore(self) -> None:
    now = self._now()
    changed = [name for name in now.keys() | self._stamps.keys() if now.get(name) != self._stamps.get(name)]
    for product in sorted({Path(*name.parts[:2]) for name in changed}):
      mine, whole = self.folder / product, self._whole / product
      shutil.rmtree(mine) if mine.is_dir() else mine.unlink(missing_ok=True)
      if whole.is_dir():
        shutil.copytree(whole, mine, symlinks=True)
      elif whole.exists():
        shutil.copy2(whole, mine)
    self._stamps = self._now()


def outcome(made: Made, path: Path, data: bytes, copy: Copy) -> str:
  """What a plan and a run make of it: "" where neither raises anything but a line."""
  copy.restore()
  file = copy.folder / path.relative_to(made.root)
  file.write_bytes(data)
  for mark in (file.parent / FOLDER).glob(f"{file.name}.*"):
    mark.unlink()
  for plan in (True, False):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
      try:
        study.run(Command(made.config, str(copy.folder), line="...", plan=plan))
      except UserError as e:
        if "\n" in str(e):
          return f"several lines: {e}"
        break
      except Exception as e:  # noqa: BLE001
        frames = [f for f in traceback.extract_tb(e.__traceback__) if "/synthjax/" in f.filename]
        return f"{type(e).__name__}: {str(e)[:80]} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
    if "Traceback" in said.getvalue() or "could not be rendered" in said.getvalue():
      return said.getvalue()[:300]
  return ""


EACH = int(os.environ.get("SYNTHJAX_EACH", "5"))  # of so many contents one is tried: all take half an hour


def sweep(made: Made, folder: Path, only=lambda i: True, kinds="") -> tuple[Counter, list[str]]:
  tried, raw, copy = Counter(), [], Copy(made, folder)
  cases = (
    (kind, name, paths[0], data)
    for kind, paths in made.kinds().items()
    if kinds in kind and paths[0].suffix in (".json", ".jsonl", ".npz", ".txt", ".safetensors")
    for name, data in other_contents(paths[0])
  )
  for i, (kind, name, path, data) in enumerate(cases):
    if not only(i):
      continue
    tried[kind] += 1
    if why := outcome(made, path, data, copy):
      raw.append(f"{kind}, {name}: {why}")
      print(raw[-1], flush=True)
  return tried, raw


@pytest.mark.slow
def test_other_contents_of_every_file_are_one_line(made, tmp_path):
  tried, raw = sweep(made, tmp_path / "w", only=lambda i: i % EACH == 0)
  print(f"\n{tried.total()} other contents of {len(tried)} kinds of files, {len(raw)} tracebacks")
  assert tried.total() >= 100 and not raw


# --- what reads them -----------------------------------------------------------------------------------

NESTED, DIGITS = b"[" * 100_000 + b"]" * 100_000, b'{"steps": ' + b"1" * 5000 + b"}"


@pytest.mark.parametrize(
  "data", [b"[]", b"5", b'"x"', b"null", b"{}", b'{"steps": "3"}', b'{"steps": true}', b'{"steps": 3}\0\0', b"\xff", NESTED, DIGITS]
)  # fmt: skip
def test_json_of_another_shape_is_one_line(tmp_path, data):
  file = epath.Path(tmp_path / "result.json")
  file.write_bytes(data)
  with pytest.raises(
    UserError, match=f"result: {file} is (damaged|not readable JSON) .*; remove it and run again"
  ) as e:
    checksums.read_json(file, "result", {"steps": int})
  assert "\n" not in str(e.value) and len(str(e.value)) < 300
  file.write_bytes(b'{"steps": 3, "more": []}')
  assert checksums.read_json(file, "result", {"steps": int})["steps"] == 3


@pytest.mark.parametrize(
  "tail", [b"\0" * 300, b"\0" * 300 + b"\n", b'{"step": 4\0\0\n', b'["step"]\n{"step": 5}\n', b"\xff\n"]
)
def test_rows_of_metrics_after_a_loss_of_power_are_dropped(tmp_path, tail):
  rows = [{"loss": 0.5, "step": step} for step in (1, 2, 3)]
  (tmp_path / metrics.FILE).write_bytes(records.to_lines(rows) + tail)
  assert metrics.read(epath.Path(tmp_path)) == rows
  with metrics.Metrics(epath.Path(tmp_path), 2) as opened:
    opened.write(3, {"loss": 0.25})
  assert metrics.read(epath.Path(tmp_path)) == [*rows[:2], {"step": 3, "loss": 0.25}]


FEATURES = dict(features=np.ones((3, 2), np.float32), labels=np.arange(3), ids=np.array(["a", "b", "c"]))


@pytest.mark.parametrize(
  "name, other",
  [
    ("features", np.ones(6, np.float32)),
    ("labels", np.array(3)),
    ("labels", np.arange(2)),
    ("labels", np.array(["0", "1", "2"])),
    ("ids", np.array(3)),
    ("ids", np.arange(3)),
    ("ids", np.array([{}, {}, {}], dtype=object)),
  ],
)
def test_features_of_another_shape_are_one_line(tmp_path, name, other):
  file = epath.Path(tmp_path / "all.npz")
  file.write_bytes(archive(FEATURES | {name: other}))
  with pytest.raises(UserError, match=f"features: {file} is damaged .*; remove it and run again"):
    features.read(file)
  file.write_bytes(archive(FEATURES))
  assert len(features.read(file)) == 3


@pytest.mark.parametrize(
  "name, other", [("scores", np.ones(1)), ("labels", np.ones(3)), ("stays", np.arange(3))]
)
def test_scores_of_another_shape_are_one_line(tmp_path, name, other):
  whole = dict(ids=FEATURES["ids"], labels=FEATURES["labels"], scores=np.ones(3), stays=np.ones(3, bool))
  (tmp_path / kept.SCORES).write_bytes(archive(whole | {name: other}))
  with pytest.raises(UserError, match=r"keep-list: .*scores\.npz is damaged .*; remove it and run again"):
    kept.Kept(epath.Path(tmp_path)).arrays()


@pytest.mark.parametrize(
  "line", [b"[]", b"5", b'{"class_id": 7, "text": "x"}', b'{"class_id": "7", "text": ["x"]}', b'{"text": "x"}', b"\0\0", NESTED]
)  # fmt: skip
def test_prompts_of_another_shape_are_one_line(tmp_path, line):
  config = fields_of.study_config(labels="digits")
  config.prompts.B = fields_of.prompt_list("B")
  prompts = PromptList(resolve(config), epath.Path(tmp_path), "B", load("digits"))
  prompts.folder.mkdir(parents=True)
  (prompts.folder / "prompts.jsonl").write_bytes(line + b"\n")
  with pytest.raises(UserError, match=r"prompts/B: .*prompts\.jsonl is damaged .*; remove it and run again"):
    prompts.read()
