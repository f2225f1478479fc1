"""Text that others wrote ends in its values or in one line, at once: nothing hangs, and nothing is a traceback."""

import json
import os

import pytest

from synthjax.data.sources import open_source
from synthjax.disk import checksums
from synthjax.labels import spaces
from synthjax.weights import read
from tests.conftest import said_of

DEEP = 100_000
LONG = "1" * 5000
_ALIASES = [
  f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
]
BOMB = "\n".join(["a: &a ['x {}', 'x {}', 'x {}']", *_ALIASES])  # 3 * 10 ** 8 texts


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("[" * DEEP, "is nested too deeply"),
    ("- " * DEEP + "x", "is nested too deeply"),
    (f"{BOMB}\ntemplates: *i\nclasses: {{a: x}}", "stand for more than 100,000 values"),
    ("classes: &a {a: *a}", "*a stands within itself"),
    ('classes: {a: "half \\ud83d"}', "half of a surrogate pair"),
    ('classes: {a: "\\U00110000"}', "is not readable YAML"),
    (f"%YAML {LONG}.1\n---\nclasses: {{a: x}}", "is not readable YAML"),
    ("x" * (5 << 20), "4 MB that are read of YAML"),
  ],
)
def test_labels_in_yaml_that_no_parser_should_see(tmp_path, text, said):
  file = tmp_path / "labels.yaml"
  file.write_text(text)
  told = said_of(lambda: spaces.load(str(file)))
  assert said in told and str(file) in told


def test_an_alias_that_says_one_thing_twice_is_read(tmp_path):
  file = tmp_path / "labels.yaml"
  file.write_text("template: &t a sketch of a {}\ntemplates: [*t, 'a {}']\nclasses: {a: x}\n")
  assert spaces.load(str(file)).templates == ("a sketch of a {}", "a {}")


HOSTILE_JSON = [
  ("[" * DEEP, "nested too deeply"),
  ('{"a":' * DEEP, "nested too deeply"),
  ("[" * 500 + "]" * 500, "nested too deeply"),  # Python's parser takes it; what walks it later may not
  (f'{{"a": {LONG}}}', "has 5000 digits"),
  ('{"a": "half \\ud83d"}', "half of a surrogate pair"),
  ('{"half \\udc00": 1}', "half of a surrogate pair"),
  (b'{"a": "\xff"}', "can't decode byte 0xff"),
  ("", "Expecting value"),
]


def _labels(file):
  spaces.load(str(file))


def _mapping(file):
  (file.parent / "x").mkdir(exist_ok=True)
  (file.parent / "x" / "1.png").write_bytes(b"")
  open_source(f"folder:{file.parent}?map={file}", spaces.load("digits"))


def _coop(file):
  open_source(f"coop:{file}:test", spaces.load("digits"))


def _config(file):
  read.read_json(file)


def _product(file):
  checksums.read_json(file, "record")


READERS = [_labels, _mapping, _coop, _config, _product]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("text", "said"), HOSTILE_JSON)
def test_json_that_no_reader_should_see(tmp_path, reader, text, said):
  if reader is _mapping and said == "has 5000 digits":
    pytest.skip("numbers are texts here, as they are written")
  file = tmp_path / "some.json"
  file.write_bytes(text if isinstance(text, bytes) else text.encode())
  told = said_of(lambda: reader(file))
  assert said in told and str(file) in told


@pytest.mark.parametrize("reader", READERS[:-1])
def test_a_pipe_a_device_or_a_file_without_end_is_not_read(tmp_path, reader):
  file = tmp_path / "some.json"
  os.mkfifo(file)
  assert "is a FIFO" in said_of(lambda: reader(file))
  file.unlink()
  file.symlink_to("/dev/zero")
  assert "is a device" in said_of(lambda: reader(file))
  file.unlink()
  with file.open("wb") as sparse:
    sparse.truncate(1 << 40)
  assert "is larger than the 64 MB" in said_of(lambda: reader(file))


def test_escaped_emoji_are_one_character(tmp_path):
  """As json.dumps writes them: YAML takes each half for a character of its own."""
  (tmp_path / "\N{GRINNING FACE}").mkdir()
  (tmp_path / "\N{GRINNING FACE}" / "1.png").write_bytes(b"")
  (tmp_path / "classes.json").write_text(json.dumps({"\N{GRINNING FACE}": 7, "rest": None}))
  assert open_source(f"folder:{tmp_path}", spaces.load("digits")).labels.tolist() == [7]


def test_a_line_of_metadata_that_is_hostile_is_named(tmp_path):
  (tmp_path / "3").mkdir()
  (tmp_path / "3" / "1.png").write_bytes(b"")
  for line, said in (("[" * DEEP, "line 2 is not readable JSON"), ('{"file_name": 3}', "each: line 2")):
    (tmp_path / "metadata.jsonl").write_text(f'{{"file_name": "3/1.png", "prompt": "a\u2028b"}}\n{line}\n')
    assert said in said_of(lambda: open_source(f"folder:{tmp_path}", spaces.load("digits")).about(0))
