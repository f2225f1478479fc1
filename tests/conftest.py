"""Several CPU devices, a small generator, and the oracle: PyTorch, which CI must have."""

import ctypes
import gc
import importlib.util
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import pytest

from synthjax.generators import random_weights
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from tests import cache_of_programs, forked_commands

ROOT = Path(__file__).parent.parent


# The modules of a minute and more, longest first, as `launch/test.sh --all --durations=0` shows them.
LONGEST = """
  learning/test_processes test_faults object_stores/test_shared_bucket golden/test_workdir sampling/test_program products/test_train study/test_study
  products/test_published_data_sets scaling/test_law_intervals test_woken_owners learning/test_topology test_study_faults
  test_damage sampling/test_trajectories generators/test_published_sizes learning/test_resume test_main products/test_keep
  test_killed_writers learning/test_side_by_side products/test_transfer learning/test_damaged_checkpoints
  products/test_sample generators/test_stable_diffusion encoders/test_full_size test_other_contents
  products/test_device_residents data/test_augment products/test_learn encoders/test_image_network
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """Long modules come first: at the end, no worker waits for another that has just begun one."""
  places = {ROOT / "tests" / f"{module}.py": place for place, module in enumerate(LONGEST.split())}
  items.sort(key=lambda item: places.get(item.path, len(places)))


def xla_flags(devices: int) -> str:
  """For another process, that has so many."""
  kept = [flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag]
  return " ".join([*kept, f"--xla_force_host_platform_device_count={devices}"])


def cluster(n: int) -> list[dict[str, str]]:
  """What a launcher tells each of n processes on this host."""
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    told = {
      "JAX_COORDINATOR_ADDRESS": f"localhost:{probe.getsockname()[1]}",
      "JAX_NUM_PROCESSES": str(n),
    }
  return [told | {"JAX_PROCESS_ID": str(i)} for i in range(n)]


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
  """A checkpoint folder with random weights. Do not write into it."""
  return random_weights.make("tiny", tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture
def small(weights):
  """A study of seconds: 3 classes, two prompt lists, two steps."""

  def make(tmp_path: Path, **sampling):
    labels = tmp_path / "labels.yaml"
    templates = "templates: ['a {}', 'the {}', 'one {}', 'a drawing of a {}']"
    labels.write_text(f"classes: {{a: ant, b: bee, c: cat}}\n{templates}\n")
    config = fields_of.study_config(labels=str(labels))
    config.prompts.B = fields_of.prompt_list("B")
    config.prompts.T = fields_of.prompt_list("templates")
    config.sets.B = fields_of.image_set("B")
    config.sampling.generator = str(weights)
    config.sampling.steps = 2
    config.sampling.images_per_class = 5
    config.sampling.images_per_shard = 4
    config.sampling.per_device_batch = 2
    config.runtime.compile_cache = ""
    config.sampling.update(sampling)
    return config

  return make


@pytest.fixture
def digits(weights):
  """A whole study of seconds: random generators' images of the ten digits, filtered by the CLIP that ships."""

  def make(**sampling):
    config = fields_of.study_config(labels="digits")
    config.study = "small"
    config.prompts.LE = fields_of.prompt_list("LE", per_class=4, draws=6)
    config.sets.LE = fields_of.image_set("LE")
    config.sampling.generator = str(weights)
    config.sampling.update(
      dict(steps=2, images_per_class=4, images_per_shard=16, per_device_batch=8) | sampling
    )
    config.encoders.clip = fields_of.encoder()
    config.filters.CF = fields_of.image_filter("clip", kept_per_class=3, max_rounds=2)
    config.tests.digits = "embedded:digits:first"
    config.tuning.update(batch=16, epochs=4)
    config.arms["zero-shot"] = fields_of.arm()
    config.arms["LE+CE"] = fields_of.arm("LE")
    config.arms["LE+CF+SCE"] = fields_of.arm("LE/CF", loss="SCE")
    config.seeds = 2
    config.runtime.compile_cache = ""
    return config

  return make


@pytest.fixture(scope="session")
def torch():
  if importlib.util.find_spec("torch") is None:
    if os.environ.get("CI"):
      pytest.fail("CI must have PyTorch: a skipped parity test says nothing")
    pytest.skip("needs PyTorch: pip install -e '.[parity]'")
  import torch

  torch.set_num_threads(1)  # its threads spin while they wait for one another, and other tests run beside
  return torch


