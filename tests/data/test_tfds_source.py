"""Sources of tensorflow_datasets: the files themselves, read without TensorFlow."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from synthjax.data import draws, tfds_source
from synthjax.data.sources import open_source
from synthjax.labels import spaces
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError
from tests.data import tfds_files

# Label spaces whose test is a data set of tfds; those with ImageNet's 80 templates have the classes of those without.
TESTS = {
  name: labels.test
  for name in spaces.SPACES
  if not name.endswith("-80") and (labels := spaces.load(name)).test
}


def name_of(reference: str) -> str:
  return reference.split(":")[1]


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
  monkeypatch.setattr(tfds_source, "_CACHE", str(tmp_path / "cache"))
  return tmp_path / "tfds"


def expected(labels, name: str, numbers: list[int]) -> list[str]:
  """Class ids, straight from tfds' own names."""
  names = tfds_files.class_names(name)
  if name == "caltech_birds2011":
    names = labels.ids
  return [names[k] for k in numbers if names[k] in labels.ids]


@pytest.mark.parametrize("space", TESTS)
def test_every_data_set_of_the_papers_that_tfds_has(space, data_dir):
  labels, reference = spaces.load(space), TESTS[space]
  numbers = tfds_files.write(data_dir, name_of(reference))
  if reference.endswith("[80%:]"):
    numbers = numbers[len(numbers) - len(numbers) // 5 :]
  source = open_source(reference, labels)
  assert [labels.ids[k] for k in source.labels] == expected(labels, name_of(reference), numbers)
  if "[" not in reference:
    assert set(source.labels) == set(range(len(labels)))  # each class once
  i = len(source) // 2
  assert np.asarray(source.image(i)).shape == (12, 12, 3)
  assert source.encoded(i)[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0")


@pytest.mark.parametrize("space", TESTS)
def test_every_one_builds_under_the_mock_of_tfds(space, data_dir):
  """mock_data makes pixels with TensorFlow, so what it hands out stands here; all else is its own."""
  labels, reference = spaces.load(space), TESTS[space]
  numbers = tfds_files.write(data_dir, name_of(reference), records=False)
  if reference.endswith("[80%:]"):
    numbers = numbers[len(numbers) - len(numbers) // 5 :]

  def as_data_source(builder, split, decoders=None, **kwargs):
    assert isinstance(decoders["image"], tfds.decode.SkipDecoding)
    features = builder.info.features
    return [tfds_files.row(features, i, k) for i, k in enumerate(numbers)]

  with tfds.testing.mock_data(data_dir=str(data_dir), as_data_source_fn=as_data_source):
    source = open_source(reference, labels)
    assert [labels.ids[k] for k in source.labels] == expected(labels, name_of(reference), numbers)
    assert source.image(0).size == (12, 12)


def test_names_in_another_order_are_the_same_classes(data_dir):
  """The mistake of a published study: labels taken by their place."""
  names = tuple(reversed(spaces.load("cifar10").ids))
  numbers = tfds_files.write(data_dir, "cifar10", names=names)
  labels = spaces.load("cifar10")
  source = open_source("tfds:cifar10", labels)
  assert [labels.ids[k] for k in source.labels] == [names[k] for k in numbers]


def test_the_bytes_are_those_that_are_stored(data_dir):
  numbers = tfds_files.write(data_dir, "eurosat/rgb", n=30)
  source = open_source("tfds:eurosat/rgb:train[50%:60%]+train[:2]", spaces.load("eurosat"))
  assert source.keys == ["train/15", "train/16", "train/17", "train/0", "train/1"]
  for i, row in enumerate((15, 16, 17, 0, 1)):
    assert source.encoded(i) == tfds_files.picture(1000 * numbers[row] + row, "PNG")
    assert source.labels[i] == numbers[row]
    stored = Image.open(io.BytesIO(source.encoded(i)))
    assert (np.asarray(source.image(i)) == np.asarray(stored)).all()
  assert source.split == "train[50%:60%]+train[:2]" and source.name == "eurosat/rgb/2.0.0"
  assert "image train/15" in source.where(0)


def test_keys_and_draws_do_not_depend_on_the_part_asked_for(data_dir):
  tfds_files.write(data_dir, "cifar10", n=60)
  labels = spaces.load("cifar10")
  whole, half = (open_source(f"tfds:cifar10:train{part}", labels) for part in ("", "[50%:]"))
  assert half.keys == whole.keys[30:]
  assert whole.digest != half.digest != open_source("tfds:cifar10:test[50%:]", labels).digest
  assert len(draws.draw(whole, labels, shots=2, seed=1)) == 20


def test_the_official_split_is_the_test(data_dir):
  for name in ("cifar10", "food101", "imagenet2012", "imagenet_lt", "resisc45"):
    tfds_files.write(data_dir, name, n=4)
  chosen = {
    n: open_source(f"tfds:{n}", None).split for n in ("cifar10", "food101", "imagenet2012", "imagenet_lt")
  }
  assert chosen == {
    "cifar10": "test",
    "food101": "validation",
    "imagenet2012": "validation",
    "imagenet_lt": "validation",
  }
  with pytest.raises(
    UserError, match=r"has no test split, only train; name a part, as tfds:resisc45:train\[80%:\]"
  ):
    open_source("tfds:resisc45", spaces.load("resisc45"))


def test_without_labels_a_source_is_unlabelled(data_dir):
  tfds_files.write(data_dir, "caltech101", n=5)
  source = open_source("tfds:caltech101:train", None)
  assert source.labels is None and len(source) == 5


def test_images_of_no_class_are_left_out(data_dir):
  names = tfds_files.class_names("caltech101")
  background, face, bass = (names.index(n) for n in ("background_google", "faces", "bass"))
  tfds_files.write(data_dir, "caltech101", labels=[background, face, bass, background, face])
  labels = spaces.load("caltech101")
  source = open_source("tfds:caltech101", labels)
  assert source.keys == ["test/1", "test/2", "test/4"]
  assert [labels.names[k] for k in source.labels] == ["face", "bass", "face"]
  assert source.encoded(1) == tfds_files.picture(1000 * bass + 2)
  whole = open_source("tfds:caltech101", spaces.load("caltech101-vtab"))
  assert len(whole) == 5 and whole.digest != source.digest


def test_labels_are_read_once_and_read_again_when_the_files_are_others(data_dir, monkeypatch):
  first = tfds_files.write(data_dir, "cifar10", n=20)
  labels = spaces.load("cifar10")
  assert open_source("tfds:cifar10", labels).labels.tolist() == first
  read = []
  again = open_source("tfds:cifar10", labels)
  monkeypatch.setattr(type(again._rows), "__getitem__", lambda *_: read.append(1))
  assert again.labels.tolist() == first and not read
  monkeypatch.undo()
  monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
  monkeypatch.setattr(tfds_source, "_CACHE", str(data_dir / "none"))
  other = [9 - k for k in first]
  for file in sorted((data_dir / "cifar10").rglob("*"), reverse=True):
    file.rmdir() if file.is_dir() else file.unlink()
  tfds_files.write(data_dir, "cifar10", labels=other)
  assert open_source("tfds:cifar10", labels).labels.tolist() == other


@pytest.mark.parametrize(
  "reference, space, said",
  [
    ("tfds:cifar100:test", "cifar100", "cifar100 is not in"),
    ("tfds:cifar100:test", "cifar100", "tfds build cifar100 --file_format=array_record"),
    ("tfds:cifar:test", "cifar10", "no data set 'cifar' (did you mean 'cifar10'?)"),
    ("tfds:cifar10:tset", "cifar10", "no split 'tset' (did you mean 'test'?)"),
    ("tfds:cifar10:test[90%", "cifar10", "no split 'test[90%'"),
    ("tfds:cifar10:1.0.0:test", "cifar10", "cifar10:1.0.0 is not in"),
    ("tfds::test", "cifar10", "names no data set"),
    (
      "tfds:cifar10",
      "stl10",
      "it has 10 labels ('airplane', 'automobile', 'bird', 'cat', ...), the space 10 labels",
    ),
    ("tfds:cifar10", "stl10", "label 'automobile' is no class of the label space"),
    ("tfds:cifar10:test[:0]", "cifar10", "split test[:0] is empty"),
  ],
)
def test_mistakes_are_one_line(data_dir, reference, space, said):
  tfds_files.write(data_dir, "cifar10", n=4)
  with pytest.raises(UserError) as e:
    open_source(reference, spaces.load(space))
  assert said in str(e.value) and "\n" not in str(e.value)


def test_labels_without_names_are_never_matched_by_place(data_dir):
  tfds_files.write(data_dir, "cifar10", n=4, names=tuple(map(str, range(10))))
  with pytest.raises(UserError, match="stores no class names, only the numbers 0 to 9"):
    open_source("tfds:cifar10", spaces.load("cifar10"))
  digits = open_source("tfds:cifar10", spaces.load("digits"))  # whose ids are those numbers
  assert sorted(digits.labels) == sorted(tfds_files.labels_of(4, 10))


def test_a_test_split_without_labels_is_one_line(data_dir):
  tfds_files.write(data_dir, "imagenet2012", labels=[3, -1])
  with pytest.raises(UserError, match="image test/1 has no label; name another split"):
    _ = open_source("tfds:imagenet2012:test", spaces.load("imagenet")).labels


def test_files_that_cannot_be_read_at_random_are_one_line(data_dir):
  tfds_files.write(data_dir, "dtd", n=2, file_format="tfrecord")
  with pytest.raises(
    UserError, match=r"cannot be read at random .* tfds build dtd --file_format=array_record"
  ):
    open_source("tfds:dtd", spaces.load("dtd"))


def test_a_space_of_the_users_needs_an_alias_for_another_word(data_dir):
  tfds_files.write(data_dir, "cifar10", n=10)
  ids = spaces.load("cifar10").ids
  labels = LabelSpace(
    ("car", *(i for i in ids if i != "automobile")), ("car", *(i for i in ids if i != "automobile"))
  )
  with pytest.raises(UserError, match="'automobile' is no class"):
    open_source("tfds:cifar10", labels)
  labels = LabelSpace(labels.ids, labels.names, aliases=(("automobile", "car"),))
  source = open_source("tfds:cifar10", labels)
  assert sorted(labels.ids[k] for k in source.labels) == sorted(labels.ids)
