"""What ships and what a config file registers, under names."""

import hashlib
from pathlib import Path

import pytest

from synthjax.runtime.errors import UserError
from synthjax.runtime.registry import Registry


def shipped(x):
  return x


def another(x):
  return -x


@pytest.fixture
def registry():
  return Registry("rule", {"shipped": shipped})


def test_what_is_registered_is_found_beside_what_ships(registry):
  assert registry.register("mine")(another) is another
  assert list(registry) == ["shipped", "mine"] and len(registry) == 2
  assert registry["mine"] is another and registry.find("shipped", "config.x") is shipped


def test_an_identity_gains_the_hash_of_the_file_that_defines_it_and_nothing_for_what_ships(registry):
  registry.register("mine")(another)
  assert registry.identity("shipped") == {}
  sha = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
  assert registry.identity("mine") == {"registered": {"rule mine": sha}}


def test_the_same_name_again_takes_the_place_of_the_first(registry):
  registry.register("mine")(another)
  registry.register("mine")(shipped)  # a config file that is loaded twice
  assert registry["mine"] is shipped


def test_what_ships_keeps_its_name(registry):
  with pytest.raises(
    UserError, match="rule 'shipped' ships with synthjax; register yours under another name"
  ):
    registry.register("shipped")(another)


def test_a_name_that_nobody_registered_is_one_line_with_the_nearest(registry):
  with pytest.raises(UserError, match=r"config.x: rule 'shiped'.*shipped"):
    registry.find("shiped", "config.x")


def test_what_no_file_defines_has_no_hash_and_is_refused(registry):
  namespace = {}
  exec("def made(x): return x", namespace)
  with pytest.raises(UserError, match="define it in a Python file"):
    registry.register("mine")(namespace["made"])