@pytest.fixture(scope="session", autouse=True)
def compile_cache(tmp_path_factory) -> str:
  """Of this session, for its workers and the processes that they start: many tests compile the same programs."""
  folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
  if not folder:
    base = tmp_path_factory.getbasetemp()
    folder = str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "xla")
  os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "1e9"  # who is started reads and does not write
  cache_of_programs.use(folder)
  return folder


@pytest.fixture(scope="module", autouse=True)
def memory():
  """What jax keeps of the programs of a hundred modules comes to gigabytes: it is given back between two of them."""
  yield
  with open("/proc/self/statm") as file:
    resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
  if resident > 2 * 2**30:
    jax.clear_caches()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="session")
def without_torch(tmp_path_factory) -> str:
  """Goes first on a process's path: diffusers would import PyTorch where there is one, for half of the start."""
  folder = tmp_path_factory.mktemp("path")
  (folder / "torch.py").write_text("raise ImportError('not in this process')\n")
  return str(folder)


@pytest.fixture(scope="session")
def environment_of(compile_cache, without_torch) -> Callable[[int, dict | None], dict[str, str]]:
  """Of a process with so many devices."""

  def make(devices: int, env: dict | None = None) -> dict[str, str]:
    return os.environ | {
      "XLA_FLAGS": xla_flags(devices),
      "PYTHONPATH": f"{without_torch}{os.pathsep}{ROOT}",
      "USE_TORCH": "0",
      **(env or {}),
    }

  return make


@pytest.fixture
def command(environment_of):
  """Starts `python -m synthjax.main` in a process of its own; whatever still runs at the end of the test is ended."""
  started: list[subprocess.Popen] = []

  def start(*args: str, devices: int = 1, env: dict | None = None) -> subprocess.Popen:
    line = [sys.executable, "-m", "synthjax.main", "--config.runtime.compile_cache=", *args]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started.append(subprocess.Popen(line, env=environment_of(devices, env), cwd=ROOT, **pipes))
    return started[-1]

  yield start
  for process in started:
    if process.poll() is None:
      process.kill()
    process.communicate()


@pytest.fixture
def forked(environment_of, tmp_path_factory):
  """Does what `command` does, without the seconds of a start; for tests that are not about the start."""
  folder, numbers, started = tmp_path_factory.mktemp("said"), itertools.count(), []

  def start(
    *args: str, devices: int = 1, env: dict | None = None, prepare: Callable[[Path], object] | None = None
  ) -> forked_commands.Forked:
    line, log = ["--config.runtime.compile_cache=", *args], folder / f"{next(numbers):03d}.log"
    started.append(forked_commands.start(line, environment_of(devices, env), log, prepare))
    return started[-1]

  yield start
  for process in started:
    process.kill()
    process.wait()


def said_of(run) -> str:
  """The one line that it ends in."""
  with pytest.raises(UserError) as e:
    run()
  assert "\n" not in str(e.value) and len(str(e.value)) < 500
  return str(e.value)


def dead_process(product, name: str, host: str = "") -> None:
  """Takes a claim and dies without a word."""
  code = f"""
import os
from etils import epath
from synthjax.runtime import processes
from synthjax.store import claims
if {host!r}: processes.host = lambda: {host!r}
owner = claims.Owner(epath.Path({str(product)!r}))
owner.__enter__()
assert owner.take({name!r})
owner.scratch("part").write_text("half")
os._exit(9)
"""
  assert subprocess.run([sys.executable, "-c", code]).returncode == 9


@pytest.fixture
def in_memory(monkeypatch):
  """A workdir in an object store that this process holds in its memory."""
  memory = pytest.importorskip("obstore.store", reason="needs the extra buckets").MemoryStore
  from synthjax.disk import bucket, objects, workdir

  stores = {}
  monkeypatch.setattr(objects, "open_store", lambda url, is_impatient=False: stores.setdefault(url, memory()))
  monkeypatch.setattr(bucket, "_roots", set())
  objects._connection.cache_clear()
  yield workdir.open_workdir("s3://birds/study")
  objects._connection.cache_clear()
