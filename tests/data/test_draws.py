import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthjax.data import draws
from synthjax.data.source import Source
from synthjax.data.sources import open_source
from synthjax.labels.spaces import LabelSpace, load
from synthjax.runtime.errors import UserError

ROOT = Path(__file__).parent.parent.parent
LABELS = LabelSpace(("b2", "a1", "n03"), ("bee", "ant", "cat"))


class Listed(Source):
  name, split, digest = "listed", "all", "0"

  def __init__(self, keys):
    self.keys = keys
    self.labels = np.array([LABELS.ids.index(k.split("/")[0]) for k in keys], np.int32)


def listed(n: int = 10) -> Source:
  return Listed([f"{c}/{i:03d}.jpg" for c in LABELS.ids for i in range(n)])


KNOWN = ["b2/000.jpg", "b2/009.jpg", "a1/000.jpg", "a1/007.jpg", "n03/003.jpg", "n03/007.jpg"]


def test_a_draw_is_written_down_here():
  """Known keys: another machine, Python or numpy draws the same."""
  part = draws.draw(listed(), LABELS, shots=2, seed=1)
  assert part.keys == KNOWN
  assert part.split == "all, 2 a class, draw 1"


def test_neither_the_order_nor_the_other_images_decide():
  source = listed()
  backwards = Listed(source.keys[::-1])
  assert set(draws.draw(backwards, LABELS, shots=3).keys) == set(draws.draw(source, LABELS, shots=3).keys)
  chosen = draws.draw(source, LABELS, shots=3).keys
  fewer = Listed([k for k in source.keys if k in chosen or k.endswith("5.jpg")])
  assert set(draws.draw(fewer, LABELS, shots=3).keys) == set(chosen)


def test_draws_are_nested_and_differ_by_seed():
  source = listed(40)
  two, four = (set(draws.draw(source, LABELS, shots=n).keys) for n in (2, 4))
  tenth, half = (set(draws.draw(source, LABELS, fraction=f).keys) for f in (0.1, 0.5))
  assert two < four == tenth < half and len(half) == 60
  assert set(draws.draw(source, LABELS, shots=4, seed=1).keys) != four


def test_a_long_tail_falls_exponentially():
  part = draws.draw(listed(100), LABELS, imbalance=100)
  assert np.bincount(part.labels).tolist() == [100, 10, 1]
  part = draws.draw(listed(100), LABELS, fraction=0.5, imbalance=4)
  assert np.bincount(part.labels).tolist() == [50, 25, 12]


def test_a_part_is_its_images():
  source = open_source("embedded:digits:first", load("digits"))
  part = draws.draw(source, load("digits"), shots=1)
  assert part.labels.tolist() != sorted(part.labels.tolist())  # in the order of the source
  for i, key in enumerate(part.keys):
    assert (np.asarray(part.image(i)) == np.asarray(source.image(source.keys.index(key)))).all()
    assert part.encoded(i).startswith(b"\x89PNG")
  assert part.digest != source.digest != draws.draw(source, load("digits"), shots=1, seed=1).digest
  assert draws.draw(source, load("digits")) is source


def test_a_class_with_few_images_gives_all_and_one_with_none_is_told():
  source = Listed(["b2/1", "a1/1", "a1/2", "n03/1"])
  assert len(draws.draw(source, LABELS, shots=2).keys) == 4
  with pytest.raises(UserError, match="class 'n03' has no image to draw from"):
    draws.draw(Listed(["b2/1", "a1/1"]), LABELS, shots=2)


_IN_A_PROCESS = """
import os, random, sys
from synthjax.data import draws
from synthjax.data.sources import open_source
from synthjax.labels.spaces import LabelSpace

scandir, moody = os.scandir, random.Random(sys.argv[2])
def shuffled(path):
  entries = list(scandir(path))
  moody.shuffle(entries)
  return entries
os.scandir = shuffled
labels = LabelSpace(("b2", "a1", "n03"), ("bee", "ant", "cat"))
print(*draws.draw(open_source("folder:" + sys.argv[1], labels), labels, shots=4, seed=1).keys, sep="\\n")
"""


def test_a_draw_is_the_same_in_other_processes_and_in_any_order_of_the_file_system(tmp_path):
  """Other processes have other string hashes; other file systems list their files in another order."""
  for key in listed(20).keys:
    (tmp_path / key).parent.mkdir(exist_ok=True)
    Image.new("RGB", (4, 4)).save(tmp_path / key)
  here = draws.draw(open_source(f"folder:{tmp_path}", LABELS), LABELS, shots=4, seed=1).keys
  line = [sys.executable, "-c", _IN_A_PROCESS, str(tmp_path)]
  both = [subprocess.Popen([*line, mood], stdout=subprocess.PIPE, text=True, cwd=ROOT) for mood in "ab"]
  assert [process.communicate()[0].split() for process in both] == [list(here)] * 2
  assert len(here) == 12
  assert set(here) == set(draws.draw(listed(20), LABELS, shots=4, seed=1).keys)
