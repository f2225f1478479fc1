"""What `--plan` says of hours, weights and the disk, beside the products."""

import collections
import json
import re
import shutil

import pytest
from etils import epath

from synthjax import study
from synthjax.learning import rates
from synthjax.products.base import DONE, MISSING, STALE, Product, Status
from synthjax.runtime import peaks
from synthjax.spec import config as fields_of
from synthjax.spec.command import Command
from synthjax.study.plan_table import plan_table
from synthjax.weights.hub import ToFetch


class Planned(Product):
  """As far as it is told to be."""

  stage = "sample"
  stored_side = read_side = 0

  def __init__(self, name: str, status: Status, *fetches: ToFetch):
    self.name, self._told, self._fetches = name, status, fetches

  @classmethod
  def declare(cls, study, *key):
    raise NotImplementedError

  def _status(self) -> Status:
    return self._told

  def to_fetch(self):
    return self._fetches

  def make(self, stop):
    raise NotImplementedError


def planned(tmp_path, *products: Planned) -> list[str]:
  return plan_table([(p.name, p) for p in products], epath.Path(tmp_path)).splitlines()


def images(state: str, have: int, want: int, **costs: float) -> Status:
  calls = {k: (lambda v=v: v) for k, v in costs.items() if k != "bytes"}
  return Status(state, have, want, bytes=costs.get("bytes", 0.0), **calls)


@pytest.mark.parametrize(
  "state, stored, sides, proposed",
  [
    (MISSING, 512, (256, 224), 256),
    (MISSING, 512, (), 0),  # nobody is known to learn from it
    (MISSING, 512, (256, 0), 0),  # an encoder, whose size is not known
    (MISSING, 256, (224,), 0),  # not worth it
    (MISSING, 32, (16,), 0),
    (MISSING, 0, (16,), 0),  # the generator is not there
    (DONE, 512, (256,), 0),  # too late
  ],
)
def test_a_smaller_size_is_proposed_where_nobody_reads_more(tmp_path, state, stored, sides, proposed):
  drawn = Planned("images/B", images(state, 0, 10))
  drawn.stored_side = stored
  readers = [Planned(f"runs/{i}", Status(MISSING)) for i in range(len(sides))]
  for reader, side in zip(readers, sides, strict=True):
    reader.read_side, reader.inputs = side, (drawn,)
  page = Planned("report", Status(MISSING))
  page.stage, page.inputs = "report", (drawn,)
  said = [line for line in planned(tmp_path, drawn, *readers, page) if "stored at" in line]
  assert len(said) == bool(proposed)
  if proposed:
    assert said[0].startswith(
      "images/B: stored at 512 px, and no learner reads more than 256: stored_size=256 "
    )
    assert "about 25% of the room" in said[0]


def test_memory_is_stated_of_what_is_still_to_be_made(tmp_path):
  needs = Planned("keep/B/U-clip", Status(MISSING, 0, 9, memory=lambda: "needs 4.8 GB of the host's"))
  done = Planned("keep/B/V-clip", Status(DONE, 9, 9, memory=lambda: "needs much"))
  lines = planned(tmp_path, needs, done, Planned("keep/B/CF-clip", Status(MISSING, 0, 9)))
  assert [line for line in lines if "memory" in line] == ["memory: keep/B/U-clip needs 4.8 GB of the host's"]


def test_without_a_rate_or_a_known_device_nothing_is_said_of_time(tmp_path):
  lines = planned(tmp_path, Planned("images/B", images(MISSING, 0, 10, flops=1e15)))
  assert lines == [
    "product   state    have/want          shards  bytes  FLOPs to do",
    "images/B  missing  0/10       images                 1 PFLOP",
    "1 of 1 to make",
  ]


def test_a_measured_rate_goes_before_that_of_other_sets(tmp_path):
  lines = planned(
    tmp_path,
    Planned("images/A", images(DONE, 10, 10, speed=1e12)),
    Planned("images/B", images(STALE, 5, 10, flops=1e15, seconds=7200.0, speed=2e12)),
    Planned("images/C", images(MISSING, 0, 10, flops=3e15)),
    Planned("runs/r", images(MISSING, 0, 3)),
  )
  assert lines[2].endswith("1 PFLOP      2 h 00 min (measured)")
  assert lines[3].endswith("3 PFLOP      33 min (measured)")  # at 1.5 TFLOP/s
  assert lines[-2:] == ["about 2 h 33 min on this machine, for what has a time above", "3 of 4 to make"]


def test_a_known_device_is_taken_to_reach_a_share_of_its_peak(tmp_path, monkeypatch):
  monkeypatch.setattr(rates, "peak", lambda: 1e15)
  lines = planned(tmp_path, Planned("images/B", images(MISSING, 0, 10, flops=3e16)))
  assert lines[1].endswith("30 PFLOP     2 min (at 30 % of the peak)")
  assert lines[2] == "about 2 min on this machine, for what has a time above"


