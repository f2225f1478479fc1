"""Parquet files of other people, written by `datasets` itself."""

import io

import numpy as np
import pytest
from PIL import Image

from synthjax.data.sources import open_source
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError

LABELS = LabelSpace(("n2", "n1"), ("bee", "ant"))


def fails(action, *said: str) -> None:
  with pytest.raises(UserError) as e:
    action()
  assert all(s in str(e.value) for s in said) and "\n" not in str(e.value), str(e.value)


@pytest.fixture
def theirs(tmp_path):
  """Two splits whose columns are called as CIFAR's are, and whose names stand in another order than ours."""
  import datasets

  kinds = {"img": datasets.Image(), "fine": datasets.ClassLabel(names=["ant", "Bee"])}
  for split, n in (("train", 5), ("test", 3)):
    images = [Image.new("RGB", (8, 8), (10 * i, 0, 0)) for i in range(n)]
    rows = {"img": images, "fine": [i % 2 for i in range(n)]}
    data = datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))
    (tmp_path / "data").mkdir(exist_ok=True)
    data.to_parquet(tmp_path / f"data/{split}-00000-of-00001.parquet")
  return tmp_path


def test_labels_go_by_name(theirs):
  source = open_source(f"parquet:{theirs}:test", LABELS)
  assert [LABELS.ids[k] for k in source.labels] == ["n1", "n2", "n1"]
  assert [int(np.asarray(source.image(i))[0, 0, 0]) for i in range(3)] == [0, 10, 20]
  assert source.keys == [f"test-00000-of-00001/{i}" for i in range(3)] and source.split == "test"
  assert len(open_source(f"parquet:{theirs}:train", None)) == 5
  file = theirs / "data/train-00000-of-00001.parquet"
  assert len(open_source(f"parquet:{file}", LABELS)) == 5


def test_mistakes(theirs, tmp_path):
  fails(lambda: open_source(f"parquet:{theirs}", LABELS), "name a split: test, train")
  fails(
    lambda: open_source(f"parquet:{theirs}:tset", LABELS),
    "there is no .parquet in it; the splits are test, train",
  )
  fails(lambda: open_source(f"parquet:{theirs}/no", LABELS), "there is no such folder")
  other = LabelSpace(("n2", "n1"), ("bee", "wasp"))
  fails(lambda: open_source(f"parquet:{theirs}:test", other), "label 'ant' is no class", "?map=FILE")
  (tmp_path / "x.parquet").write_bytes(io.BytesIO(b"PAR1 no").getvalue())
  fails(lambda: open_source(f"parquet:{tmp_path}/x.parquet", LABELS), "fetch it again")


def test_columns_that_do_not_say_what_they_are(tmp_path):
  import pyarrow
  import pyarrow.parquet

  pyarrow.parquet.write_table(pyarrow.table({"a": [1], "b": [2]}), tmp_path / "train.parquet")
  fails(
    lambda: open_source(f"parquet:{tmp_path}", LABELS),
    "no column 'image', nor exactly one of its type, among a, b",
  )
