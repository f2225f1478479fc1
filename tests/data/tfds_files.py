"""Tiny data sets of tensorflow_datasets on disk, in the features and with the label names of the real ones.

tfds builds them with TensorFlow from downloads; here the same files are written with a handful of coloured squares.
"""

import io
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from PIL import Image
from tensorflow_datasets.core import example_serializer, file_adapters, naming

from synthjax.labels import spaces

# What tfds learns from the download, and so does not know here: these stand in the downloaded files.
NAMES = {
  "cifar10": spaces.load("cifar10").ids,
  "cifar100": spaces.load("cifar100").ids,
  "stl10": spaces.load("stl10").ids,
}
SPLITS = {
  "eurosat": ("train",),
  "resisc45": ("train",),
  "imagenet2012": ("train", "validation", "test"),
  "imagenet_lt": ("train", "validation"),
  "imagenet_sketch": ("test",),
  "imagenet_r": ("test",),
  "imagenet_a": ("test",),
  "imagenet_v2": ("test",),
  "food101": ("train", "validation"),
}


def picture(seed: int, form: str = "PNG") -> bytes:
  """A square in a colour of its own, and with an edge, so that two differ after any preprocessing."""
  rng = np.random.default_rng(seed)
  pixels = np.empty((12, 12, 3), np.uint8)
  pixels[:] = rng.integers(0, 255, 3)
  pixels[: 2 + seed % 9] = rng.integers(0, 255, 3)
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, form)
  return buffer.getvalue()


def labels_of(n: int, classes: int) -> list[int]:
  """Every class once where there are enough images, in an order that is not theirs."""
  return np.random.default_rng(n).permutation(max(n, classes))[:n].__mod__(classes).tolist()


def class_names(name: str) -> list[str]:
  """Label names as the built data set has them."""
  bare = name.partition("/")[0]
  if bare in NAMES:
    return list(NAMES[bare])
  return tfds.builder(name, data_dir="/nowhere").info.features["label"].names


def write(
  data_dir: Path,
  name: str,
  n: int = 0,
  names: tuple[str, ...] = (),
  labels: list[int] | None = None,
  file_format: str = "array_record",
  records: bool = True,
) -> list[int]:
  """`name` with n images (0 = one a class) in each of its splits; their labels.

  `names` stand in place of the real ones. Without records only what describes the data set is written.
  """
  builder = tfds.builder(name, data_dir=str(data_dir))
  info, features = builder.info, builder.info.features
  bare = name.partition("/")[0]
  if names or bare in NAMES:
    classes = tfds.features.ClassLabel(names=list(names or NAMES[bare]))
    features = tfds.features.FeaturesDict({**features, "label": classes})
  known = features["label"].num_classes
  labels = labels_of(n or known, known) if labels is None else labels
  folder = Path(builder.data_dir)
  folder.mkdir(parents=True)
  writer = example_serializer.ExampleSerializer(features.get_serialized_info())
  splits = []
  for split in SPLITS.get(bare, ("train", "test")):
    rows = [writer.serialize_example(row(features, i, k)) for i, k in enumerate(labels) if records]
    file = folder / f"{bare}-{split}.{file_format}-00000-of-00001"
    shard = array_record_module.ArrayRecordWriter(str(file), "group_size:1")
    for example in rows:
      shard.write(example)
    shard.close()
    splits.append(
      tfds.core.SplitInfo(
        name=split,
        shard_lengths=[len(labels)],
        num_bytes=sum(map(len, rows)),
        filename_template=naming.ShardedFileTemplate(
          data_dir=str(folder), dataset_name=bare, filetype_suffix=file_format, split=split
        ),
      )
    )
  written = tfds.core.DatasetInfo(
    builder=tfds.core.DatasetIdentity.from_builder(builder),
    features=features,
    supervised_keys=info.supervised_keys,
  )
  written.set_file_format(file_adapters.FileFormat(file_format))
  written.set_splits(tfds.core.SplitDict(splits))
  written.write_to_directory(str(folder))
  return labels


def row(features: tfds.features.FeaturesDict, i: int, label: int) -> dict:
  """An example as it is stored."""
  found = {}
  for key, feature in features.items():
    if isinstance(feature, tfds.features.Image):
      found[key] = picture(abs(1000 * label + i), feature.encoding_format or "PNG")
    elif key == "label":
      found[key] = label
    elif key == "label_name":  # of Caltech's birds: the class folder's name without its number, in lower case
      found[key] = spaces.load("cub").ids[label].partition(".")[2].lower().encode()
    elif isinstance(feature, tfds.features.ClassLabel):
      found[key] = 0
    elif isinstance(feature, tfds.features.Text):
      found[key] = f"{key}-{i}".encode()
    else:
      found[key] = np.zeros(feature.shape, feature.np_dtype)
  return found
