"""The servers that tests of object stores run against keep what the clouds promise, and the proxy breaks it as a network does."""

import contextlib
import dataclasses
import datetime
import functools
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.object_stores import proxy, servers

obstore = pytest.importorskip("obstore", reason="needs the extra buckets")
from obstore import exceptions  # noqa: E402

CLIENTS = 100
QUICK = {
  "init_backoff": datetime.timedelta(milliseconds=5),
  "max_backoff": datetime.timedelta(milliseconds=20),
}


@pytest.fixture(scope="module", params=servers.SERVERS)
def running(request) -> Iterator[servers.Server]:
  with servers.SERVERS[request.param]() as one:
    yield one


@pytest.fixture
def server(running) -> servers.Server:
  return running.fresh()


@pytest.fixture
def between(server) -> Iterator[proxy.Proxy]:
  with proxy.before(server.port) as one:
    yield one


def client(server: servers.Server, between: proxy.Proxy, retries: int = 5, timeout: str = "30s"):
  return server.at(between.port).store(
    client={"timeout": timeout}, retry={"max_retries": retries, "backoff": QUICK}
  )


def version(put) -> dict[str, str]:
  """Of an object, as a condition: obstore 0.12.1 takes no None there, though it gives one."""
  return {name: value for name, value in put.items() if value is not None}


def winners(attempt: Callable[[int], object], n: int = CLIENTS) -> list[int]:
  """Which of n threads that begin at once were not told that another was first."""
  begin = threading.Barrier(n)

  def one(i: int) -> bool:
    begin.wait()
    with contextlib.suppress(exceptions.AlreadyExistsError, exceptions.PreconditionError):
      attempt(i)
      return True
    return False

  with ThreadPoolExecutor(n) as pool:
    return [i for i, won in enumerate(pool.map(one, range(n))) if won]


# --- what the clouds promise --------------------------------------------------------------------------


def test_one_of_100_creates_wins(server):
  store = server.store()
  for name in ("a", "b"):
    won = winners(lambda i, name=name: obstore.put(store, name, b"%d" % i, mode="create"))
    assert len(won) == 1 and obstore.get(store, name).bytes() == b"%d" % won[0]


def test_one_of_100_replacements_of_a_version_wins(server):
  store = server.store()
  old = version(obstore.put(store, "a", b"first"))
  for k in range(2):
    won = winners(lambda i, k=k, old=old: obstore.put(store, "a", b"%d %d" % (k, i), mode=old))
    assert len(won) == 1 and obstore.get(store, "a").bytes() == b"%d %d" % (k, won[0])
    old = version({name: obstore.head(store, "a")[name] for name in old})


PROCESS = """
import concurrent.futures, sys
import obstore
store = obstore.store.from_url(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
def attempt(i):
  try:
    obstore.put(store, "claim", b"%s %d" % (sys.argv[2].encode(), i), mode="create")
    return True
  except obstore.exceptions.AlreadyExistsError:
    return False
with concurrent.futures.ThreadPoolExecutor(25) as pool:
  print([i for i, won in enumerate(pool.map(attempt, range(25))) if won])
"""


def test_one_of_four_processes_wins_who_know_the_server_by_its_environment(server):
  command = [sys.executable, "-c", PROCESS, server.url]
  with contextlib.ExitStack() as stack:
    processes = [
      stack.enter_context(
        subprocess.Popen(
          [*command, str(k)],
          env=os.environ | server.environment,
          stdin=subprocess.PIPE,
          stdout=subprocess.PIPE,
          text=True,
        )
      )
      for k in range(4)
    ]
    assert all(p.stdout.readline() == "ready\n" for p in processes)
    for p in processes:
      p.stdin.write("\n")
      p.stdin.flush()
    told = [p.communicate()[0].strip() for p in processes]
  won = [(k, text.strip("[]")) for k, text in enumerate(told) if text != "[]"]
  assert len(won) == 1 and obstore.get(server.store(), "claim").bytes() == b"%d %s" % (
    won[0][0],
    won[0][1].encode(),
  )


def test_s3_looks_and_writes_in_one_step(monkeypatch):
  """Which moto by itself does not: with time between the two, all ten would win."""
  with servers.s3() as server:
    from moto.s3.models import S3Backend

    write = S3Backend.put_object

    def late(*args, **settings):
      time.sleep(0.05)
      return write(*args, **settings)

    monkeypatch.setattr(S3Backend, "put_object", late)
    store = server.store()
    assert len(winners(lambda i: obstore.put(store, "a", b"%d" % i, mode="create"), 10)) == 1


