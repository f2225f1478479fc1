"""Joined processes with different workdirs are refused in all of them; whoever is alone is not asked."""

import pytest
from etils import epath

from synthjax.disk import workdir
from synthjax.learning import coordination
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


@pytest.fixture
def joined(monkeypatch):
  """This process as one of three; the others see the file of process 0, or not."""

  def of(index: int, sees: tuple[bool, ...], tag: bytes | None = None) -> list[bytes]:
    sent: list[bytes] = []
    monkeypatch.setattr(devices, "is_joined", lambda: True)
    monkeypatch.setattr(devices, "is_main_process", lambda: index == 0)
    monkeypatch.setattr(one_folder.jax, "process_count", lambda: 3)
    monkeypatch.setattr(one_folder, "_SECONDS", 0.2)
    monkeypatch.setattr(coordination, "broadcast_bytes", lambda own: sent.append(own) or tag or own)
    values = list(sees)
    monkeypatch.setattr(coordination, "of_all", lambda own: [*values[:index], int(own), *values[index + 1 :]])
    return sent

  return of


def test_a_file_that_all_see_is_gone_again(joined, tmp_path):
  sent = joined(0, (True, True, True))
  one_folder.check(epath.Path(tmp_path))
  assert len(sent[0]) == 16 and any(sent[0]) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("index", [0, 1, 2])
def test_all_say_the_same_line_of_those_that_do_not_see_it(joined, tmp_path, index):
  tag = bytes(range(16))
  joined(index, (True, True, False), tag)
  if index != 2:  # it is in the folder of these
    (tmp_path / f".probe.{tag.hex()}").touch()
  with pytest.raises(
    UserError, match="process 2 of 3 does not see what process 0 writes there; give all hosts"
  ):
    one_folder.check(epath.Path(tmp_path))


def test_a_process_0_that_cannot_write_lets_nobody_wait(joined, tmp_path, monkeypatch):
  sent = joined(0, (True, True, True))
  with pytest.raises(FileNotFoundError):
    one_folder.check(epath.Path(tmp_path / "gone"))
  assert sent == [bytes(16)]
  joined(1, (True, True, True), bytes(16))
  with pytest.raises(UserError, match="cannot be written by process 0"):
    one_folder.check(epath.Path(tmp_path))


def test_whoever_is_not_joined_touches_nothing(tmp_path, monkeypatch):
  monkeypatch.setattr(workdir, "draft_of", None)
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
