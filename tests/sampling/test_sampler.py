"""The loop around whoever draws: order, overlap, faults."""

import functools
import time

import numpy as np
import pytest
from etils import epath

from synthjax.benchmark.stand_in import StandIn
from synthjax.runtime.errors import UserError
from synthjax.runtime.progress import Progress
from synthjax.runtime.stopping import Stop
from synthjax.sampling import sampler
from synthjax.store import schema, shards
from synthjax.store.claims import Owner
from synthjax.store.plan import Plan, Segment
from synthjax.store.prompt import Prompt
from tests.conftest import dead_process


class Painter:
  """Paints each image in a colour that says which it is, at once."""

  def __init__(self, batch_size: int, size: int = 8):
    self.batch_size, self._size = batch_size, size

  def sample(self, images):
    pixels = np.zeros((self.batch_size, self._size, self._size, 3), np.uint8)
    for row, image in zip(pixels, images, strict=False):
      row[:] = (image.sample_index, image.label, 0)
    return pixels


def plan_of(n: int, per_shard: int) -> Plan:
  prompts = [Prompt("a", "an ant"), Prompt("b", "a bee")]
  return Plan(
    ("a", "b"), prompts, [Segment((n, n))], images_per_shard=per_shard, drawing="", guidance=1.0, seed=0
  )


def sink_of(folder, encode=None) -> sampler.Sink:
  encode = encode or functools.partial(schema.encode_jpeg, quality=95, mark=False)
  return sampler.Sink(epath.Path(folder), encode, schema.serializer(["a", "b"]), threads=2)


def run(
  plan: Plan, program, folder, *, needed: int | None = None, stop: Stop | None = None, sink=None
) -> bool:
  needed = len(plan.shards) if needed is None else needed
  with Owner(epath.Path(folder)) as owner:
    progress = Progress("", len(plan), shown=False)
    return sampler.sample(plan, needed, program, sink or sink_of(folder), owner, progress, stop or Stop())


@pytest.mark.parametrize("batch", [1, 3, 8, 100])
def test_every_picture_lands_with_its_own_record(tmp_path, batch):
  import io

  import PIL.Image

  plan = plan_of(10, per_shard=6)  # a batch spans shards, the last shard is short
  assert run(plan, Painter(batch), tmp_path)
  features = schema.features(["a", "b"])
  for shard in plan.shards:
    records = list(shards.ShardReader(epath.Path(tmp_path) / shards.shard_name(shard.index)))
    for record, image in zip(records, plan.images(shard), strict=True):
      row = features.deserialize_example_np(record)
      colour = np.asarray(PIL.Image.open(io.BytesIO(schema.encode_jpeg(row["image"], 95, False)))).mean(
        (0, 1)
      )
      assert (row["sample_index"], row["label"], row["image_id"].decode()) == (
        image.sample_index,
        image.label,
        image.image_id,
      )
      np.testing.assert_allclose(colour, (image.sample_index, image.label, 0), atol=3)


def test_what_others_hold_is_left_to_them(tmp_path):
  plan = plan_of(12, per_shard=6)
  with Owner(epath.Path(tmp_path)) as other:
    assert other.take(shards.shard_name(1))
    assert not run(plan, Painter(4), tmp_path)
    assert shards.published(epath.Path(tmp_path)) == [0, 2, 3]
  assert run(plan, Painter(4), tmp_path)


def test_the_claim_of_one_who_died_between_landing_and_release_goes(tmp_path):
  plan = plan_of(12, per_shard=6)
  assert run(plan, Painter(4), tmp_path, needed=2)
  dead_process(tmp_path, shards.shard_name(1))
  assert list((tmp_path / ".working").iterdir())
  assert run(plan, Painter(4), tmp_path)
  assert not (tmp_path / ".working").exists()


def test_no_more_than_needed_is_drawn(tmp_path):
  assert run(plan_of(12, per_shard=6), Painter(4), tmp_path, needed=2)
  assert shards.published(epath.Path(tmp_path)) == [0, 1]


@pytest.mark.parametrize("fail_at", [0, 7, 23])
def test_an_error_while_writing_is_raised_and_leaves_no_half_shard(tmp_path, fail_at):
  count = iter(range(1000))

  def encode(pixels):
    if next(count) == fail_at:
      raise UserError("the disk is full")
    return schema.encode_jpeg(pixels, 90, False)

  with pytest.raises(UserError, match="the disk is full"):
    run(plan_of(12, per_shard=6), Painter(4), tmp_path, sink=sink_of(tmp_path, encode))
  assert not (tmp_path / ".working").exists()
  assert run(plan_of(12, per_shard=6), Painter(4), tmp_path)


def test_an_error_while_drawing_is_raised_and_leaves_no_half_shard(tmp_path):
  class Breaks(Painter):
    def sample(self, images):
      if images[0].sample_index > 5:
        raise RuntimeError("out of memory")
      return super().sample(images)

  with pytest.raises(RuntimeError, match="out of memory"):
    run(plan_of(12, per_shard=6), Breaks(4), tmp_path)
  assert not (tmp_path / ".working").exists()


def test_a_slow_host_makes_the_devices_wait_and_says_so(tmp_path):
  def slow(pixels):
    time.sleep(0.01)
    return b"jpeg"

  plan, progress = plan_of(50, per_shard=50), Progress("", 100, shown=False)
  with Owner(epath.Path(tmp_path)) as owner:
    sampler.sample(plan, 2, Painter(10), sink_of(tmp_path, slow), owner, progress, Stop())
  assert progress.waiting_share > 0.3


@pytest.mark.slow
@pytest.mark.alone
def test_the_loop_keeps_pace_with_a_fast_generator(tmp_path):
  """Three quarters of what configs/benchmark.py measures (0.98): a test machine may be busy."""
  pixels = np.random.default_rng(0).integers(0, 255, (8, 512, 512, 3), np.uint8)
  sink = sink_of(tmp_path)
  start = time.perf_counter()
  for _ in range(50):
    sink.encode(pixels[0])
  rate = 0.5 * 50 / (time.perf_counter() - start)
  plan = plan_of(round(rate * 3 / 8) * 4, per_shard=64)
  start = time.perf_counter()
  assert run(plan, StandIn(pixels, rate), tmp_path)
  assert len(plan) / (time.perf_counter() - start) >= 0.75 * rate
