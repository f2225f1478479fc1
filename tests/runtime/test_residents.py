"""What is released when work begins, and what stays for the products ahead."""

import pytest

from synthjax.products.arm import Arm
from synthjax.products.features import RealEmbeddings, SetEmbeddings
from synthjax.products.learner import Learner
from synthjax.products.network import Network
from synthjax.products.report import Report
from synthjax.products.sampled_set import SampledSet
from synthjax.runtime import residents

ALL = {residents.GENERATOR, residents.ENCODER, residents.PICTURES}


@pytest.fixture
def held(monkeypatch):
  monkeypatch.setattr(residents, "_release", {})
  monkeypatch.setattr(residents, "_expected", set())
  held = set(ALL)

  def release(name):
    there = name in held
    held.discard(name)
    return there

  for name in ALL:
    residents.register(name, lambda name=name: release(name))
  return held


@pytest.mark.parametrize(
  ("kind", "stays"),
  [
    (Network, set()),
    (Learner, {residents.PICTURES}),
    (Arm, {residents.ENCODER}),
    (SampledSet, {residents.GENERATOR, residents.ENCODER}),
    (SetEmbeddings, {residents.GENERATOR, residents.ENCODER}),
    (RealEmbeddings, {residents.GENERATOR, residents.ENCODER}),
  ],
)
def test_work_keeps_what_it_uses(held, kind, stays):
  residents.begin(kind.uses)
  assert held == stays


def test_small_work_leaves_what_is_used_later(held):
  residents.expect(kind.uses for kind in (Arm, SampledSet, Learner))
  residents.begin(Arm.uses, small=True)
  assert held == ALL
  residents.expect(kind.uses for kind in (Arm, Report))
  residents.begin(Arm.uses, small=True)
  assert held == {residents.ENCODER}


def test_large_work_waits_for_nobody(held):
  residents.expect([SampledSet.uses])
  residents.begin(Arm.uses)
  assert held == {residents.ENCODER}
