"""Packed ids are the texts that they stand for; each is computed once."""

import hashlib
import json

import numpy as np
import pytest

from synthjax.store import image_ids
from synthjax.store.image_ids import KnownIds, PackedIds, packed

TEXTS = [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(image_ids._BLOCK * 2 + 7)]


@pytest.mark.parametrize("n", [0, 1, image_ids._BLOCK, len(TEXTS)])
def test_they_are_read_as_a_list_of_texts(n):
  ids, texts = packed(TEXTS[:n]), TEXTS[:n]
  assert len(ids) == n and list(ids) == texts and ids == texts and texts == ids
  assert [ids[i] for i in range(min(n, 3))] == texts[:3]
  assert ids[1:5] == texts[1:5] and ids[: n // 2] == packed(texts[: n // 2])
  assert b"".join(image_ids.joined(ids)) == b"".join(image_ids.joined(texts)) == "\0".join(texts).encode()


def test_other_ids_are_not_equal():
  assert packed(TEXTS[:3]) != packed(TEXTS[1:4])
  assert packed(TEXTS[:3]) != TEXTS[:2] and packed(TEXTS[:2]) != TEXTS[1:3]


def test_some_of_them_are_packed_too_and_all_of_them_are_no_copy():
  ids = packed(TEXTS)
  assert image_ids.at(ids, np.array([5, 0, 5])) == [TEXTS[5], TEXTS[0], TEXTS[5]]
  assert image_ids.at(TEXTS, [5, 0]) == [TEXTS[5], TEXTS[0]]
  assert isinstance(image_ids.at(ids, [1, 2]), PackedIds) and image_ids.at(ids, range(len(ids))) is ids
  assert image_ids.at(ids, []) == []


def test_where_ids_stand():
  wanted = [TEXTS[4], "f" * 32, TEXTS[0], TEXTS[4]]
  for ids in (TEXTS, packed(TEXTS)):
    assert image_ids.places_of(wanted, ids).tolist() == [4, -1, 0, 4]


def test_each_shard_is_computed_once_and_only_when_asked_for():
  ends, asked = [3, 5, 5, 9], []
  rows = np.arange(9 * image_ids.WIDTH, dtype=np.uint8).reshape(9, -1)

  def pack(shards: range) -> np.ndarray:
    asked.extend(shards)
    return rows[ends[shards.start - 1] if shards.start else 0 : ends[shards[-1]]]

  known = KnownIds(ends)
  assert known.of(range(1, 2), pack) == PackedIds(rows[3:5]) and asked == [1]
  assert known.of(range(2), pack) == PackedIds(rows[:5]) and asked == [1, 0]
  assert known.of(range(0), pack) == [] and known.of(range(2), pack) == PackedIds(rows[:5])
  grown = KnownIds([3, 5, 5, 9, 10])
  grown.take(known, 4)
  assert grown.of(range(2), pack) == PackedIds(rows[:5]) and asked == [1, 0]
  assert known.of(range(4), pack) == PackedIds(rows) and asked == [1, 0, 2, 3]


@pytest.mark.parametrize("n", [0, 1, image_ids._BLOCK + 3])
def test_their_list_as_json_and_as_lines(n):
  texts = TEXTS[:n]
  for ids in (texts, packed(texts)):
    assert b"".join(image_ids.as_json(ids)) == json.dumps(texts, separators=(",", ":")).encode()
  lines = image_ids.of_lines("".join(f"{text}\n" for text in texts).encode())
  assert isinstance(lines, PackedIds) and lines == texts
  assert packed(texts).as_texts().tolist() == texts


@pytest.mark.parametrize(
  "data", [b"a\nb\n", f"{TEXTS[0]}".encode(), f"{TEXTS[0]} {TEXTS[1]}\n".encode(), b"E" * 32 + b"\n"]
)
def test_lines_of_other_ids_stay_texts(data):
  assert image_ids.of_lines(data) == data.decode().split() and isinstance(image_ids.of_lines(data), list)


@pytest.mark.parametrize("same_beginning", [False, True])
def test_which_of_them_are_among_others(same_beginning):
  wanted = [*TEXTS[3:9], "f" * 32, TEXTS[0][:16] + "0" * 16]
  if same_beginning:
    wanted.append(TEXTS[3][:16] + "1" * 16)
  expected = [text in wanted for text in TEXTS]
  for ids in (TEXTS, packed(TEXTS)):
    for others in (wanted, packed(wanted)):
      assert image_ids.is_among(ids, others).tolist() == expected
  assert not image_ids.is_among(packed(TEXTS), packed([])).any()
