"""What a terminal shows: the exit code, one line for a mistake, and nothing of the libraries' own."""

import os
import re
import subprocess

import pytest

from tests.conftest import ROOT

QUICK = (
  "--config=configs/quickstart.py",
  "--config.sampling.images_per_class=2",
  "--config.sampling.steps=2",
  "--config.filters.CF.kept_per_class=1",
  "--config.filters.CF.max_rounds=0",
  "--config.tuning.epochs=1",
  "--distributed=off",
)


def test_the_terminal_shows_our_lines_alone(command, tmp_path):
  process = command(*QUICK, f"--workdir={tmp_path}", f"--config.runtime.compile_cache={tmp_path / 'xla'}")
  out, err = process.communicate(timeout=240)
  assert process.returncode == 0 and list((tmp_path / "xla").glob("*-cache"))
  kernels = [line.partition(": attention: ")[0] for line in err.splitlines() if ": attention: plain " in line]
  assert kernels == ["images/B", "images/LE", "encoder clip"]  # each once
  lines = [line for line in err.splitlines() if ": attention: " not in line]
  said = dict.fromkeys(re.sub(r"^\d\d:\d\d:\d\d ", "", line).split()[0].rstrip(":") for line in lines)
  arms = [f"{images}+{loss}" for images in ("B", "LE", "LE+CF") for loss in ("CE", "SCE")]
  made = ["images/B", "images/LE", "embeddings/digits/clip", "embeddings/B/clip", "embeddings/LE/clip"]
  said.pop("keep/LE/CF-clip", None)  # speaks where a class falls short
  assert list(said) == [*made, *(f"runs/{arm}" for arm in arms)]
  *results, page = out.splitlines()
  assert [line.split()[0] for line in results] == ["zero-shot", *arms]
  assert page == f"{tmp_path}/report/index.html"


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (
      ["--config.sampling.gidance=3"],
      "synthjax: config.sampling has no field 'gidance' (did you mean 'guidance'?)",
    ),
    (["--config.sampling.generator=/no/where"], "synthjax: generator /no/where is no folder"),
    (["--config.sampling.generator=random:tny"], "synthjax: random generator 'tny' (did you mean 'tiny'?)"),
    (["--config.labels=digit"], "synthjax: config.labels 'digit' is no label space (did you mean 'digits'?)"),
    (
      ["--config.sampling.size=36"],
      "synthjax: config.sampling.size 36: this generator makes images of multiples of 8 pixels",
    ),
    (["--workdir=/dev/null/w"], "synthjax: workdir /dev/null/w cannot be written"),
    (["--config.runtime.compile_cache=/dev/null/x"], "synthjax: config.runtime.compile_cache /dev/null/x"),
  ],
)
def test_a_mistake_is_one_line_and_exit_code_2(command, forked, tmp_path, flags, said):
  start = command if any(name in flags[0] for name in ("gidance", "workdir")) else forked
  process = start(*QUICK, f"--workdir={tmp_path / 'w'}", *flags)
  out, err = process.communicate(timeout=120)
  assert process.returncode == 2 and out == ""
  assert err.startswith(said) and len(err.splitlines()) == 1
  assert not list((tmp_path / "w").glob("prompts/*" if "generator=" in flags[0] else "images/*"))


def test_help_names_the_flags(command):
  out, _ = command("--help").communicate(timeout=60)
  assert all(flag in out for flag in ("--config", "--workdir", "--plan", "--stages", "--distributed"))


def test_the_scripts_are_sound():
  for script in [*(ROOT / "launch").glob("*.sh"), ROOT / ".ci" / "run"]:
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert script.name == "environment.sh" or os.access(script, os.X_OK)


def test_a_disk_that_fills_up_and_has_room_again(forked, tmp_path):
  disk = tmp_path / "disk"
  disk.mkdir()
  mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True)
  if mounted.returncode:
    pytest.skip("needs the right to mount a small disk")
  flags = (*QUICK, f"--workdir={disk / 'w'}", "--config.sampling.images_per_class=60")
  try:
    process = forked(*flags)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert (
      err.splitlines()[-1].startswith(f"synthjax: the disk of {disk}") and "is full; free some room" in err
    )
    assert "Traceback" not in err and not list((disk / "w").rglob("*.part"))
    subprocess.run(["mount", "-o", "remount,size=30m", str(disk)], check=True)
    for extra in ([], ["--stages=verify"]):
      process = forked(*flags, *extra)
      out, err = process.communicate(timeout=120)
      assert process.returncode == 0, err
    assert all(f"images/{s}: every shard is as planned" in out for s in ("B", "LE"))
  finally:
    subprocess.run(["umount", str(disk)], check=True)
