"""The benchmark of growth, from its config to its table, and what it must find: nothing here grows faster than the images."""

import json

import pytest
from etils import epath

from synthjax.benchmark import growth
from synthjax.benchmark.bookkeeping import Bookkeeping
from synthjax.cli import command_line
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.study import resolve
from synthjax.study.graph import design
from tests.conftest import ROOT


def test_exponents():
  assert growth.exponent({100: 2.0, 1000: 20.0}) == pytest.approx(1)
  assert growth.exponent({10: 9.0, 100: 3.0, 1000: 3.0}) == pytest.approx(0)  # by the largest two
  assert growth.extrapolated({100: 1.0, 1000: 100.0}, 10_000) == pytest.approx(10_000)


def test_the_shipped_config_wants_it_and_no_other_case(tmp_path):
  config = command_line.load_config_file(str(ROOT / "configs" / "benchmark.py"), "bookkeeping")
  validation.check(config)
  assert [type(p) for p in design(config, epath.Path(tmp_path), "", ()).products] == [Bookkeeping]


@pytest.mark.parametrize("sizes", [(20_000,), (20_000, 20_000), (100, 20_000)])
def test_sizes_that_say_nothing_about_growth(sizes):
  config = fields_of.study_config()
  config.benchmark.update(rounds=1, bookkeeping=sizes)
  with pytest.raises(UserError, match=r"config\.benchmark\.bookkeeping .*two numbers of images or more"):
    validation.check(config)


def test_a_round_of_small_sizes(tmp_path, capsys):
  config = fields_of.study_config()
  config.benchmark.update(rounds=1, bookkeeping=(10_000, 20_000))
  assert Bookkeeping(resolve(config), epath.Path(tmp_path)).make(Stop())
  out = capsys.readouterr().out
  parts = json.loads((tmp_path / "benchmark/bookkeeping.json").read_text())["parts"]
  assert [part["part"] for part in parts] == [part.name for part in growth.PARTS]
  for part in parts:
    assert part["part"] in out and all(cost > 0 for cost in part["costs"].values())
  assert [path.name for path in (tmp_path / "benchmark").iterdir() if path.name[0] != "."] == [
    "bookkeeping.json"
  ]


@pytest.mark.slow
def test_claims_grow_with_the_shards_and_no_faster():
  (claims,) = (part for part in growth.PARTS if part.unit == "operations")
  costs = {n: claims.cost(n, epath.Path("unused")) for n in (200_000, 2_000_000)}
  assert growth.exponent(costs) < 1.05
