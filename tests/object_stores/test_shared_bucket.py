"""Processes that share a bucket, die at any moment, or meet a store that fails: the bytes come out the same.

A study draws, embeds, filters, tunes and learns. What it makes on a disk, undisturbed, is what all of these must make.
"""

import hashlib
import json
import random
import time

import pytest

from tests.object_stores import proxy
from tests.object_stores.servers import SERVERS

CONFIG = """
from synthjax.config import arm, encoder, image_filter, image_set, learner, network, prompt_list, study_config

def get_config(arg=""):
  config = study_config(labels="digits")
  config.prompts.LE = prompt_list("LE", per_class=4, draws=6)
  config.sets.LE = image_set("LE")
  config.sampling.update(dict(generator={weights!r}, images_per_class=6, images_per_shard=8, steps=2))
  config.runtime.update(dict(heartbeat_seconds=0.5, stale_seconds=4.0, save_seconds=0.2))
  if arg == "draw":
    return config
  config.encoders.clip = encoder()
  config.filters.CF = image_filter("clip", kept_per_class=4, max_rounds=2)
  config.tests.digits = "embedded:digits:first"
  config.tuning.update(dict(batch=16, epochs=20))
  config.learning.update(dict(model="resnet-mini", size=8, batch=20, steps=30))
  config.learners.own = learner("LE")
  config.arms["zero-shot"] = arm()
  config.arms["LE+CF+SCE"] = arm("LE/CF", loss="SCE")
  config.seeds = 2
  return config
"""
# Other processes draw at other speeds, and die: of these files, nothing else is said than that they are there.
TIMES = (
  "/sessions/",
  "/timing.json",
  "events.out",
  ".checksums/",
  "mirror.json",
  "checkpoints",
  "/best",
  "record.json",
)


@pytest.fixture(scope="module")
def file(tmp_path_factory, weights) -> str:
  path = tmp_path_factory.mktemp("config") / "study.py"
  path.write_text(CONFIG.format(weights=str(weights)))
  return str(path)


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


_undisturbed: dict[str, dict[str, str]] = {}


@pytest.fixture
def undisturbed(forked, file, tmp_path):
  """Hashes of what it makes on a disk."""

  def of(arg: str) -> dict[str, str]:
    if arg not in _undisturbed:
      finish(forked(f"--config={file}:{arg}", f"--workdir={tmp_path / arg}", "--distributed=off"))
      files = {
        str(p.relative_to(tmp_path / arg)): p
        for p in (tmp_path / arg).rglob("*")
        if p.is_file() and not p.is_symlink()
      }
      _undisturbed[arg] = {name: sha(p.read_bytes()) for name, p in files.items() if is_same(name)}
    return _undisturbed[arg]

  return of


def is_same(name: str) -> bool:
  return (
    not any(part in f"/{name}" for part in TIMES)
    and not name.startswith("report/")
    and ".working" not in name
  )


def sha(data: bytes) -> str:
  return hashlib.sha256(data).hexdigest()


def finish(process, code: int = 0) -> str:
  out, err = process.communicate(timeout=240)
  assert process.returncode == code, err[-3000:]
  return out + err


def names(server) -> list[str]:
  import obstore

  return sorted(meta["path"] for page in obstore.list(server.store("w")) for meta in page)


def made(server) -> dict[str, str]:
  import obstore

  store = server.store("w")
  return {name: sha(bytes(obstore.get(store, name).bytes())) for name in names(server) if is_same(name)}


def assert_whole(server, wanted: dict[str, str]) -> None:
  """The same as on a disk, and nothing left of the dead."""
  found = made(server)
  assert [n for n in wanted if "array_record" in n] and sorted(found) == sorted(wanted)
  assert [name for name in wanted if found[name] != wanted[name]] == []
  assert [name for name in names(server) if "/.working/" in name or name.startswith(".probe")] == []


def drawn(server) -> int:
  """Images, by all processes, those that were dropped too."""
  import obstore

  store = server.store("w")
  sessions = [n for n in names(server) if n.startswith("images/LE/sessions/") and n.endswith(".json")]
  return sum(json.loads(bytes(obstore.get(store, n).bytes()))["images"] for n in sessions)


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
