"""What is released when work begins, and what stays for the products ahead."""

import pytest

from synthjax.runtime import residents

ALL = {residents.GENERATOR, residents.ENCODER, residents.PICTURES}


@pytest.fixture
def held(monkeypatch):
  monkeypatch.setattr(residents, "_release", {})
  monkeypatch.setattr(residents, "_ahead", set())
  held = set(ALL)

  def release(name):
    there = name in held
    held.discard(name)
    return there

  for name in ALL:
    residents.register(name, lambda name=name: release(name))
  return held


@pytest.mark.parametrize(
  ("stage", "stays"),
  [
    ("train", set()),
    ("learn", {residents.PICTURES}),
    ("tune", {residents.ENCODER}),
    ("sample", {residents.GENERATOR, residents.ENCODER}),
    ("embed", {residents.GENERATOR, residents.ENCODER}),
  ],
)
def test_work_keeps_what_it_uses(held, stage, stays):
  residents.begin(stage)
  assert held == stays


def test_small_work_leaves_what_is_used_ahead(held):
  residents.expect(["tune", "sample", "learn"])
  residents.begin("tune", small=True)
  assert held == ALL
  residents.expect(["tune", "report"])
  residents.begin("tune", small=True)
  assert held == {residents.ENCODER}


def test_large_work_waits_for_nobody(held):
  residents.expect(["sample"])
  residents.begin("tune")
  assert held == {residents.ENCODER}