@pytest.mark.parametrize("n", [250, pytest.param(2500, marks=pytest.mark.slow)])
def test_a_listing_is_complete(server, monkeypatch, n):
  """In three pages of S3's, and 2,500 in three of Google's (`test_gcs.py` has small ones); a page of Azure's has 5,000."""
  monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", str(n // 5 * 2))
  store = server.store()
  names = {f"x/{i % 7}/{i}" for i in range(n)}
  with ThreadPoolExecutor(16) as pool:
    list(pool.map(lambda name: obstore.put(store, name, name.encode()), names))
  found = [meta for page in obstore.list(store) for meta in page]
  assert len(found) == n and {(m["path"], m["size"]) for m in found} == {(name, len(name)) for name in names}


@pytest.mark.parametrize("name", ["a", "b/c.tar", "d e/ü & <1> 'x' 100% +#?.json"])
def test_what_is_put_is_got(server, name):
  store = server.store("folder")
  body = random.Random(0).randbytes(3000)
  put = obstore.put(store, name, body, mode="create")
  meta = obstore.head(store, name)
  assert bytes(obstore.get(store, name).bytes()) == body
  assert (meta["path"], meta["size"], meta["e_tag"]) == (name, 3000, put["e_tag"])
  assert abs(meta["last_modified"].timestamp() - time.time()) < 60
  assert bytes(obstore.get_range(store, name, start=10, end=30)) == body[10:30]
  assert bytes(obstore.get(store, name, options={"range": {"offset": 2990}}).bytes()) == body[2990:]
  if server.scheme != "az":  # which has no such range
    assert bytes(obstore.get(store, name, options={"range": {"suffix": 7}}).bytes()) == body[-7:]
  with pytest.raises(exceptions.NotModifiedError):
    obstore.get(store, name, options={"if_none_match": put["e_tag"]})
  assert [m["path"] for page in obstore.list(store) for m in page] == [name]
  again = obstore.put(store, name, b"other", mode=version(put))
  assert version(again) != version(put) and bytes(obstore.get(store, name).bytes()) == b"other"
  with pytest.raises(exceptions.PreconditionError):
    obstore.put(store, name, b"third", mode=version(put))
  obstore.copy(store, name, "copied")
  obstore.delete(store, name)
  assert [m["path"] for page in obstore.list(store) for m in page] == ["copied"]
  for absent in (obstore.get, obstore.head):
    with pytest.raises(FileNotFoundError):
      absent(store, name)


def test_folders_are_listed_as_such(server):
  store = server.store()
  for name in ("a/1", "a/2/3", "a/2/4", "a/22/5", "ab/6", "7"):
    obstore.put(store, name, b"")
  top, below = (obstore.list_with_delimiter(store, prefix) for prefix in (None, "a"))
  assert (top["common_prefixes"], [m["path"] for m in top["objects"]]) == (["a", "ab"], ["7"])
  assert (below["common_prefixes"], [m["path"] for m in below["objects"]]) == (["a/2", "a/22"], ["a/1"])
  after = [m["path"] for page in obstore.list(store, "a", offset="a/2/3") for m in page]
  assert after == ["a/2/4", "a/22/5"]


def test_a_large_object_goes_in_parts(server, between):
  body = random.Random(1).randbytes(11 << 20)
  store = server.at(between.port).store()
  obstore.put(store, "large", body)
  assert bytes(obstore.get(store, "large").bytes()) == body
  assert between.counts["multipart"] >= 4 and between.counts["put"] == 0  # three parts, and their list


def test_a_bucket_that_is_absent_is_said_to_be(server):
  other = dataclasses.replace(server, url=f"{server.scheme}://nowhere")
  with pytest.raises((FileNotFoundError, exceptions.GenericError), match=r"404|NotFound|not found|NoSuch"):
    list(obstore.list(other.store()))


# --- what goes wrong on the way -----------------------------------------------------------------------

GENERIC, OWN, FINE = "GenericError", "AlreadyExistsError", "put"
TIMEOUT = "300ms"
# Misbehaviour, whether done: then without retries, with retries, and whether the store has the put then.
CREATES = {
  ("500", False): (GENERIC, FINE, True),
  ("503", False): (GENERIC, FINE, True),
  ("429", False): (GENERIC, FINE, True),
  ("close", False): (GENERIC, FINE, True),
  ("500", True): (GENERIC, OWN, True),
  ("503", True): (GENERIC, OWN, True),
  ("close", True): (GENERIC, OWN, True),
  ("silence", False): (GENERIC, GENERIC, False),
  ("silence", True): (GENERIC, GENERIC, True),
  ("reset upload", False): (GENERIC, GENERIC, False),
  ("reset download", False): (GENERIC, GENERIC, True),
}


def outcome(act: Callable[[], object]) -> str:
  try:
    act()
  except Exception as e:  # noqa: BLE001
    return type(e).__name__
  return FINE


