"""An own set as a source: one record read an image, and none believed that is not the planned one."""

import random

import numpy as np
import pytest
from etils import epath

from synthjax.data.draws import Part
from synthjax.data.set_images import SetImages
from synthjax.runtime.errors import UserError
from synthjax.store import schema, shards
from synthjax.store.image_ids import PackedIds
from synthjax.store.plan import Plan, Segment
from synthjax.store.prompt import Prompt

N_SHARDS, PER_SHARD = 100, 8


@pytest.fixture(scope="module")
def plan():
  prompts = [Prompt("a", "an ant"), Prompt("b", "a bee")]
  segments = [Segment((N_SHARDS * PER_SHARD // 2,) * 2)]
  return Plan(("a", "b"), prompts, segments, images_per_shard=PER_SHARD, drawing="", guidance=1.0, seed=0)


@pytest.fixture(scope="module")
def folder(plan, tmp_path_factory):
  found = epath.Path(tmp_path_factory.mktemp("set"))
  serialize = schema.serializer(["a", "b"])
  for shard in plan.shards:
    writer = shards.ShardWriter(found, shard.index, found / f".{shard.index}")
    for image in plan.images(shard):
      writer.write(serialize(image, jpeg_of(image.image_id)))
    writer.publish()
  return found


def jpeg_of(image_id: str) -> bytes:
  return image_id.encode() * 20


class Counted(shards.ShardReader):
  opened, read = 0, 0

  def __init__(self, path):
    super().__init__(path)
    Counted.opened += 1

  def __getitem__(self, i):
    Counted.read += 1
    return super().__getitem__(i)


def source(plan, folder, reader=shards.ShardReader) -> SetImages:
  n = len(plan.shards)
  return SetImages(
    "images/LE", plan.labels(n), plan.ids(n), lambda i: reader(folder / shards.shard_name(i)), plan.ends
  )


def test_an_image_costs_one_record_and_a_shard_one_opening(plan, folder):
  """Also of more shards than the 64 that were held whole: each miss parsed a shard."""
  Counted.opened = Counted.read = 0
  images, rng = source(plan, folder, Counted), random.Random(0)
  places = [rng.randrange(len(images)) for _ in range(1000)]
  for place in places:
    assert images.encoded(place) == jpeg_of(images.keys[place])
  assert Counted.read == 1000
  assert Counted.opened == len({place // PER_SHARD for place in places}) == N_SHARDS


def test_keys_and_labels_are_the_plans(plan, folder):
  images, planned = source(plan, folder), [i for shard in plan.shards for i in plan.images(shard)]
  assert images.keys == [i.image_id for i in planned]
  assert images.labels is not None and images.labels.tolist() == [i.label for i in planned]


def altered(folder, tmp_path, **shards_by_number: bytes) -> epath.Path:
  """A copy of the first two shards, of which some are replaced."""
  for index in range(2):
    name = shards.shard_name(index)
    (tmp_path / name).write_bytes(shards_by_number.get(f"_{index}", (folder / name).read_bytes()))
  return epath.Path(tmp_path)


def test_a_flipped_bit_is_found_wherever_it_lies(plan, folder, tmp_path):
  """By the hash that ArrayRecord keeps of each record: an image is as it was written, or it is refused."""
  whole = (folder / shards.shard_name(0)).read_bytes()
  rng, refused = random.Random(0), 0
  for _ in range(300):
    at = rng.randrange(len(whole))
    data = bytearray(whole)
    data[at] ^= 1 << rng.randrange(8)
    images = source(plan, altered(folder, tmp_path, _0=bytes(data)))
    for place in range(PER_SHARD):
      try:
        assert images.encoded(place) == jpeg_of(images.keys[place])
      except UserError as e:
        assert "is corrupt" in str(e)
        refused += 1
  assert refused


def test_a_shard_of_other_images_is_refused(plan, folder, tmp_path):
  other = (folder / shards.shard_name(1)).read_bytes()
  images = source(plan, altered(folder, tmp_path, _0=other))
  with pytest.raises(UserError, match="images/LE: shard 0 does not hold the images that were planned"):
    images.encoded(3)
  assert images.encoded(PER_SHARD) == jpeg_of(images.keys[PER_SHARD])


@pytest.mark.parametrize("n", [0, PER_SHARD - 1, PER_SHARD + 1])
def test_a_shard_that_is_longer_or_shorter_than_planned_is_refused(plan, folder, tmp_path, n):
  rows = [
    *shards.ShardReader(folder / shards.shard_name(0)),
    *shards.ShardReader(folder / shards.shard_name(1)),
  ]
  out = tmp_path / "out"
  out.mkdir()
  writer = shards.ShardWriter(epath.Path(out), 0, epath.Path(out / ".0"))
  for row in rows[:n]:
    writer.write(row)
  writer.publish()
  images = source(plan, epath.Path(out))
  with pytest.raises(UserError, match="shard 0 does not hold the images that were planned"):
    images.encoded(0)


def test_a_record_that_is_no_example_is_refused(plan, tmp_path):
  writer = shards.ShardWriter(epath.Path(tmp_path), 0, epath.Path(tmp_path / ".0"))
  for record in [b"\xff" * 9, b"", b"text", *[b"x"] * (PER_SHARD - 3)]:
    writer.write(record)
  writer.publish()
  images = source(plan, epath.Path(tmp_path))
  for place in range(3):
    with pytest.raises(UserError, match="shard 0 does not hold the images that were planned"):
      images.encoded(place)


def test_a_part_of_it_holds_places_and_no_texts(plan, folder):
  images = source(plan, folder)
  part = Part(images, np.arange(len(images)), "all")
  assert part.keys is images.keys
  some = Part(images, np.array([9, 3]), "some")
  assert isinstance(some.keys, PackedIds) and some.keys == [images.keys[9], images.keys[3]]
  assert some.encoded(1) == images.encoded(3)
