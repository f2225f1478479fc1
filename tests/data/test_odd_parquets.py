"""Parquet files of schemas that nobody writes on purpose: one line that names the file or the row."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from synthjax.data.decoding import Unreadable
from synthjax.data.sources import open_source
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError

LABELS = LabelSpace(("n0", "n1"), ("bee", "ant"))
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture() -> bytes:
  buffer = io.BytesIO()
  Image.new("RGB", (8, 8)).save(buffer, "PNG")
  return buffer.getvalue()


def write(file, images, labels, image=IMAGE, label=None, **more):
  """One file of these columns."""
  columns = {"image": pa.array(images, image), "label": pa.array(labels, label or pa.string()), **more}
  pq.write_table(pa.table(columns), file)
  return file


WHOLE = {"bytes": picture(), "path": None}
SCHEMAS = {
  "a list": dict(images=[[1, 2]], image=pa.list_(pa.int64())),
  "a struct without bytes": dict(images=[{"path": "a"}], image=pa.struct([("path", pa.string())])),
  "bytes that are text": dict(images=[{"bytes": "a"}], image=pa.struct([("bytes", pa.string())])),
  "bytes alone": dict(images=[picture()], image=pa.binary()),
  "null": dict(images=[None], image=pa.null()),
  "nested": dict(
    images=[{"bytes": {"bytes": b"a"}}], image=pa.struct([("bytes", pa.struct([("bytes", pa.binary())]))])
  ),
  "labels in lists": dict(images=[WHOLE], labels=[[1]], label=pa.list_(pa.int64())),
  "labels of structs": dict(images=[WHOLE], labels=[{"a": 1}], label=pa.struct([("a", pa.int64())])),
  "no label": dict(images=[WHOLE], labels=[None]),
}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_schema_that_is_of_no_images(tmp_path, schema):
  file = write(tmp_path / "a.parquet", **{"labels": ["n0"], **SCHEMAS[schema]})
  with pytest.raises(UserError) as e:
    open_source(f"parquet:{file}", LABELS)
  assert "a.parquet" in str(e.value) and "\n" not in str(e.value) and len(str(e.value)) < 500


def test_rows_without_an_image_are_unreadable(tmp_path):
  file = write(tmp_path / "a.parquet", [WHOLE, None, {"bytes": None, "path": "x"}], ["n0", "n1", "n1"])
  source = open_source(f"parquet:{file}", LABELS)
  assert source.image(0).size == (8, 8) and len(source.digest) == 64
  for i in (1, 2):
    with pytest.raises(Unreadable, match=f"a.parquet:a/{i}: the row has no bytes"):
      source.image(i)


def test_a_second_file_of_another_schema(tmp_path):
  write(tmp_path / "train-0.parquet", [WHOLE], ["n0"])
  write(tmp_path / "train-1.parquet", [[1]], ["n0"], image=pa.list_(pa.int64()))
  with pytest.raises(UserError, match=r"column 'image' of .*train-1.parquet is list"):
    open_source(f"parquet:{tmp_path}", LABELS)


def test_ids_that_are_numbers_are_no_keys(tmp_path):
  file = write(tmp_path / "a.parquet", [WHOLE, WHOLE], ["n0", "n1"], image_id=pa.array([7, 8]))
  source = open_source(f"parquet:{file}", LABELS)
  assert source.keys == ["a/0", "a/1"] and len(source.digest) == 64


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_file_cut_short(tmp_path, keep):
  file = write(tmp_path / "a.parquet", [WHOLE] * 20, ["n0"] * 20)
  data = file.read_bytes()
  file.write_bytes(data[: int(keep * len(data))])
  with pytest.raises(UserError, match=r"a.parquet cannot be read \(.*\); fetch it again"):
    open_source(f"parquet:{file}", LABELS)


def test_a_row_group_that_is_damaged(tmp_path):
  file = write(tmp_path / "a.parquet", [WHOLE] * 20, ["n0"] * 20)
  source = open_source(f"parquet:{file}", LABELS)
  with file.open("r+b") as stream:
    stream.seek(4)
    stream.write(b"\xff" * 60)
  with pytest.raises(Unreadable, match=r"a.parquet:a/3: .*a.parquet cannot be read") as e:
    source.image(3)
  assert "\n" not in str(e.value)
