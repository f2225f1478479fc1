import os
import time

import pytest
from etils import epath

from synthjax.disk import drafts, workdir
from synthjax.runtime.stopping import Stop
from synthjax.store.claim_files import DiskFiles
from synthjax.store.claiming import Seen
from synthjax.store.claims import Lost, Owner
from synthjax.store.sharing import is_any_free
from tests.conftest import dead_process


@pytest.fixture
def on_disk(tmp_path) -> epath.Path:
  """For what makes times old, or starts processes: tests/object_stores has these for buckets."""
  return epath.Path(tmp_path)


@pytest.fixture(params=["disk", "bucket"])
def product(request, on_disk) -> epath.Path:
  return on_disk if request.param == "disk" else request.getfixturevalue("in_memory")


def test_one_of_two_gets_it_and_a_release_frees_it(product):
  with Owner(product) as a, Owner(product) as b:
    assert a.take("x") and not b.take("x") and b.take("y")
    a.release("x")
    assert b.take("x")
  assert workdir.names(product) == []  # nothing is left behind


def test_many_threads_of_owners_share_without_overlap(product):
  from concurrent.futures import ThreadPoolExecutor

  def work(_):
    with Owner(product, heartbeat_seconds=0.1, stale_seconds=30) as owner:
      return [i for i in range(60) if owner.take(f"{i:03d}") and not time.sleep(0.002)], time.sleep(0.5)

  with ThreadPoolExecutor(8) as pool:
    taken = [i for got, _ in pool.map(work, range(8)) for i in got]
  assert sorted(taken) == list(range(60))


def test_a_dead_process_of_this_host_is_seen_at_once(on_disk):
  dead_process(on_disk, "x")
  with Owner(on_disk) as owner:
    assert owner.take("x")
    assert not list((on_disk / workdir.WORKING).glob("*.part"))
    owner.release("x")
  assert workdir.names(on_disk) == []


def test_a_dead_process_of_another_host_is_seen_when_its_heartbeat_is_old(on_disk):
  dead_process(on_disk, "x", host="elsewhere")
  with Owner(on_disk, stale_seconds=60) as owner:
    assert not owner.take("x")
  alive = next((on_disk / workdir.WORKING).glob("*.alive"))
  os.utime(alive, (time.time() - 61,) * 2)
  with Owner(on_disk, stale_seconds=60) as a, Owner(on_disk, stale_seconds=60) as b:
    assert [a.take("x"), b.take("x")] == [True, False]  # the void claim is re-taken once


def test_the_claim_of_one_who_died_after_landing_is_forgotten(on_disk):
  dead_process(on_disk, "train-00001", host="elsewhere")
  (on_disk / "train-00001").write_text("landed")
  with Owner(on_disk) as other:
    assert other.take("train-00002")
    with Owner(on_disk):
      pass
    assert workdir.names(on_disk / workdir.WORKING, "*.claim.*") == ["train-00002.claim.0000"]


def test_drafts_of_the_dead_go_and_those_of_the_living_stay(on_disk):
  (on_disk / "shards").mkdir()
  final = on_disk / "shards" / "train-00001.json"
  old, young = (final.with_name(f".{final.name}.{letter * 32}") for letter in "ab")  # of another machine
  others = [on_disk / ".record.json", on_disk / "shards" / ".notes.txt", drafts.draft_of(on_disk / "folder")]
  others[2].mkdir()
  for file in (old, young, *others[:2]):
    file.write_text("{}")
  for path in (old, *others):
    os.utime(path, (time.time() - 61,) * 2)
  with Owner(on_disk, stale_seconds=60):
    pass
  assert not old.exists() and all(path.exists() for path in (young, *others))


def test_the_heartbeat_keeps_a_long_work_alive(product):
  with Owner(product, heartbeat_seconds=0.1, stale_seconds=0.5) as a:
    assert a.take("x")
    time.sleep(1.0)
    with Owner(product, heartbeat_seconds=0.1, stale_seconds=0.5) as b:
      assert not b.take("x")


def test_owners_that_come_and_go_do_not_trip_over_the_empty_folder(product):
  from concurrent.futures import ThreadPoolExecutor

  def come_and_go(_):
    for _ in range(150):
      with Owner(product):
        pass

  with ThreadPoolExecutor(4) as pool:
    list(pool.map(come_and_go, range(4)))


def test_who_was_stopped_for_long_holds_its_claim_no_more(product):
  with Owner(product) as stopped, Owner(product, stale_seconds=-1.0) as other:
    assert stopped.take("x") and stopped.holds("x") and not stopped.holds("y")
    assert other.take("x") and other.holds("x") and not stopped.holds("x")
    stopped.release("x")  # the claim is the other's to remove
    assert other.holds("x")
    other.release("x")
    assert not other.holds("x")


def test_a_claim_that_another_began_anew_is_not_taken_for_the_own_one(product):
  with Owner(product) as stopped, Owner(product, stale_seconds=-1.0) as other:
    assert stopped.take("x") and other.take("x")
    other.release("x")
    with Owner(product) as third:
      assert third.take("x")  # under the name that the first one's claim had
      assert not stopped.holds("x")
      stopped.release("x")
      assert third.holds("x")


# --- a process that stood still, and was taken for dead ------------------------------------------------


