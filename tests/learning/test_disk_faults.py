"""A disk that gives way under a training: one line, nothing that waits for ever, and the same command goes on."""

import errno
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from etils import epath

from synthjax import main, study
from synthjax.disk import faults, workdir
from synthjax.learning import metrics
from synthjax.learning.checkpoint import Checkpoints
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.store import shards
from tests.learning.test_damaged_checkpoints import STATE
from tests.learning.test_loop import run

ROOT = Path(__file__).parents[2]
LIMITED = """
import resource, sys
from synthjax import main, study
from synthjax.disk import faults
from tests.learning.test_loop import run
def trained(command):
  resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
  with faults.faults_of_disk("runs/x"):
    run(sys.argv[1], 6)
study.run = trained
sys.exit(main.main(["--config=configs/zero_shot.py", "--workdir=unused", "--config.runtime.compile_cache="]))
"""


def limited(folder, size):
  """A training as the command would run it, of a process whose files must not grow beyond `size` bytes."""
  line = [sys.executable, "-c", LIMITED, str(folder), str(size)]
  environment = os.environ | {"PYTHONPATH": str(ROOT)}
  return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 300, 1500])
def test_a_process_with_a_limit_on_the_size_of_files_ends_in_one_line(tmp_path, size):
  stopped = limited(tmp_path, size)
  said = [line for line in stopped.stderr.splitlines() if "examples in" not in line]
  assert stopped.returncode == 2 and len(said) == 1, stopped.stderr
  assert said[0].startswith("synthjax: runs/x: ") and "File too large; raise the limit" in said[0]


@pytest.mark.parametrize("size", [300, 1500])
def test_training_goes_on_once_files_may_grow_again(tmp_path, capsys, size):
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
  try:
    with (
      devices.without_compile_cache()
    ):  # where jax would leave half a program, for later tests to stumble on
      (error,) = within(60, lambda: run(tmp_path, 6))
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert "File too large; raise the limit on the size of a file (ulimit -f)" in faults.disk_fault(error)
  assert "Traceback" not in capsys.readouterr().err
  assert not any(t.name.startswith("checksums") for t in threading.enumerate())
  run(tmp_path, 6)
  assert [row["step"] for row in metrics.read(epath.Path(tmp_path))] == [1, 2, 3, 4, 5, 6]


def test_a_circle_of_exceptions_is_gone_through_once():
  first, second = ValueError("first"), KeyError("second")
  first.__cause__, second.__context__ = second, first
  assert faults.disk_fault(first) == ""
  second.__context__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/disk/file")
  assert faults.disk_fault(first).startswith("/disk/file: No space left")


def test_what_is_no_full_disk_is_raised_as_it_is(tmp_path):
  with pytest.raises(FileNotFoundError) as caught:
    workdir.publish(epath.Path(tmp_path / "missing"), epath.Path(tmp_path / "final"))
  assert caught.value.__cause__ is not caught.value


def within(seconds, work):
  """What the work raises; a failure where it is still at it after so long."""
  raised = []

  def catch():
    try:
      work()
    except Exception as e:  # noqa: BLE001
      raised.append(e)

  thread = threading.Thread(target=catch, daemon=True)
  thread.start()
  thread.join(seconds)
  assert not thread.is_alive(), "it waits for ever"
  return raised


def test_events_that_cannot_be_written_stop_a_training_and_do_not_block_it(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  def write_many():
    with metrics.Metrics(epath.Path(tmp_path), 0) as rows:
      monkeypatch.setattr("tensorboardX.record_writer.RecordWriter.write", full)
      for step in range(40):  # more than a queue holds
        rows.write(step, {"loss": 1.0})

  (error,) = within(20, write_many)
  assert isinstance(error, OSError)


def test_a_save_that_fails_leaves_no_thread_waiting(tmp_path, monkeypatch):
  def fail(self, *_, **__):
    raise ValueError(f"OUT_OF_RANGE: writing {tmp_path}/x: {os.strerror(errno.EFBIG)} [OS error 27]")

  def save():
    with Checkpoints(epath.Path(tmp_path)) as checkpoints:
      monkeypatch.setattr("orbax.checkpoint.CheckpointManager.save", fail)
      monkeypatch.setattr("orbax.checkpoint.CheckpointManager.close", fail)
      checkpoints.save(1, STATE)

  before = set(threading.enumerate())
  (error,) = within(20, save)
  assert isinstance(error, ValueError)
  waiting = [t for t in set(threading.enumerate()) - before if t.name.startswith("checksums")]
  for thread in waiting:
    thread.join(5)
  assert not any(t.is_alive() for t in waiting)


@pytest.mark.parametrize("number", [errno.EIO, errno.EFBIG, errno.ENOSPC, errno.EMFILE, errno.EROFS])
@pytest.mark.parametrize("kind", [RuntimeError, ValueError])
def test_what_libraries_make_of_a_disk_fault_is_one_line(monkeypatch, capsys, number, kind):
  def fail(command):
    raise kind(
      f'INTERNAL: Error writing "w"\nin file "/data/w": {os.strerror(number)}\n[source locations=...]'
    )

  monkeypatch.setattr(study, "run", fail)
  argv = ["--config=configs/zero_shot.py", "--workdir=unused", "--config.runtime.compile_cache="]
  assert main.main(argv) == 2
  said = capsys.readouterr().err
  assert said.startswith(f"synthjax: /data/w: {os.strerror(number)}; ") and said.count("\n") == 1
  assert "run the same command again to go on" in said


def test_another_error_of_a_library_stays_a_traceback(monkeypatch):
  def fail(command):
    raise RuntimeError("a mistake of ours")

  monkeypatch.setattr(study, "run", fail)
  with pytest.raises(RuntimeError, match="ours"):
    main.main(["--config=configs/zero_shot.py", "--workdir=unused", "--config.runtime.compile_cache="])


def test_a_product_is_named_whichever_library_met_the_fault():
  said = pytest.raises(UserError, match=r"images/LE: /data/x: Input/output error; check the disk")
  with said, faults.faults_of_disk("images/LE"):
    try:
      raise OSError(errno.EIO, os.strerror(errno.EIO), "/data/x")
    except OSError as e:
      raise RuntimeError("it did not work") from e


def test_a_shard_that_cannot_be_opened_for_want_of_descriptors_is_not_called_corrupt(tmp_path, monkeypatch):
  def fail(*_):
    raise RuntimeError(f"cannot open {tmp_path}/x: {os.strerror(errno.EMFILE)}")

  monkeypatch.setattr(shards.array_record_module, "ArrayRecordReader", fail)
  with pytest.raises(
    UserError, match=r"Too many open files; raise the limit on open files \(ulimit -n\)"
  ) as e:
    shards.ShardReader(epath.Path(tmp_path) / "x")
  assert "corrupt" not in str(e.value)
