"""Joined processes with different workdirs are refused in all of them; whoever is alone is not asked."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest
from etils import epath

from synthjax.disk import drafts
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.study import one_folder
from tests.conftest import cluster

CONFIG = """
from synthjax.config import image_set, prompt_list, study_config

def get_config(arg=""):
  config = study_config(labels="digits")
  config.prompts.T = prompt_list("templates")
  config.sets.T = image_set("T")
  config.sampling.update(dict(generator={weights!r}, images_per_class=2, images_per_shard=8, steps=2))
  return config
"""


class Told:
  """What processes tell one another, each a thread here."""

  def __init__(self, seconds: float):
    del seconds

  texts: ClassVar[dict[str, str]] = {}

  def tell(self, name: str, text: str) -> None:
    self.texts[name] = text

  def ask(self, name: str) -> str:
    for _ in range(1000):
      if name in self.texts:
        return self.texts[name]
      time.sleep(0.01)
    raise UserError(f"no word of {name}")


@pytest.fixture
def checked(monkeypatch):
  """What each process says that has such a folder; "" = nothing."""
  own = threading.local()
  monkeypatch.setattr(devices, "is_joined", lambda: True)
  monkeypatch.setattr(one_folder, "Exchange", Told)
  monkeypatch.setattr(one_folder, "_SECONDS", 0.3)
  monkeypatch.setattr(one_folder.jax, "process_index", lambda: own.index)

  def run(*folders: Path) -> list[str]:
    Told.texts.clear()
    monkeypatch.setattr(one_folder.jax, "process_count", lambda: len(folders))

    def check(index: int) -> str:
      own.index = index
      try:
        one_folder.check(epath.Path(folders[index]))
      except (UserError, OSError) as e:
        return str(e)
      return ""

    with ThreadPoolExecutor(len(folders)) as pool:
      return list(pool.map(check, range(len(folders))))

  return run


def test_a_file_that_all_see_is_gone_again(checked, tmp_path):
  assert checked(tmp_path, tmp_path, tmp_path) == ["", "", ""]
  assert Told.texts["file"].startswith(".probe.") and list(tmp_path.iterdir()) == []


def test_all_say_the_same_of_those_that_do_not_see_it(checked, tmp_path):
  (tmp_path / "other").mkdir()
  said = checked(tmp_path, tmp_path, tmp_path / "other")
  assert all(
    "process 2 of 3 does not see what process 0 writes there; give all hosts" in line for line in said
  )
  assert [p.name for p in tmp_path.iterdir()] == ["other"] and not list((tmp_path / "other").iterdir())


def test_a_process_0_that_cannot_write_lets_nobody_wait(checked, tmp_path):
  said = checked(tmp_path / "gone", tmp_path)
  assert "No such file" in said[0] and "cannot be written by process 0" in said[1]


def test_whoever_is_not_joined_touches_nothing(tmp_path, monkeypatch):
  monkeypatch.setattr(drafts, "draft_of", None)
  one_folder.check(epath.Path(tmp_path / "not there"))


@pytest.mark.slow
def test_two_joined_processes_with_different_workdirs_end_in_a_line(forked, weights, tmp_path):
  file = tmp_path / "study.py"
  file.write_text(CONFIG.format(weights=str(weights)))
  (tmp_path / "a").mkdir()
  pair = [
    forked(f"--config={file}", f"--workdir={tmp_path / name}", "--distributed=on", env=env, prepare=_soon)
    for name, env in zip("ab", cluster(2), strict=True)
  ]
  for process in pair:
    _, err = process.communicate(timeout=120)
    lines = [line for line in err.splitlines() if line.startswith("synthjax:")]
    assert process.returncode == 2 and len(lines) == 1 and "Traceback" not in err, err
    assert "process 1 of 2 does not see what process 0 writes there" in lines[0]
  assert list((tmp_path / "a").iterdir()) == [] and not (tmp_path / "b").exists()


def _soon(log):
  one_folder._SECONDS = 1.0