def test_a_peak_is_that_of_all_devices(monkeypatch):
  assert rates.peak() == 0  # of a CPU none is published
  monkeypatch.setattr(peaks, "published", lambda kind: 100.0)
  assert rates.peak() == 4 * 100e12


def test_there_is_no_total_where_a_set_has_no_time(tmp_path):
  lines = planned(
    tmp_path,
    Planned("images/B", images(MISSING, 0, 10, flops=1e15)),
    Planned("runs/r", images(STALE, 1, 3, seconds=60.0)),
  )
  assert lines[2].endswith("60 s (measured)")
  assert not any("this machine" in line for line in lines)


def test_weights_of_missing_products_are_named_once_with_their_size(tmp_path):
  large, unknown = ToFetch("org/large@v1", 4_270_000_000), ToFetch("org/clip", 0)
  lines = planned(
    tmp_path,
    Planned("images/A", images(DONE, 1, 1), ToFetch("org/done", 1)),
    Planned("images/B", images(MISSING, 0, 1), large),
    Planned("images/C", images(MISSING, 0, 1), large, unknown),
  )
  assert lines[-2:] == ["weights to fetch: org/large@v1, 4.27 GB; org/clip", "2 of 3 to make"]


def test_bytes_to_write_stand_beside_what_is_free_and_a_disk_that_is_too_small_is_a_warning(
  tmp_path, monkeypatch
):
  usage = collections.namedtuple("usage", "total used free")
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, 5 * 10**8))
  half = Planned("images/B", images(STALE, 5, 10, bytes=8e8))  # four tenths are there
  assert planned(tmp_path, half)[-2] == "disk: 400 MB to write, 500 MB free"
  more = Planned("images/C", images(MISSING, 0, 10, bytes=2e8))
  assert planned(tmp_path, half, more)[-2] == (
    f"warning: disk: 600 MB to write, 500 MB free in {tmp_path}: it does not fit; free some room, or ask for fewer images"
  )
  assert planned(tmp_path, Planned("images/B", images(DONE, 10, 10, bytes=8e9)))[-1] == "nothing is missing"


def run(config, workdir, **kwargs) -> None:
  study.run(Command(config, str(workdir), line="python -m synthjax.main ...", **kwargs))


@pytest.fixture
def told(capsys):
  def plan(config, workdir) -> dict[str, str]:
    """The line of each product."""
    capsys.readouterr()
    run(config, workdir, plan=True)
    return {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}

  return plan


def test_sets_take_as_long_as_those_that_were_drawn_here(small, tmp_path, told):
  config, workdir = small(tmp_path), tmp_path / "w"
  run(config, workdir, stages=("prompts", "sample"))
  (session,) = (workdir / "images" / "B" / "sessions").glob("*.json")
  drawn = json.loads(session.read_text())
  drawn["images"], drawn["seconds"] = 15, 1500.0
  session.write_text(json.dumps(drawn))
  shutil.rmtree(session.parent / ".checksums")
  config.sampling.images_per_class = 10
  config.sets.T = fields_of.image_set("T", steps=4)  # beside the decoding, twice the work
  lines = told(config, workdir)
  assert lines["images/B"].endswith("25 min (measured)")
  minutes = int(re.search(r"(\d+) min \(measured\)", lines["images/T"])[1])
  assert 50 < minutes < 100  # as many again, and up to twice as long each
  drawn["device"] = "NVIDIA H100"  # which this is not
  session.write_text(json.dumps(drawn))
  assert "measured" not in str(told(config, workdir)) and "about" not in told(config, workdir)


def test_a_learner_takes_as_long_as_its_like(tmp_path, told):
  config = fields_of.study_config(labels="digits")
  config.real.few = fields_of.real_images("embedded:digits:first", shots=2)
  config.tests.real = "embedded:digits:first"
  config.learning.update(dict(model="resnet-mini", size=8, real="few", batch=8, steps=3, ahead=1))
  config.learners.one = fields_of.learner()
  config.seeds = 1
  config.runtime.compile_cache = ""
  run(config, tmp_path, stages=("learn",))
  (timing,) = tmp_path.glob("runs/*/seed-0/timing.json")
  measured = json.loads(timing.read_text())
  assert measured["device"] == "cpu" and measured["local_devices"] == 4
  timing.write_text(json.dumps(measured | {"examples_per_second_per_device": 0.01}))
  shutil.rmtree(timing.parent / ".checksums")
  config.seeds = 3
  config.learners.alike = fields_of.learner(learning_rate=0.5, steps=30)
  config.learners.larger = fields_of.learner(size=16)
  lines = told(config, tmp_path)
  assert lines["runs/one"].endswith("20 min (measured)")  # two seeds of 3 x 8 examples at 4 devices' 0.04/s
  assert lines["runs/alike"].endswith("5 h 00 min (measured)")
  assert not lines["runs/larger"].endswith("measured)")
