"""Shards held open: how many, for how long, for whom."""

import gc
import os
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from etils import epath

from synthjax.store import open_shards, shards
from synthjax.store.open_shards import OpenShards, Pool


class Opener:
  """Counts what it is asked to open."""

  def __init__(self):
    self.opened: list[int] = []

  def __call__(self, index: int) -> list[bytes]:
    self.opened.append(index)
    return [f"{index}/{i}".encode() for i in range(4)]


def test_a_shard_is_opened_once_and_the_least_recently_used_makes_room():
  opener, pool = Opener(), Pool(3)
  held = OpenShards(opener, pool)
  for index in (0, 1, 2, 0, 1, 2):
    assert held[index][1] == f"{index}/1".encode()
  assert opener.opened == [0, 1, 2] and len(pool) == 3
  held[0], held[3], held[0], held[2], held[1]
  assert opener.opened == [0, 1, 2, 3, 1] and len(pool) == 3


def test_sets_share_the_limit_and_not_their_shards():
  first, second, pool = Opener(), Opener(), Pool(3)
  one, other = OpenShards(first, pool), OpenShards(second, pool)
  one[0], one[1], other[0], other[1]
  assert (first.opened, second.opened, len(pool)) == ([0, 1], [0, 1], 3)
  one[0]
  assert first.opened == [0, 1, 0]


def test_what_nobody_reads_any_more_is_closed():
  opener, pool = Opener(), Pool(9)
  held, other = OpenShards(opener, pool), OpenShards(opener, pool)
  held[0], held[1], other[0]
  del held
  gc.collect()
  assert len(pool) == 1
  with pool._lock:  # the collector comes while a shard is being looked for
    del other
    gc.collect()
    assert len(pool) == 1
  third = OpenShards(opener, pool)
  assert third[5] and len(pool) == 1


def test_a_shard_that_cannot_be_opened_is_not_held():
  def fail(index):
    raise OSError("no")

  pool = Pool(3)
  with pytest.raises(OSError, match="no"):
    OpenShards(fail, pool)[0]
  assert len(pool) == 0


@pytest.fixture
def folder(tmp_path):
  for index in range(12):
    writer = shards.ShardWriter(epath.Path(tmp_path), index, epath.Path(tmp_path / f".{index}"))
    for i in range(5):
      writer.write(f"{index}/{i}".encode() * 100)
    writer.publish()
  return epath.Path(tmp_path)


def descriptors(folder) -> int:
  found = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
  return sum(path.startswith(str(folder)) for path in found)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="of Linux")
def test_threads_read_what_they_ask_for_while_shards_are_closed_around_them(folder):
  held = [OpenShards(lambda index: shards.ShardReader(folder / shards.shard_name(index)), Pool(3))]
  places, begin = [(7 * n % 12, n % 5) for n in range(3000)], threading.Barrier(4)

  def read(thread: int) -> bool:
    begin.wait()
    return all(held[0][s][i] == f"{s}/{i}".encode() * 100 for s, i in places[thread::4])

  with ThreadPoolExecutor(4) as threads:
    assert all(threads.map(read, range(4)))
  assert descriptors(folder) == 3
  held.clear()
  gc.collect()
  assert descriptors(folder) == 0


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
from synthjax.store import open_shards
print(open_shards._shared_pool().limit, *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_limit_is_half_of_what_the_system_allows_and_the_soft_one_is_raised():
  hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1] % (1 << 63), 1 << 20)
  if hard < 512:
    pytest.skip("the system allows few files")
  run = [sys.executable, "-c", LIMITED, "256", str(hard)]
  out = subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
  most = min(hard, open_shards._MOST)
  assert list(map(int, out)) == [most // 2, most, hard]
  run[-2:] = ["256", "256"]
  assert subprocess.run(run, check=True, capture_output=True, text=True).stdout.split() == [
    "128",
    "256",
    "256",
  ]
