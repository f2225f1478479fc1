"""launch/slurm.sbatch on a real Slurm: four nodes on this machine. Tasks are stopped, the job is queued again, a node is lost, and
the study ends with the bytes of one that was alone; joined training goes on with another number of tasks.

    apt-get install slurm-wlm munge; SYNTHJAX_SLURM=1 python -m pytest -m slow tests/slurm

Each takes 1 to 3 min on 2 cores, as four tasks start and import up to three times, so CI goes without."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

NEEDED = ("sbatch", "slurmctld", "slurmd", "munged")
pytestmark = [
  pytest.mark.slow,
  pytest.mark.alone,
  pytest.mark.skipif(
    not os.environ.get("SYNTHJAX_SLURM"), reason="takes minutes, and daemons: SYNTHJAX_SLURM=1 runs it"
  ),
  pytest.mark.skipif(
    any(shutil.which(name) is None for name in NEEDED) or os.getuid() != 0,
    reason="needs root and a Slurm: apt-get install slurm-wlm munge",
  ),
]
BATCH, CLUSTER, STUDY = (
  ROOT / "launch" / "slurm.sbatch",
  Path(__file__).parent / "cluster.sh",
  "tests/slurm/study.py",
)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> Iterator[dict[str, str]]:
  """The environment of its commands."""
  folder = tmp_path_factory.mktemp("slurm")
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    port = probe.getsockname()[1]
  environment = os.environ | {
    "SLURM_CONF": str(folder / "slurm.conf"),
    "PORT": str(port if port < 60000 else port - 10000),
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
    "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
    "COMPILE_CACHE": str(tmp_path_factory.mktemp("xla")),
  }
  # The daemons outlive the script and would keep a pipe open.
  started = subprocess.run(
    ["bash", str(CLUSTER), "start", str(folder)],
    env=environment,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  try:
    if started.returncode:
      pytest.skip(f"a Slurm cluster does not start here: {(folder / 'log' / 'slurmctld').read_text()[-300:]}")
    yield environment
  finally:
    subprocess.run(["bash", str(CLUSTER), "stop", str(folder)], env=environment, timeout=60)


class Job:
  def __init__(self, slurm: dict[str, str], folder: Path, tasks: int, *flags: str):
    self._slurm, self.log = slurm, folder / "log"
    line = ["sbatch", "--parsable", f"--ntasks={tasks}", "--cpus-per-task=1", f"--output={self.log}"]
    made = self.slurm(*line, str(BATCH), *flags)
    self.id = made.strip()

  def slurm(self, *line: str) -> str:
    ran = subprocess.run(line, env=self._slurm, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, (line, ran.stderr)
    return ran.stdout

  @property
  def state(self) -> str:
    """Of a job in its queue, or of one that has ended."""
    about = self.slurm("scontrol", "show", "job", self.id)
    return about.split("JobState=")[1].split()[0]

  def process(self, task: int) -> int:
    """Of a task, its python."""
    for folder in Path("/proc").glob("[0-9]*"):
      try:
        environment = (folder / "environ").read_bytes().split(b"\0")
        line = (folder / "cmdline").read_bytes().split(b"\0")
      except OSError:
        continue
      job, number = f"SLURM_JOB_ID={self.id}".encode(), f"SLURM_PROCID={task}".encode()
      if (
        line[0].endswith(b"python")
        and b"synthjax.main" in line
        and job in environment
        and number in environment
      ):
        return int(folder.name)
    raise AssertionError(f"task {task} is not there")

  def wait_for(self, holds: Callable[[], bool], seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not holds():
      assert time.monotonic() < until, self.log.read_text()[-2000:]
      time.sleep(0.1)

  def wait(self, state: str = "COMPLETED") -> None:
    self.wait_for(lambda: self.state not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"))
    assert self.state == state, self.log.read_text()[-2000:]


def alone(slurm: dict[str, str], workdir: Path, arg: str = "") -> None:
  cache = f"--config.runtime.compile_cache={slurm['COMPILE_CACHE']}"
  line = [sys.executable, "-m", "synthjax.main", f"--config={STUDY}{arg}", f"--workdir={workdir}", cache]
  ran = subprocess.run(line, env=slurm, cwd=ROOT, capture_output=True, text=True)
  assert ran.returncode == 0, ran.stderr


def contents(workdir: Path) -> dict[str, str]:
  """Of the images and the rows."""
  files = [*workdir.glob("images/*/*.array_record-*"), workdir / "results.jsonl"]
  return {str(f.relative_to(workdir)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_a_task_stopped_a_job_queued_again_and_a_lost_node_change_no_byte(slurm, tmp_path):
  alone(slurm, tmp_path / "alone")
  images = tmp_path / "shared" / "images" / "T"

  def made() -> int:
    return len(list(images.glob("*.array_record-*")))

  job = Job(slurm, tmp_path, 4, f"--config={STUDY}", f"--workdir={tmp_path / 'shared'}")
  job.wait_for(lambda: made() > 4)
  os.kill(job.process(2), signal.SIGTERM)
  job.wait_for(lambda: "stopped by signal 15" in job.log.read_text())
  before = made()
  job.wait_for(lambda: made() > before + 4)  # the others go on
  job.slurm("scontrol", "requeue", job.id)
  job.wait_for(lambda: job.state == "PENDING")
  before = made()
  assert before < 80, "the study was over before the job was queued again"
  job.wait_for(lambda: made() > before)
  job.slurm("scontrol", "update", "nodename=n3", "state=down", "reason=test")
  job.wait_for(lambda: "DUE TO NODE FAILURE" in job.log.read_text())
  assert made() < 80, "the study was over before the node was lost"
  job.wait()
  assert "Restarts=2" in job.slurm("scontrol", "show", "job", job.id)
  assert contents(tmp_path / "shared") == contents(tmp_path / "alone")
  assert len(contents(tmp_path / "alone")) == 81
  assert not list((tmp_path / "shared").rglob("*.claim.*"))


def test_joined_tasks_are_stopped_and_go_on_as_fewer_with_the_same_batches(slurm, tmp_path):
  def rows(workdir: Path) -> dict[int, float]:
    (file,) = workdir.glob("runs/*/seed-0/metrics.jsonl")
    read = [json.loads(line) for line in file.read_text().splitlines()]
    return {row["step"]: row["loss"] for row in read if "loss" in row}

  alone(slurm, tmp_path / "alone", ":learn")
  # Of itself jax asks the first node by its name, which is none of a machine here.
  slurm = slurm | {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{int(slurm['PORT']) + 6}"}
  shared = tmp_path / "shared"
  flags = (f"--config={STUDY}:learn", f"--workdir={shared}", "--distributed=on")
  job = Job(slurm, tmp_path, 4, *flags)
  job.wait_for(lambda: bool(list(shared.glob("runs/*/seed-0/checkpoints/[0-9]*/*"))))
  os.kill(job.process(1), signal.SIGTERM)  # all leave at one step
  job.wait_for(lambda: job.state == "PENDING")  # and the script has the job queued again
  assert job.log.read_text().count("stopped by signal 15") == 4
  job.slurm("scancel", job.id)
  after = Job(slurm, tmp_path, 2, *flags)
  after.wait()
  found, expected = rows(shared), rows(tmp_path / "alone")
  assert set(found) == set(expected) and len(expected) > 10
  assert all(abs(found[step] - expected[step]) <= 1e-3 * abs(expected[step]) for step in expected)
