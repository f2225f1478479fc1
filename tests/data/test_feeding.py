"""Sources keep the cores at decoding: pictures of 224 px against bare PIL on bytes in memory, in interleaved pairs."""

import functools
import io
import time

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from synthjax.data.decoding import Unreadable
from synthjax.data.feeding import Readable, check_faults, in_threads
from synthjax.data.sources import open_source
from synthjax.data.squares import put_jpeg
from synthjax.encoders.preprocess import Preprocess
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError
from synthjax.store import dataset, image_folder, parquet, schema, shards, tar
from synthjax.store.plan import Image as Planned

LABELS = LabelSpace(("a", "b"), ("ant", "bee"))
_IMAGES, _PAIRS = 384, 9


def bare(data: bytes) -> np.ndarray:
  with Image.open(io.BytesIO(data)) as image:
    return np.asarray(image.convert("RGB"))


@functools.cache
def pictures() -> list[bytes]:
  return rough(224, 224, _IMAGES)


def rough(width: int, height: int, n: int) -> list[bytes]:
  """As photographs are: of 224 px about 20 kB each as JPEG."""
  rng, found = np.random.default_rng(0), []
  for _ in range(n):
    cells = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    coarse = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(coarse, np.int16) + rng.integers(-12, 13, (height, width, 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    found.append(buffer.getvalue())
  return found


def examples() -> list[dict]:
  images = [Planned(f"{i:032x}", "", i % 2, "a prompt", "p", i // 2, 2.0) for i in range(_IMAGES)]
  serialize = schema.serializer(LABELS.ids)
  return [serialize(image, jpeg) for image, jpeg in zip(images, pictures(), strict=True)]


def source_of(kind: str, folder):
  folder.mkdir()
  rows = list(map(schema.parse, examples()))
  if kind == "synthjax":
    from etils import epath

    writer = shards.ShardWriter(epath.Path(folder), 0, epath.Path(folder) / ".0")
    for example in examples():
      writer.write(example)
    writer.publish()
    facts = [shards.facts(epath.Path(folder), 0)]
    dataset.write_tfds_files(epath.Path(folder), "s", facts, LABELS.ids)
  else:
    write = dict(folder=image_folder.write, webdataset=tar.write, parquet=parquet.write)[kind]
    write(folder, rows, LABELS, 1000, _IMAGES)
  return open_source(f"{kind}:{folder}", LABELS)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("kind", ["folder", "synthjax", "webdataset", "parquet"])
def test_feeding_keeps_pace_with_bare_decoding(kind, tmp_path):
  """A source may take a fifth of the time that decoding takes, and no more.

  The best of some pairs is held against that, and the median of processor time against a little more: others on the machine
  slow down either half of a pair, and caches with it.
  """
  source, preprocess = source_of(kind, tmp_path / kind), Preprocess(224, 224)

  def seconds(images) -> np.ndarray:
    start = np.array([time.process_time(), time.perf_counter()])
    assert sum(1 for _ in images) == _IMAGES
    return np.array([time.process_time(), time.perf_counter()]) - start

  def pair() -> np.ndarray:
    alone = seconds(in_threads(bare, pictures()))
    return alone / seconds(Readable(source, preprocess))

  pair()  # once to warm up
  processor, wall = np.sort([pair() for _ in range(_PAIRS)], axis=0).T
  for what, found in (("processor", processor), ("wall", wall)):
    print(f"\n{kind}, {what}: {np.median(found):.2f} ({found[0]:.2f} - {found[-1]:.2f}) of bare decoding")
  assert np.median(processor) >= 0.7 and processor[-1] >= 0.8 and wall[-1] >= 0.8


def by_draft(data: bytes) -> np.ndarray:
  """As loaders of other libraries are configured: PIL in draft mode."""
  with Image.open(io.BytesIO(data)) as image:
    image.draft("RGB", (224, 224))
    return np.asarray(ImageOps.fit(image.convert("RGB"), (224, 224), Image.Resampling.BILINEAR))


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(("width", "height"), [(256, 256), (500, 375)])
def test_scaled_decoding_keeps_pace(width, height):
  """Of processor time, to a row of 224 px: seen at half the pace of bare decoding, and 1.6 and 2.3 times that of PIL's draft."""
  jpegs, out = rough(width, height, 64), np.empty((224, 224, 3), np.uint8)

  def seconds(work) -> float:
    start = time.process_time()
    for data in jpegs:
      work(data)
    return time.process_time() - start

  def pair() -> list[float]:
    ours = seconds(lambda data: put_jpeg(data, out, scaled=True))
    return [seconds(simplejpeg.decode_jpeg) / ours, seconds(by_draft) / ours]

  pair()  # once to warm up
  bare, draft = np.sort([pair() for _ in range(_PAIRS)], axis=0).T
  for what, found in (("bare decoding", bare), ("PIL's draft", draft)):
    print(f"\n{width} x {height}: {np.median(found):.2f} ({found[0]:.2f} - {found[-1]:.2f}) of {what}")
  assert np.median(bare) >= 0.4 and bare[-1] >= 0.45 and np.median(draft) >= 1.25


@pytest.mark.parametrize("kind", ["folder", "synthjax", "webdataset", "parquet"])
def test_what_is_fed_is_what_lies_there(kind, tmp_path):
  source = source_of(kind, tmp_path / kind)
  jpegs = {f"{i:032x}": jpeg for i, jpeg in enumerate(pictures())}
  fed = Readable(source, Preprocess(224, 224))
  for i, pixels in enumerate(fed):
    image_id = source.about(i)["image_id"]
    if i % 50 == 0:
      np.testing.assert_array_equal(pixels, bare(jpegs[image_id]))
    assert LABELS.ids[source.labels[i]] == "ab"[int(image_id, 16) % 2]
  assert fed.places == list(range(_IMAGES)) and not fed.faults


def test_the_limit_is_of_all_images(capsys):
  faults = [Unreadable(f"{i}.png", "cut") for i in range(3)]
  check_faults("embeddings/x/clip", "folder:x", faults, total=100, limit=0.03)
  assert capsys.readouterr().err.count("skipped, cannot be read") == 3
  with pytest.raises(UserError, match=r"3 of 99 images cannot be read, first 0.png: cut; fix or remove them"):
    check_faults("embeddings/x/clip", "folder:x", faults, total=99, limit=0.03)
