"""One look at the disk: what is read twice within it is read once, and nothing is remembered outside it."""

import threading

import pytest

from synthjax.disk.snapshot import once, one_look


@pytest.fixture
def read():
  class Read:
    times = 0

    def __call__(self):
      self.times += 1
      return self.times

  return Read()


def test_within_a_look_a_thing_is_read_once(read):
  with one_look():
    assert [once("a", read), once("a", read), once("b", read)] == [1, 1, 2]


def test_a_look_within_a_look_is_the_outer_one(read):
  with one_look():
    once("a", read)
    with one_look():
      assert once("a", read) == 1
    assert once("a", read) == 1


def test_nothing_is_remembered_outside_or_in_the_next_look(read):
  assert [once("a", read), once("a", read)] == [1, 2]
  for wanted in (3, 4):
    with one_look():
      assert once("a", read) == wanted


def test_what_fails_is_asked_again_and_the_look_ends(read):
  def fails():
    raise OSError

  with pytest.raises(OSError), one_look():
    once("a", fails)
  with one_look():
    assert once("a", read) == 1


def test_another_thread_takes_a_look_of_its_own(read):
  with one_look():
    once("a", read)
    found = []
    thread = threading.Thread(target=lambda: found.append(once("a", read)))
    thread.start()
    thread.join()
  assert found == [2]
