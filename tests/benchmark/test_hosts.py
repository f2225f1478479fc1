"""What hosts that share a product cost its disk: on a disk in memory, by a clock that is not real."""

import pytest

from synthjax.benchmark.hosts import Load, cost_of


@pytest.mark.parametrize(
  "load",
  [
    Load(hosts=1, shards=40),
    Load(hosts=8, shards=120, die=3, stand_still=2),
    Load(hosts=16, shards=16, die=8, seed=1),
    Load(hosts=24, shards=10, stand_still=10, seed=2),
  ],
  ids=str,
)
def test_every_shard_is_made_and_nothing_is_left(load):
  cost = cost_of(load)
  assert cost.missing == 0 and cost.left == 0
  assert load.shards <= cost.made <= load.shards + load.stand_still


def test_the_same_seed_gives_the_same_counts():
  load = Load(hosts=6, shards=60, die=1, seed=3)
  assert cost_of(load) == cost_of(load)


def test_a_shard_costs_as_many_operations_however_many_hosts_share_them():
  """Each host has 20 shards. When hosts looked at one another's claims, a shard cost seven operations a host."""
  few, many = (cost_of(Load(hosts, shards=20 * hosts, die=2, seed=4)) for hosts in (8, 48))
  assert many.operations_a_shard < 10
  assert many.operations_a_shard < 1.5 * few.operations_a_shard


def test_the_dead_are_found_in_time():
  """The rest waits for the shards of the dead alone, and these no longer than a heartbeat takes to go stale, or two."""
  load = Load(hosts=16, shards=160, die=4, seed=5)
  undisturbed = cost_of(Load(hosts=12, shards=160, seed=5))
  assert cost_of(load).seconds < undisturbed.seconds + 2 * load.stale_seconds + 2 * load.seconds_a_shard


@pytest.mark.slow
@pytest.mark.parametrize("hosts", [64, 256])
def test_four_thousand_shards_are_shared_for_ten_operations_each(hosts):
  cost = cost_of(Load(hosts, shards=4000, die=hosts // 32, stand_still=hosts // 32))
  assert cost.missing == 0 and cost.left == 0
  assert cost.operations_a_shard < 10
