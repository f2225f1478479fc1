"""What is wrong with a reference: that nothing of it is on this machine, which --plan passes over, or anything else."""

import json
import tarfile

import pytest
from PIL import Image

from synthjax.data import tfds_source
from synthjax.data.sources import open_source
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime import absence
from synthjax.runtime.errors import NotHere, UserError
from tests.data import tfds_files

LABELS = LabelSpace(("a1", "b2"), ("ant", "bee"))
DIGITS = LabelSpace(tuple("0123456789"), tuple("0123456789"))


@pytest.fixture
def here(tmp_path, monkeypatch):
  """A folder with something of each kind, and nothing that is called `none`."""
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
  monkeypatch.setattr(tfds_source, "_CACHE", str(tmp_path / "cache"))
  monkeypatch.chdir(tmp_path)
  for name in ("own/train/a1/1.png", "own/train/b2/2.png"):
    (tmp_path / name).parent.mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / name)
  (tmp_path / "split.json").write_text(json.dumps({"train": [], "val": [], "test": [["1.png", 0, "ant"]]}))
  (tmp_path / "tars").mkdir()
  with tarfile.open(tmp_path / "tars" / "0.tar", "w"):
    pass
  (tmp_path / "parquets" / "x").mkdir(parents=True)
  (tmp_path / "parquets" / "x" / "train-0.parquet").write_bytes(b"PAR1")
  (tmp_path / "images" / "B").mkdir(parents=True)
  return tmp_path


def error_of(reference: str, labels: LabelSpace = LABELS) -> UserError:
  with pytest.raises(UserError) as e:
    open_source(reference, labels)
  return e.value


TFDS = "set TFDS_DATA_DIR, or run: tfds build cifar10 --file_format=array_record"


@pytest.mark.parametrize(
  ("reference", "line", "fix"),
  [
    ("tfds:cifar10:test", f"'tfds:cifar10:test': cifar10 is not in none; {TFDS}", TFDS),
    ("folder:none", "folder:none: there is no such folder; fix its path", "there is no none"),
    (
      "folder:none:train",
      "folder:none:train: there is no such folder; fix its path",
      "there is no none:train",
    ),
    (
      "coop:none.json:test",
      "coop:none.json:test: none.json does not exist; fix its path",
      "there is no none.json",
    ),
    ("coop:split.json:test:none", "1.png is not below none; name the folder", "there is no none"),
    ("parquet:none", "'parquet:none': there is no such folder; fix its path", "there is no none"),
    ("webdataset:none", "webdataset:none: there is no such folder; fix its path", "there is no none"),
    ("webdataset:none/{0..9}.tar", "there is no such folder; fix its path", "there is no none/{0..9}.tar"),
    ("webdataset:none/*.tar", "webdataset:none/*.tar: no file is called so", "there is no none"),
    ("webdataset:none/[a-c]*/*.tar", "no file is called so", "there is no none"),
    ("synthjax:none/images/B", "there is no folder none/images/B; fix its path", "there is no none/images/B"),
  ],
)
def test_nothing_of_it_is_here(reference, line, fix, here, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", "none")
  error = error_of(reference)
  assert isinstance(error, NotHere) and error.exit_code == 2
  assert str(error).startswith("source ") and line in str(error)
  assert (error.reference, error.fix) == (reference, fix)


@pytest.mark.parametrize(
  "reference",
  [
    "folders:none",
    "embedded:digit:first",
    "tfds:",
    "tfds:cifer10:test",  # which has a neighbour
    "tfds:two words:test",
    "folder:",
    "folder:own:test",  # a split of what is here
    "folder:own:train?map=none.yaml",
    "folder:own?map=",
    "folder:split.json",  # a file
    "folder:tars",  # no image
    "coop:split.json:trian",
    "coop:split.json:train",  # no image
    "coop:split.json:test",  # no image of it beside the file
    "coop:tars:test",
    "parquet:parquets/x:test",
    "parquet:parquets/x:train",  # broken
    "parquet:tars",
    "webdataset:tars:test",
    "webdataset:tars/train-*.tar",
    "webdataset:*.tar",
    "webdataset:own/train/a1",
    "webdataset:tars/0.tar",
    "synthjax:images/B",
    "synthjax:split.json",
  ],
)
def test_something_else_is_wrong_with_it(reference, here):
  error = error_of(reference)
  assert type(error) is UserError, error
  with absence.passed_over() as found:
    assert type(error_of(reference)) is UserError
  assert not found


def test_a_data_set_that_is_built_has_no_such_split(here):
  tfds_files.write(here / "tfds", "mnist")
  assert type(error_of("tfds:mnist:tset", DIGITS)) is UserError
  assert isinstance(error_of("tfds:mnist:9.9.9:test", DIGITS), NotHere)


def test_what_is_noted_is_not_looked_for_again(here):
  with absence.passed_over() as found:
    absence.attempt(lambda: open_source("folder:none", LABELS))
    (here / "none" / "a1").mkdir(parents=True)
    Image.new("L", (8, 8)).save(here / "none" / "a1" / "1.png")
    assert error_of("folder:none") is not found["folder:none"]
    assert str(error_of("folder:none")) == str(found["folder:none"])
  assert len(open_source("folder:none", LABELS)) == 1


def test_nothing_is_passed_over_where_nobody_asks_for_it(here):
  with pytest.raises(NotHere):
    absence.attempt(lambda: open_source("folder:none", LABELS))
  with absence.passed_over():
    absence.attempt(lambda: open_source("folder:none", LABELS))
  with pytest.raises(NotHere):
    absence.attempt(lambda: open_source("folder:none", LABELS))
