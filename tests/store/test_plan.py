"""The laws of the plan: order, prefixes, growth and identity."""

import jax
import numpy as np
import pytest

from synthjax.store.plan import Plan, Segment, key_words, noise_id_of
from synthjax.store.prompt import Prompt

PROMPTS = [Prompt("a", "one"), Prompt("a", "two", repeat=2), Prompt("b", "one")]


def plan(*counts, per_shard=4, guidance=2.0, drawing="d", seed=0, prompts=PROMPTS) -> Plan:
  segments = [c if isinstance(c, Segment) else Segment(c) for c in counts]
  return Plan(
    ("a", "b"), prompts, segments, images_per_shard=per_shard, drawing=drawing, guidance=guidance, seed=seed
  )


def images(p: Plan):
  return [image for shard in p.shards for image in p.images(shard)]


def test_sample_i_of_every_class_before_sample_i_plus_1_of_any():
  order = [(i.sample_index, i.label) for i in images(plan((3, 3)))]
  assert order == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_sample_i_uses_prompt_i_mod_p_and_repeats_count():
  texts = [i.prompt for i in images(plan((7, 0)))]
  assert texts == ["one", "two", "two", "one", "two", "two", "one"]


def test_the_nth_use_of_a_text_is_counted_over_the_whole_class():
  have = [i.noise_id for i in images(plan((7, 0)))]
  uses = [("one", 0), ("two", 0), ("two", 1), ("one", 1), ("two", 2), ("two", 3), ("one", 2)]
  assert have == [noise_id_of("a", text, use, "", 0) for text, use in uses]


def test_a_larger_set_begins_with_the_smaller():
  small, large = images(plan((50, 50))), images(plan((100, 100)))
  assert large[:100] == small


def test_growth_changes_nothing_before_it_and_draws_what_was_missing():
  grown, direct = plan((5, 5), (5, 5)), plan((10, 10))
  assert images(grown) == images(direct)
  first = plan((5, 5))
  assert [grown.images(s) for s in grown.shards[: len(first.shards)]] == [
    first.images(s) for s in first.shards
  ]
  assert [len(s) for s in grown.shards] == [4, 4, 2, 4, 4, 2]  # a segment begins a new shard


def test_a_top_up_goes_on_where_its_class_stopped():
  topped = plan((2, 2), Segment((0, 3), round=1))
  assert [(i.label, i.sample_index, i.round) for i in images(topped)[4:]] == [(1, 2, 1), (1, 3, 1), (1, 4, 1)]
  assert topped.counts(len(topped.shards)) == [2, 5] and len(topped) == 7


def test_needed_shards_hold_the_first_n_of_every_class():
  grown = plan((10, 10), (10, 10))  # 20 images a segment, 4 a shard
  for target in range(21):
    needed = grown.needed(target)
    inside = [(i.label, i.sample_index) for s in grown.shards[:needed] for i in grown.images(s)]
    assert {(c, i) for c in (0, 1) for i in range(target)} <= set(inside)
    assert not needed or min(i.sample_index for i in grown.images(grown.shards[needed - 1])) < target
    assert grown.counts(needed) == [sum(c == k for c, _ in inside) for k in (0, 1)]
  assert plan((2, 2), Segment((0, 3), round=1)).needed(1) == 2  # top-ups are always wanted


def test_guidance_shares_the_noise_and_not_the_image():
  low, high = images(plan((3, 3), drawing="g2"))[0], images(plan((3, 3), drawing="g7", guidance=7.0))[0]
  assert low.noise_id == high.noise_id and low.image_id != high.image_id


def test_shard_size_changes_no_image():
  assert images(plan((9, 9), per_shard=4)) == images(plan((9, 9), per_shard=7))


def test_ids_are_unique_and_follow_everything_that_matters():
  ids = [i.image_id for i in images(plan((200, 200)))]
  assert len(set(ids)) == 400
  assert noise_id_of("a", "x", 0, "", 0) == noise_id_of("a", "x", 0, "", 0)
  others = {
    noise_id_of(*args)
    for args in [
      ("b", "x", 0, "", 0),
      ("a", "y", 0, "", 0),
      ("a", "x", 1, "", 0),
      ("a", "x", 0, "p", 0),
      ("a", "x", 0, "", 1),
      ("ax", "", 0, "", 0),
    ]
  }
  assert len(others | {noise_id_of("a", "x", 0, "", 0)}) == 7


