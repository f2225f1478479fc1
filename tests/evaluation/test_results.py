"""Files of results: small, a bit an example, and refused where they contradict themselves."""

import json

import numpy as np
import pytest
from etils import epath

from synthjax.disk import checksums, workdir
from synthjax.evaluation import results
from synthjax.evaluation.accuracy import Tally
from synthjax.runtime.errors import UserError


def tally_of(n: int, classes: int, right: float = 0.7) -> Tally:
  rng = np.random.default_rng(0)
  labels = np.arange(n) % classes
  answers = np.where(rng.random(n) < right, labels, rng.integers(0, classes, n))
  return Tally.empty(classes).update(np.eye(classes, dtype=np.float16)[answers], labels)


@pytest.fixture
def stem(tmp_path) -> epath.Path:
  return epath.Path(tmp_path) / "tests" / "digits-1a2b3c4d.0"


def test_a_result_is_read_as_it_was_written(stem):
  tally = tally_of(103, 7)
  assert results.file_of(stem) is None
  results.publish(stem, tally)
  found = results.read(stem, 103)
  assert results.file_of(stem).name == "digits-1a2b3c4d.0.npz"
  assert (found.confusion_KxK == tally.confusion_KxK).all() and (found.right_N == tally.right_N).all()
  assert found.metrics(top5=True) == tally.metrics(top5=True)


def test_a_thousand_classes_take_less_than_a_tenth_of_a_megabyte(stem):
  for i, right in enumerate((0.8, 0.01)):
    path = stem.with_name(f"{i}")
    results.publish(path, tally_of(20_000, 1000, right))
    assert results.file_of(path).stat().length < 100_000


def test_results_of_an_older_release_are_read_on_without_bits(stem):
  tally = tally_of(50, 10)
  stem.parent.mkdir()
  file = stem.with_name(stem.name + ".json")
  file.write_bytes(workdir.to_json(tally.to_json()))
  found = results.read(stem, 50)
  assert found.right_N is None and found.metrics() == tally.metrics()
  results.publish(stem, tally)  # it stays
  assert results.file_of(stem) == file and not results.fault(stem, 50)
  body = json.loads(file.read_text())
  body["confusion"][3][3] -= 1
  file.write_text(json.dumps(body))
  with pytest.raises(
    UserError, match=r"\.0\.json is damaged: it counts 49 examples of a test of 50; remove it"
  ):
    results.read(stem, 50)


@pytest.mark.parametrize(
  "change, said",
  [
    (
      lambda a: a | {"counts": a["counts"] + (np.arange(len(a["counts"])) == 0)},
      "counts 51 examples of a test of 50",
    ),
    (lambda a: a | {"right": ~a["right"]}, "examples are marked as right"),
    (lambda a: a | {"cells": a["cells"][::-1]}, "examples are marked as right"),
    (lambda a: a | {"among_five": 3}, "3 are right among five"),
    (lambda a: {k: v for k, v in a.items() if k != "right"}, "is damaged"),
    (lambda a: a | {"cells": a["cells"] + 100}, "is damaged"),
  ],
)
def test_numbers_that_contradict_each_other_are_one_line(stem, change, said):
  """Whoever writes the checksum too: what is right must still be what is counted as right."""
  results.publish(stem, tally_of(50, 10))
  file = results.file_of(stem)
  with np.load(file) as arrays:
    changed = change(dict(arrays))
  checksums.forget(file)
  np.savez(file, **changed)
  with pytest.raises(UserError, match=r"result: .*is damaged") as e:
    results.read(stem, 50)
  assert said in str(e.value) and "\n" not in str(e.value)
  assert results.fault(stem, 50).files == (file,)
