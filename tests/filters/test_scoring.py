"""A further round scores what the rounds before it had not; the scores are to the bit those of all images at once."""

import types

import numpy as np
import pytest

from synthjax.filters import clip
from synthjax.filters.clip import ClipRule, own_class_probability
from synthjax.filters.rule import View
from synthjax.filters.scoring import Scoring
from synthjax.spec import config as fields_of
from synthjax.store.features import EmbeddedImages, Features
from synthjax.store.image_ids import PackedIds

K, D, SHARD, SHARDS = 7, 64, 50, 40
N = SHARD * SHARDS
rng = np.random.default_rng(0)
FEATURES, LABELS = rng.normal(size=(N, D)).astype(np.float32), rng.integers(0, K, N).astype(np.int32)
ZERO_SHOT = rng.normal(size=(K, D)).astype(np.float32)
ROUNDS = [np.arange(730), np.arange(1111), np.concatenate([np.arange(1111), np.arange(1500, N)])]


@pytest.fixture
def rows(monkeypatch) -> list[int]:
  """How many images are scored at once."""
  found: list[int] = []

  def counted(features, labels, classifier):
    found.append(len(labels))
    return own_class_probability(features, labels, classifier)

  monkeypatch.setattr(clip, "_ROWS", 128)
  monkeypatch.setattr(ClipRule, "at_once", 128)
  monkeypatch.setattr(clip, "own_class_probability", counted)
  return found


def embedded(read: list[int]) -> EmbeddedImages:
  def shard(i: int) -> Features:
    read.append(i)
    own = slice(i * SHARD, (i + 1) * SHARD)
    return Features(FEATURES[own], LABELS[own], np.array([""] * SHARD))

  ids = PackedIds(np.arange(N * 16, dtype=np.uint32).astype(np.uint8).reshape(N, 16))
  return EmbeddedImages(LABELS, ids, [SHARD * (i + 1) for i in range(SHARDS)], shard)


def rule() -> ClipRule:
  encoder = types.SimpleNamespace(zero_shot=ZERO_SHOT, labels=range(K))
  return ClipRule(fields_of.image_filter("clip"), [View(encoder)])


def test_scores_are_those_of_all_images_at_once_and_each_is_scored_once(rows, tmp_path):
  scoring, read = Scoring(rule()), []
  images = embedded(read)
  for places in ROUNDS:
    found, evidence = scoring.score(tmp_path, [images], places)
    whole = own_class_probability(FEATURES[places], LABELS[places], ZERO_SHOT)
    assert evidence is None and (found == whole).all()
  again = 128 * (len(ROUNDS) - 1)  # at most a block of each round before
  assert max(rows) <= 128 and len(ROUNDS[-1]) <= sum(rows) < len(ROUNDS[-1]) + again
  assert len(read) <= SHARDS + sum(1 for n in rows)  # a shard on the edge of two blocks may be read twice
  before = len(rows)
  scoring.score(tmp_path, [images], ROUNDS[-1])
  assert len(rows) == before


def test_other_images_than_before_are_scored_anew(rows, tmp_path):
  scoring, images = Scoring(rule()), embedded([])
  for places in (ROUNDS[0], ROUNDS[0][::-1], ROUNDS[0][:300], np.arange(0)):
    found, _ = scoring.score(tmp_path, [images], places)
    assert (found == own_class_probability(FEATURES[places], LABELS[places], ZERO_SHOT)).all()


def test_a_rule_that_wants_all_images_at_once_is_given_them(rows, tmp_path, monkeypatch):
  monkeypatch.setattr(ClipRule, "at_once", 0)
  scoring, images = Scoring(rule()), embedded([])
  for places in ROUNDS:
    scoring.score(tmp_path, [images], places)
  assert rows == [len(places) for places in ROUNDS]
