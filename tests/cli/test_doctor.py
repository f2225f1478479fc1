"""The command: its lines, its exit code, and that nothing stays in the folder, alone and under a launcher."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from etils import epath

from synthjax.cli import commands, doctor
from synthjax.disk import drafts, workdir
from synthjax.doctor import folder, launch, machine
from synthjax.runtime import devices, processes
from synthjax.weights import hub
from tests.conftest import ROOT, cluster

PROBES = (
  *("exclusive", "listings", "clock", "room", "rate", "publishing", "hub"),
  *("devices", "memory", "host", "compile cache"),
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  """No network, no minute of decoding, small files."""
  monkeypatch.setattr(hub, "is_reachable", lambda _: False)
  monkeypatch.setattr(machine, "_DECODING", 0.05)
  monkeypatch.setattr(folder, "_BYTES", 2**20)
  monkeypatch.setattr(folder, "_FILES", 5)
  monkeypatch.setattr(devices, "_launched", devices.Launched())
  monkeypatch.setattr(processes, "leave", sys.exit)  # which ends a process at once after a mistake


def lines(capsys) -> dict[str, tuple[str, str]]:
  """name -> (mark, the rest)."""
  found = {}
  for line in capsys.readouterr().out.splitlines():
    mark, rest = line[:5].strip(), line[6:]
    name = next(n for n in (*PROBES, "launch", "workdir", "join", "all-reduce") if rest.startswith(n))
    found[name] = mark, rest[len(name) :].strip()
  return found


def test_a_healthy_folder_is_ok_and_left_as_it_was(tmp_path, capsys):
  there = tmp_path / "there"
  there.mkdir()
  (there / "mine").write_text("text")
  for place in (there, tmp_path / "new" / "folder"):
    assert doctor.doctor([f"--workdir={place}"]) == 0
    found = lines(capsys)
    assert tuple(found) == PROBES and {mark for mark, _ in found.values()} <= {"ok", "warn"}
    assert found["exclusive"][0] == found["listings"][0] == found["devices"][0] == "ok"
  assert [p.name for p in tmp_path.iterdir()] == ["there"] and [p.name for p in there.iterdir()] == ["mine"]
  assert (there / "mine").read_text() == "text"


def test_what_a_config_still_has_to_fetch_makes_the_hub_essential(tmp_path, capsys):
  line = [f"--workdir={tmp_path}", f"--config={ROOT}/configs/quickstart.py"]
  assert doctor.doctor(line) == 0
  assert lines(capsys)["hub"][0] == "ok"
  assert doctor.doctor([*line, "--config.sampling.generator=org/not-there"]) == 1
  mark, said = lines(capsys)["hub"]
  assert mark == "FAIL" and "fetch org/not-there where there is a network" in said


@pytest.mark.parametrize("options, said", [("ro", "Read-only file system"), ("size=300k", "No space left")])
def test_a_read_only_and_a_full_disk_fail_in_a_line(tmp_path, capsys, options, said):
  disk = tmp_path / "disk"
  disk.mkdir()
  if subprocess.run(
    ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], capture_output=True
  ).returncode:
    pytest.skip("needs the right to mount a small disk")
  try:
    assert doctor.doctor([f"--workdir={disk}"]) == 1
    found = lines(capsys)
    failed = {name: text for name, (mark, text) in found.items() if mark == "FAIL"}
    assert failed and all(said in text for text in failed.values()), failed
    assert found["devices"][0] == "ok"  # the rest is looked at all the same
    assert list(disk.iterdir()) == []
  finally:
    subprocess.run(["umount", str(disk)], check=True)


def test_a_compile_cache_that_cannot_be_written_fails(tmp_path, monkeypatch):
  (tmp_path / "file").write_text("")
  found = machine.compile_cache(str(tmp_path / "file" / "xla"))
  assert found.fails and "config.runtime.compile_cache" in found.fix
  assert not machine.compile_cache(str(tmp_path / "a" / "b")).fix and not (tmp_path / "a").exists()


@pytest.mark.parametrize(
  "words, said",
  [
    ([], "--workdir"),
    (["--workdir=hdfs://host/w"], "begins with s3://, gs://, az://"),
    (["--workdir={file}"], "is a file; give a folder"),
    (["--workdir={new}", "--config.seeds=2"], "unexpected argument '--config.seeds=2'"),
    (["--workdir={new}", "--config=no.py"], "config file no.py does not exist"),
    (["--workdir={new}", "--wait=-1"], "--wait is -1"),
    (["--workdir={new}", "--distributed=maybe"], "invalid choice"),
  ],
)
def test_a_mistake_in_the_command_is_one_line_and_two(tmp_path, capsys, words, said):
  (tmp_path / "file").write_text("")
  words = [w.format(file=tmp_path / "file", new=tmp_path / "new") for w in words]
  with pytest.raises(SystemExit) as e:
    commands.flags_or_exit(["doctor", *words])
  assert e.value.code == 2
  err = capsys.readouterr().err
  assert err.count("\n") == 1 and said in err, err
  assert not (tmp_path / "new").exists()


def met(folders: list[Path], wait: float, late: float = 0.0) -> list[launch.Met]:
  """The processes of one launch as threads, each in its folder; the last starts late."""
  found: dict[int, launch.Met] = {}

  def run(index: int) -> None:
    if index == len(folders) - 1:
      time.sleep(late)
    root, launched = epath.Path(folders[index]), devices.Launched(len(folders), index)
    own = drafts.draft_of(root / workdir.PROBE)
    own.mkdir()
    finding, place = launch.same_folder(root, own, launched, wait)
    if place:
      found[index] = launch.exclusive_creation(place, launched, wait) or finding, place
    else:
      found[index] = finding, place

  threads = [threading.Thread(target=run, args=(i,)) for i in range(len(folders))]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  return [found[i] for i in range(len(folders))]


def test_processes_of_a_launch_meet_in_one_folder_whoever_is_late(tmp_path):
  found = met([tmp_path] * 3, 20, late=0.5)
  assert [place is not None for _, place in found] == [True] * 3
  assert found[0][0].figure == "50 names, 3 processes of the launch: one winner each"
  left = [p.name for p in tmp_path.rglob("*.answer")]
  assert left == []


def test_processes_with_different_folders_are_refused_on_both_sides(tmp_path):
  folders = [tmp_path / name for name in "aab"]
  for folder_ in folders:
    folder_.mkdir(exist_ok=True)
  began = time.monotonic()
  found = met(folders, 1.0)
  assert time.monotonic() - began < 10
  assert [finding.fails for finding, _ in found] == [True] * 3
  assert "has not met process 2 of 3" in found[0][0].figure and "one shared --workdir" in found[0][0].fix
  assert "has not met process 0 of 3" in found[2][0].figure


def test_what_an_earlier_launch_left_is_no_answer(tmp_path):
  """Its process 0 was killed, and so were those that had answered it and that it had read of."""
  dead = drafts.draft_of(epath.Path(tmp_path) / workdir.PROBE)
  dead.mkdir()
  (dead / "launch").write_text(launch.launch_id(2))
  (dead / "1.00.answer").write_text("")
  (dead / "met").write_text('["1.00.answer"]')
  (tmp_path / "b").mkdir()
  found = met([tmp_path / "b", tmp_path], 0.5)
  assert [finding.fails for finding, _ in found] == [True, True]


@pytest.mark.slow
def test_two_processes_join_and_reduce_or_are_refused(tmp_path):
  def run(*folders: Path) -> list[tuple[int, str]]:
    base = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    flags = ["--distributed=on", "--wait=5"]
    started = [
      subprocess.Popen(
        [sys.executable, "-m", "synthjax", "doctor", f"--workdir={folder}", *flags],
        env=base | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
      )
      for folder, variables in zip(folders, cluster(2), strict=True)
    ]
    said = [process.communicate(timeout=120)[0] for process in started]
    return [(process.returncode, text) for process, text in zip(started, said, strict=True)]

  (tmp_path / "a").mkdir()
  (zero, first), (one, second) = run(tmp_path / "a", tmp_path / "a")
  assert (zero, one) == (0, 0), first + second
  assert "2 processes see this folder" in first and "of 2 processes sum 64 MB" in first
  assert not [line for line in second.splitlines() if line.startswith("ok")]  # process 0 speaks
  assert list((tmp_path / "a").iterdir()) == []
  (zero, first), (one, second) = run(tmp_path / "a", tmp_path / "b")
  assert (zero, one) == (1, 1), first + second
  assert "has not met process 1 of 2" in first and "has not met process 0 of 2" in second
  assert "Traceback" not in first + second and list((tmp_path / "a").iterdir()) == []