def stand_still(product, owner: Owner, *, sweeps: bool = False) -> None:
  """Its heartbeat grows old meanwhile, and another process makes the part that it holds."""
  owner._beaten -= 60
  beat = product / workdir.WORKING / f"{owner.id}.alive"
  os.utime(beat, (time.time() - 60,) * 2)
  with Owner(product, stale_seconds=30) as other:
    assert other.take("x")
    if sweeps:
      (product / "x").write_text("made by the other")


def sleeper(product) -> Owner:
  return Owner(product, heartbeat_seconds=600, stale_seconds=30)


def test_work_on_what_another_has_taken_over_ends_at_the_next_look_whether_to_stop(on_disk):
  with Stop() as stop, sleeper(on_disk) as owner:
    assert owner.take("x")
    with pytest.raises(Lost), owner.making(stop):
      assert not stop.requested
      stand_still(on_disk, owner)
      stop.check()
    assert not stop.requested  # what it does next is no longer watched


@pytest.mark.parametrize("sweeps", [False, True])
def test_whatever_fails_after_a_takeover_is_no_error(on_disk, sweeps):
  with Stop() as stop, sleeper(on_disk) as owner:
    assert owner.take("x")
    with pytest.raises(Lost), owner.making(stop):
      stand_still(on_disk, owner, sweeps=sweeps)
      raise RuntimeError("the file that was being written is gone")


def test_what_fails_while_a_part_is_held_is_an_error(product):
  with Stop() as stop, sleeper(product) as owner:
    assert owner.take("x")
    with pytest.raises(RuntimeError), owner.making(stop):
      raise RuntimeError("a bug")


def test_a_draft_of_what_was_taken_over_is_not_written_again(on_disk):
  """Stopped just before it gives a file its name."""
  with Stop() as stop, sleeper(on_disk) as owner:
    assert owner.take("x")
    replace = os.replace

    def stopped(made, final):
      os.replace = replace
      time.sleep(0.01)  # the disk's clock
      stand_still(on_disk, owner)
      workdir.replace_bytes(on_disk / "notes.json", b"the other's")
      return replace(made, final)

    with pytest.raises(Lost), owner.making(stop):
      os.replace = stopped
      try:
        workdir.replace_bytes(on_disk / "notes.json", b"the first one's")
      finally:
        os.replace = replace
  assert (on_disk / "notes.json").read_bytes() == b"the other's"


def test_an_owner_whose_folder_was_removed_meanwhile_takes_parts_again(product):
  with sleeper(product) as owner:
    workdir.remove_folder(product / workdir.WORKING)
    assert owner.take("x") or owner.take("x")
  assert workdir.names(product) == []


# --- parts that are shared ------------------------------------------------------------------------------


def publish(product, owner: Owner, name: str) -> str:
  (product / name).write_text(owner.id)
  owner.release(name)
  return name


NAMES = [f"part-{i:05d}" for i in range(12)]


def test_who_is_alone_takes_the_parts_in_their_order(product):
  with Owner(product) as owner:
    assert [publish(product, owner, name) for name in owner.share(NAMES)] == NAMES
    assert list(owner.share(NAMES)) == []
  assert workdir.names(product) == NAMES


def test_owners_beside_one_another_share_all_parts_without_overlap(product):
  from concurrent.futures import ThreadPoolExecutor

  names = [f"part-{i:05d}" for i in range(200)]

  def work(_):
    made = []
    with Owner(product, heartbeat_seconds=0.1, stale_seconds=30) as owner:
      for name in owner.share(names):
        time.sleep(0.002)
        assert not (product / name).exists()
        made.append(publish(product, owner, name))
    return made

  with ThreadPoolExecutor(8) as pool:
    made = list(pool.map(work, range(8)))
  assert sorted(name for some in made for name in some) == names == workdir.names(product)
  assert sum(bool(some) for some in made) > 4


def test_parts_of_the_dead_come_last_and_those_of_the_living_stay_with_them(on_disk):
  dead_process(on_disk, NAMES[3])
  with Owner(on_disk) as other, Owner(on_disk) as owner:
    assert other.take(NAMES[5])
    made = [publish(on_disk, owner, name) for name in owner.share(NAMES)]
    assert made[-1] == NAMES[3] and sorted(made) == [n for n in NAMES if n != NAMES[5]]
    assert other.holds(NAMES[5])


def test_what_is_published_between_the_listing_and_the_claim_is_not_given(product):
  with Owner(product) as owner:
    parts = owner.share(NAMES[:3])
    assert next(parts) == NAMES[0]
    (product / NAMES[1]).write_text("made by another")
    assert next(parts) == NAMES[2]
    assert not owner.holds(NAMES[1])


def test_a_claim_that_came_since_the_last_listing_is_of_the_living(product):
  """So it is not inspected before its owner's heartbeat can be stale; but then it is."""
  seen, files, now = Seen(), DiskFiles(product), 1000.0
  with Owner(product, stale_seconds=60) as other:
    assert is_any_free(files, NAMES[:1], seen, 60, now)
    assert other.take(NAMES[0])
    assert not is_any_free(files, NAMES[:1], seen, 60, now + 59)
    assert is_any_free(files, NAMES[:1], seen, 60, now + 60)
    assert is_any_free(files, NAMES[:2], seen, 60, now)


def test_a_claim_of_a_dead_process_of_this_host_is_worth_a_look_at_once(on_disk):
  seen, files = Seen(), DiskFiles(on_disk)
  assert is_any_free(files, NAMES[:1], seen, 60, 0.0)
  dead_process(on_disk, NAMES[0])
  assert is_any_free(files, NAMES[:1], seen, 60, 1.0)
