"""Shards of TFDS data sets that are not what the description says they are."""

import json

import pytest

from synthjax.data import tfds_source
from synthjax.data.decoding import Unreadable
from synthjax.data.sources import open_source
from synthjax.labels import spaces
from synthjax.runtime.errors import UserError
from tests.data import tfds_files


@pytest.fixture
def folder(tmp_path, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
  monkeypatch.setattr(tfds_source, "_CACHE", str(tmp_path / "cache"))
  tfds_files.write(tmp_path / "tfds", "cifar10", n=12)
  return tmp_path / "tfds/cifar10/3.0.2"


def opened():
  return open_source("tfds:cifar10:test", spaces.load("cifar10"))


def claim(folder, lengths) -> None:
  file = folder / "dataset_info.json"
  body = json.loads(file.read_text())
  for split in body["splits"]:
    split["shardLengths"] = lengths
  file.write_text(json.dumps(body))


@pytest.mark.parametrize("n", ["11", "13", "0", "1000000000000000000"])
def test_another_number_of_records(folder, n):
  claim(folder, [n])
  with pytest.raises(UserError) as e:
    opened()
  said = str(e.value)
  assert "\n" not in said and (("holds 12 records" in said and f"holds {n};" in said) or "is empty" in said)


@pytest.mark.parametrize(
  "lengths", [["-3"], ["many"], [9.5], [None], [[12]], "12", ["1" * 30], {"a": 1}, ["6", "6"]]
)
def test_lengths_that_are_none(folder, lengths):
  claim(folder, lengths)
  with pytest.raises(UserError, match="cifar10") as e:
    opened()
  assert "\n" not in str(e.value) and "set TFDS_DATA_DIR" not in str(e.value)


def test_a_shard_that_is_missing_or_cut(folder):
  shard = next(folder.glob("*test*"))
  data = shard.read_bytes()
  shard.write_bytes(data[:-1])
  with pytest.raises(UserError, match=r"test.array_record\S+ .*build or fetch the data set again"):
    opened()
  shard.unlink()
  with pytest.raises(UserError, match=r"test.array_record\S+ is missing"):
    opened()
  shard.write_bytes(data)
  assert len(opened()) == 12


def test_records_that_do_not_fit_the_features(folder):
  """The description of another data set: an image is named, and not a line of TFDS's."""
  file = folder / "features.json"
  body = json.loads(file.read_text())
  features = body["featuresDict"]["features"]
  features["picture"] = features.pop("image")
  file.write_text(json.dumps(body))
  info = json.loads((folder / "dataset_info.json").read_text())
  info["supervisedKeys"]["tuple"]["items"][0]["featureKey"] = "picture"
  (folder / "dataset_info.json").write_text(json.dumps(info))
  source = open_source("tfds:cifar10:test", None)
  with pytest.raises(Unreadable, match="image test/3: it has no picture") as e:
    source.encoded(3)
  assert "\n" not in str(e.value)


def test_records_without_a_label(folder):
  for name, old, new in (
    ("features.json", '"label"', '"klass"'),
    ("dataset_info.json", '"label"', '"klass"'),
  ):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
  (folder / "label.labels.txt").rename(folder / "klass.labels.txt")
  with pytest.raises(UserError, match="image test/0: it has no klass"):
    _ = opened().labels


def test_a_cache_that_was_cut_is_made_again(folder, tmp_path):
  before = opened().labels.tolist()
  (cached,) = (tmp_path / "cache").glob("*.json")
  for damaged in ("[1, 2", "[]", "[[1]]", '{"a": 1}'):
    cached.write_text(damaged)
    assert opened().labels.tolist() == before