def test_ids_are_pinned():
  """Sets on users' disks are joined by these: they may not change."""
  assert noise_id_of("n01440764", "a photo of a tench", 0, "", 0) == "b5b00d5c59d94fa753c91fcddccfcdf2"
  assert images(plan((1, 1)))[0].image_id == "e2baa2ed76f8d1a298947278ac8f0e77"


@pytest.mark.parametrize("noise_id", ["0" * 32, "f" * 32, "0123456789abcdef" * 2])
def test_key_words_are_a_threefry_key(noise_id):
  key = jax.random.wrap_key_data(key_words(noise_id), impl="threefry2x32")
  assert int(noise_id[:16], 16) == int(np.asarray(jax.random.key_data(key)).astype(object) @ [2**32, 1])


WRITTEN = [  # texts that JSON quotes, spells out or keeps as they are
  Prompt("a", 'an "ant"\\ \n\t\x01 {%d} é 蟻'),
  Prompt("a", "%b", repeat=3),
  Prompt("b", ""),
]


@pytest.mark.parametrize("parents", [(), (("p0", "é\\"), ("q",))])
def test_ids_alone_are_those_of_the_images(parents):
  of_drawing = dict(drawing='d"é', guidance=1.0, seed=-3, parents=parents)
  segments = [Segment((5, 2)), Segment((0, 4), 1, "x"), Segment((9, 1))]
  whole = Plan(("a", "b"), WRITTEN, segments, images_per_shard=4, **of_drawing)
  expected = images(whole)
  for n in range(len(whole.shards) + 1):
    assert whole.ids(n) == [i.image_id for i in expected[: whole.size(n)]]
    assert whole.labels(n).tolist() == [i.label for i in expected[: whole.size(n)]]
  assert whole.samples().tolist() == [i.sample_index for i in expected]
  for shard in whole.shards:
    own = whole.images(shard)
    assert whole.shard_ids(shard) == [i.image_id for i in own]
    assert whole.shard_labels(shard).tolist() == [i.label for i in own]
    assert [whole.image_id(shard, k) for k in range(len(shard))] == [i.image_id for i in own]


def test_no_object_is_made_an_image_and_no_id_is_computed_twice(monkeypatch):
  made, hashed = [], []
  monkeypatch.setattr(Plan, "_image", lambda *_: made.append(1))
  noise_texts = Plan._noise_texts

  def counted(self, samples, labels):
    for text in noise_texts(self, samples, labels):
      hashed.append(text)
      yield text

  monkeypatch.setattr(Plan, "_noise_texts", counted)
  small, large = plan((50, 50)), plan((50, 50), (30, 30))
  assert len(small.ids(3)) == 12 and len(hashed) == 12
  assert len(small.ids(len(small.shards))) == 100 and len(hashed) == 100
  small.ids(len(small.shards)), small.shard_ids(small.shards[2]), small.labels(), small.needed(9)
  large.share_ids(small)  # growth computes what is new
  assert large.ids(len(large.shards))[:100] == small.ids(len(small.shards))
  assert len(large.ids(len(large.shards))) == len(set(hashed)) == len(hashed) == 160 and not made


def test_ids_are_shared_as_far_as_the_segments_are_the_same():
  first, other = plan((5, 5), (1, 3)), plan((5, 5), (3, 1))
  first.ids(len(first.shards))
  other.share_ids(first)
  assert other.ids(len(other.shards)) == [i.image_id for i in images(other)]


def test_shards_needed_when_the_set_had_fewer_segments():
  whole = plan((10, 10), Segment((0, 3), round=1), (10, 10))
  for n in range(1, 4):
    earlier = plan(*whole.segments[:n])
    for target in (0, 1, 7, 10, 13, 20):
      assert whole.needed(target, n) == earlier.needed(target)