def there(server: servers.Server, name: str, soon: bool = False) -> bytes | None:
  """Without the proxy. `soon`: the server may still be at it, since the client did not wait for its answer."""
  end = time.monotonic() + 10 * soon
  while soon and time.monotonic() < end and outcome(lambda: obstore.head(server.store(), name)) != FINE:
    time.sleep(0.02)
  try:
    return bytes(obstore.get(server.store(), name).bytes())
  except FileNotFoundError:
    return None


@pytest.mark.parametrize(("how", "done"), CREATES)
def test_a_conditional_put(server, between, how, done):
  alone, again, stays = CREATES[how, done]
  was_done = done or how == "reset download"
  body = random.Random(3).randbytes(1 << 19)
  for name, retries, wanted, kept in (("a", 0, alone, was_done), ("b", 5, again, stays)):
    between.misbehave(how, of="put", done=done)
    store = client(server, between, retries, TIMEOUT if how == "silence" else "30s")
    assert outcome(functools.partial(obstore.put, store, name, body, mode="create")) == wanted
    assert there(server, name, kept) == (body if kept else None)  # whole, or not at all
  assert between.misbehaved == {how: 2} and between.counts["put"] == 2 + (again != GENERIC)


@pytest.mark.parametrize("how", ["500", "503", "429", "close", "silence", "reset upload", "reset download"])
def test_a_get_and_a_plain_put_are_tried_again(server, between, how):
  body = random.Random(4).randbytes(1 << 19)
  obstore.put(server.store(), "a", body)
  for retries in (0, 5):
    store = client(server, between, retries, TIMEOUT if how == "silence" else "30s")
    for act in (
      lambda store=store: obstore.put(store, "b", body),
      lambda store=store: obstore.get(store, "a").bytes(),
    ):
      between.misbehave(how)
      assert outcome(act) == (FINE if retries else GENERIC)
  assert bytes(obstore.get(client(server, between), "a").bytes()) == there(server, "b") == body
  assert between.misbehaved == {how: 4}


def test_a_get_goes_on_where_it_broke_off(server, between):
  body = random.Random(5).randbytes(1 << 20)
  store = client(server, between)
  obstore.put(store, "a", body)
  between.misbehave("reset download", 3, of="get")
  assert b"".join(bytes(block) for block in obstore.get(store, "a").stream()) == body
  assert between.counts["get"] == 4


def test_a_listing_that_broke_off_is_not_tried_again(server, between):
  store = client(server, between)
  obstore.put(store, "a", b"")
  for how, wanted in (("503", FINE), ("reset download", GENERIC)):
    between.misbehave(how, of="list")
    assert outcome(lambda: list(obstore.list(store))) == wanted


def test_a_deletion_that_was_done_is_absent_the_second_time(server, between):
  store = client(server, between)
  obstore.put(store, "a", b"")
  between.misbehave("500", of="delete", done=True)
  wanted = FINE if server.scheme == "s3" else "FileNotFoundError"
  if wanted == FINE:
    obstore.delete(store, "a")
  else:
    with pytest.raises(FileNotFoundError):
      obstore.delete(store, "a")
  assert there(server, "a") is None and between.counts["delete"] == 2


def test_requests_are_counted_by_kind(server, between):
  store = client(server, between)
  obstore.put(store, "a", b"1")
  obstore.put(store, "b", b"1", mode="create")
  obstore.get(store, "a").bytes()
  obstore.head(store, "a")
  obstore.copy(store, "a", "c")
  list(obstore.list(store))
  obstore.list_with_delimiter(store)
  obstore.delete(store, "a")
  kinds = {name: n for name, n in between.counts.items() if name.islower()}
  assert kinds == {"put": 2, "get": 1, "head": 1, "copy": 1, "list": 2, "delete": 1}
  assert between.counts["PUT"] == 3 and between.counts["HEAD"] == 1


def test_rules_choose_by_name_and_by_seeded_chance(server, between):
  store = client(server, between, retries=0)

  def course(seed: int) -> list[bool]:
    between.misbehave("500", None, name="claims/", probability=0.3, seed=seed)
    got = [outcome(lambda i=i: obstore.put(store, f"claims/{i}", b"")) == FINE for i in range(40)]
    assert outcome(lambda: obstore.put(store, "other", b"")) == FINE
    between.behave()
    return got

  first = course(1)
  assert course(1) == first != course(2) and 5 < first.count(False) < 25
  assert outcome(lambda: obstore.put(store, "claims/x", b"")) == FINE


def test_nothing_answers_after_the_end(server):
  """Not by a connection that the client has kept either."""
  with proxy.before(server.port) as between:
    store = client(server, between, retries=0)
    assert outcome(lambda: obstore.put(store, "a", b"")) == FINE
  assert outcome(lambda: obstore.get(store, "a")) == GENERIC
