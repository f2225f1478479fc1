"""Processes that share a bucket, die at any moment, or meet a store that fails: the bytes come out the same.

A study draws, embeds, filters, tunes and learns. What it makes on a disk, undisturbed, is what all of these must make.
"""

import random
import time

import pytest

from tests.object_stores import proxy, studies
from tests.object_stores.servers import SERVERS
from tests.object_stores.studies import IMAGES, assert_whole, drawn, finish, names


@pytest.fixture(scope="module")
def file(tmp_path_factory, weights) -> str:
  return studies.config_file(tmp_path_factory.mktemp("config"), weights)


@pytest.fixture(scope="module", params=SERVERS)
def server(request):
  with SERVERS[request.param]() as server:
    yield server


@pytest.fixture
def start(forked, file, tmp_path):
  """A process at work on the study in a bucket."""

  def run(server, arg: str = "", host: int = 0, **flags):
    environment = {**server.environment, "SYNTHJAX_DATA": str(tmp_path / f"cache-{host}")}
    config = f"{file}:{arg}" if arg else file
    return forked(f"--config={config}", f"--workdir={server.url}/w", "--distributed=off", env=environment)

  return run


@pytest.fixture
def undisturbed(forked, file, tmp_path):
  """Hashes of what it makes on a disk."""
  return lambda arg: studies.undisturbed(forked, file, arg, tmp_path)


@pytest.mark.slow
def test_three_processes_of_which_one_dies_make_what_one_makes_on_a_disk(server, start, undisturbed):
  own, wanted = server.fresh(), undisturbed("draw")
  processes = [start(own, "draw", host) for host in range(3)]
  until = time.monotonic() + 120
  while not any("train.array_record" in n for n in names(own)) and time.monotonic() < until:
    time.sleep(0.05)
  processes[0].kill()
  for process in processes[1:]:
    finish(process)
  finish(start(own, "draw"))  # who was killed may have been the last at work
  assert_whole(own, wanted)
  assert drawn(own) <= IMAGES  # nothing twice; what the dead one had landed is missing from the sum


@pytest.mark.slow
def test_a_store_that_fails_now_and_then_costs_time_alone(server, start, undisturbed):
  own, wanted = server.fresh(), undisturbed("draw")
  with proxy.before(own.port) as between:
    for seed, how in enumerate(("500", "503", "close", "reset upload", "reset download")):
      between.misbehave(how, 1000, probability=0.02, seed=seed)
      between.misbehave(how, 1000, of="put", done=how in ("500", "close"), probability=0.03, seed=seed + 10)
    finish(start(own.at(between.port), "draw"))
    misbehaved = sum(between.misbehaved.values())
    assert misbehaved > 5
    print(
      f"\n{own.scheme}: {misbehaved} failures of {sum(between.counts.values())} requests: {dict(between.counts)}"
    )
  finish(start(own, "draw"))  # what a lost answer may have left
  assert_whole(own, wanted)


@pytest.mark.slow
def test_a_whole_study_killed_twenty_times_is_that_of_a_disk(start, undisturbed):
  """In every stage, by the number of objects that are there."""
  wanted, rng, lives = undisturbed("all"), random.Random(0), []
  with SERVERS["gs"]() as server:
    for life in range(20):
      process, until = start(server, "all"), time.monotonic() + 60
      while len(names(server)) < 15 * life and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
      time.sleep(rng.uniform(0, 0.3))
      assert process.poll() is None, "the work was done before the last kill: make it larger"
      process.kill()
      process.wait()
      lives.append(len(names(server)))
    print(f"\nobjects at each of 20 deaths: {lives}; files that are compared: {len(wanted)}")
    finish(start(server, "all"))
    assert_whole(server, wanted)
