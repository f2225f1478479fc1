"""Making products beside other processes: what is waited for, what is made again, and what has no end."""

import os
import threading
import time
from pathlib import Path

import pytest

from synthjax.products.base import DONE, MISSING, STALE, Status
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.store.claims import Lost
from synthjax.study import scheduler


class Planned:
  """A product of which a test says what becomes of it."""

  stage, uses = "keep", ()

  def __init__(self, folder: Path, name: str, inputs=(), makes=lambda product: True):
    self.name, self.folder, self.inputs, self._makes = name, folder / name, inputs, makes
    self.state, self.made = MISSING, 0

  def status(self) -> Status:
    return Status(self.state, 0, 1, "files")

  def make(self, stop: Stop) -> bool:
    if not all(needed.state == DONE for needed in self.inputs):
      return False
    self.made += 1
    if self._makes(self):
      self.state = DONE
    return self.state == DONE


@pytest.fixture
def make(monkeypatch):
  monkeypatch.setattr(scheduler, "_POLL_SECONDS", 0.02)

  def made(*products, stale_seconds: float = 0.05) -> None:
    with Stop() as stop:
      scheduler.make(products, stop, stale_seconds)

  return made


def test_what_becomes_stale_after_it_was_made_is_made_again(make, tmp_path):
  """As by a process with another quota, which publishes its own list between this one's list and its page."""
  keep = Planned(tmp_path, "keep")

  def disturbed(product) -> bool:
    if product.made == 1:
      keep.state = STALE
      return False
    return True

  page = Planned(tmp_path, "page", [keep], disturbed)
  make(keep, page)
  assert (keep.made, page.made) == (2, 2)


def test_nobody_is_waited_for_who_is_not_alive(make, tmp_path):
  held = Planned(tmp_path, "held", makes=lambda product: False)
  with pytest.raises(UserError, match=r"held is missing .*no other process is working on it; run the same"):
    make(held)


def test_who_waits_for_a_stage_that_is_not_run_says_which(make, tmp_path):
  keep = Planned(tmp_path, "keep")
  with pytest.raises(
    UserError, match=r"page waits for keep, which is missing, .*run again with keep among --stages"
  ):
    make(Planned(tmp_path, "page", [keep]))


def test_a_living_process_is_waited_for_however_long_it_takes(make, tmp_path):
  features = Planned(tmp_path, "features")
  keep = Planned(tmp_path, "keep", [features])
  held = Planned(tmp_path, "held", [keep])
  beat = features.folder / ".working/other.alive"
  beat.parent.mkdir(parents=True)
  until = time.monotonic() + 1.5  # many times the patience

  def another() -> None:
    while time.monotonic() < until:
      beat.touch()
      os.utime(beat)
      time.sleep(0.01)
    features.state = keep.state = DONE

  thread = threading.Thread(target=another)
  thread.start()
  make(held)
  thread.join()
  assert held.state == DONE and features.made == keep.made == 0


def test_work_that_another_process_has_taken_over_is_looked_for_again(make, tmp_path, capsys):
  def lost(product) -> bool:
    if product.made == 1:
      raise Lost
    return True

  make(product := Planned(tmp_path, "runs/a", makes=lost))
  assert product.made == 2
  assert "runs/a: this process was paused for so long that another one took over" in capsys.readouterr().err
