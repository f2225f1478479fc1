"""A set is planned once in a process, however many studies, learners and growths read it."""

import gc
from typing import ClassVar

import pytest
from etils import epath

from synthjax.spec import config as fields_of
from synthjax.spec.study import resolve
from synthjax.store.plan import Plan, Segment
from tests.products.planted import LABELS, PlantedSet


class CountedSet(PlantedSet):
  plans: ClassVar[list[Plan]] = []

  def plan(self, segments) -> Plan:
    found = super().plan(segments)
    CountedSet.plans.append(found)
    return found


@pytest.fixture(autouse=True)
def hashed(monkeypatch) -> list[int]:
  """How many ids were computed, call by call."""
  found, packed_ids = [], Plan._packed_ids

  def counted(self, shards):
    ids = packed_ids(self, shards)
    found.append(len(ids))
    return ids

  monkeypatch.setattr(Plan, "_packed_ids", counted)
  CountedSet.plans.clear()
  return found


def set_in(root, images: int = 40) -> CountedSet:
  found = CountedSet(resolve(fields_of.study_config(labels="digits")), epath.Path(root), images)
  found.make(None)
  CountedSet.plans.clear()
  return found


def test_studies_of_one_process_share_the_plan_of_a_set_and_its_ids(tmp_path, hashed):
  one, other = set_in(tmp_path / "a"), set_in(tmp_path / "a")
  first, second = one.as_source(), other.as_source()
  assert one.requested()[0] is other.requested()[0]
  assert first.keys == second.keys and first.keys._packed.base is second.keys._packed.base
  assert len(CountedSet.plans) == 1 and sum(hashed) == 40 * len(LABELS)


def test_sets_of_two_workdirs_and_of_two_sizes_do_not(tmp_path):
  one = set_in(tmp_path / "a")
  small = one.requested()[0]
  assert small is not set_in(tmp_path / "b").requested()[0]
  large = set_in(tmp_path / "a", images=50).requested()[0]
  assert (len(small), len(large)) == (400, 500) and one.requested()[0] is large


def test_a_set_that_grows_computes_the_ids_of_what_is_new(tmp_path, hashed):
  one = set_in(tmp_path)
  before = list(one.as_source().keys)
  one.top_up((3,) * len(LABELS), 1, "other-clip 9 a class")
  after = one.as_source().keys
  assert after[: len(before)] == before and sum(hashed) == len(after) == len(before) + 30


def test_how_it_has_grown_is_known_without_planning_again(tmp_path, hashed):
  one = set_in(tmp_path, images=6)
  one.top_up((3,) * len(LABELS), 1, "other-clip 9 a class")
  whole = one.requested()[0]
  CountedSet.plans.clear()
  sizes = one.sizes()
  assert sizes == [60, 90] and not CountedSet.plans and not hashed
  earlier = [PlantedSet.plan(one, list(whole.segments[:n])) for n in (1, 2)]
  assert sizes == [p.size(p.needed(6)) for p in earlier]


def test_a_plan_that_nobody_reads_is_let_go(tmp_path):
  one = set_in(tmp_path)
  one.as_source()
  assert one.requested()[0].segments == (Segment((40,) * len(LABELS)),)
  CountedSet.plans.clear()
  del one
  gc.collect()
  again = set_in(tmp_path)
  again.requested()
  assert len(CountedSet.plans) == 1
