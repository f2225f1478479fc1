"""Limits a minute and waiting after failures, by a clock that the tests move."""

import random

import pytest

from synthjax.prompts.pacing import Limits, Outage


class Clock:
  def __init__(self):
    self.now = 1000.0

  def __call__(self) -> float:
    return self.now


def sent(
  limits: Limits, clock: Clock, n: int, characters=0, max_tokens=0, tokens=None
) -> list[tuple[float, int]]:
  """When each of n requests is sent by one who always has another, and the tokens that it takes."""
  start, found = clock.now, []
  for i in range(n):
    booking = limits.book(characters, max_tokens)
    clock.now += booking.seconds
    taken = tokens(i) if tokens else characters // 4 + max_tokens
    limits.settle(booking, taken)
    found.append((clock.now - start, taken))
  return found


def fullest_minute(found: list[tuple[float, int]]) -> tuple[int, int]:
  """Requests and tokens of the 60 seconds that hold most of them."""
  windows = [[took for t, took in found if begin <= t < begin + 60 - 1e-6] for begin, _ in found]
  return max(map(len, windows)), max(map(sum, windows))


@pytest.mark.parametrize("limit", [1, 7, 60, 500])
def test_no_minute_has_more_requests_and_none_is_wasted(limit):
  clock = Clock()
  found = sent(Limits(limit, 0, clock), clock, 3 * limit + 1)
  assert fullest_minute(found)[0] == limit
  assert found[-1][0] == pytest.approx(180)


def test_no_minute_has_more_tokens_than_one_request_beyond():
  clock, generator = Clock(), random.Random(0)
  lengths = [generator.randrange(50, 400) for _ in range(300)]
  found = sent(
    Limits(0, 6000, clock), clock, 300, characters=400, max_tokens=1000, tokens=lambda i: 100 + lengths[i]
  )
  assert 5000 < fullest_minute(found)[1] <= 6000 + 500
  rate = sum(took for _, took in found) / found[-1][0] * 60
  assert 5700 < rate <= 6300


def test_what_was_not_sent_in_a_pause_is_not_made_up_for():
  clock = Clock()
  limits = Limits(60, 0, clock)
  assert limits.book(0, 0).seconds == 0
  clock.now += 300
  assert [limits.book(0, 0).seconds for _ in range(3)] == pytest.approx([0, 1, 2])


def test_without_limits_nobody_waits():
  clock = Clock()
  limits = Limits(0, 0, clock)
  assert {limits.book(10**6, 10**6).seconds for _ in range(100)} == {0}


def test_waits_grow_and_differ():
  outage = Outage(1e6, Clock())
  waits = [outage.failed(tries, None) for tries in range(1, 12)]
  assert all(0.5 * base <= w <= base for base, w in zip([0.5, 1, 2, 4, 8, 16, *[30] * 5], waits, strict=True))
  assert len(set(waits)) == len(waits)
  assert outage.failed(10**6, None) <= 30


def test_the_budget_is_of_failures_without_an_answer_between():
  clock = Clock()
  outage = Outage(100.0, clock)
  clock.now += 500  # nothing was asked: no failure
  assert outage.failed(1, None) <= 0.5
  clock.now += 99
  assert outage.failed(9, None) == 1  # the last try is when it ends
  outage.answered()
  assert outage.failed(9, None) > 10
  clock.now += 100
  assert outage.failed(1, None) is None
  assert Outage(0.0, clock).failed(1, None) is None


def test_a_time_that_the_server_names_is_for_all_and_within_the_budget():
  clock = Clock()
  outage = Outage(100.0, clock)
  assert outage.pause() <= 0
  assert outage.failed(1, 40.0) == 40 == outage.pause()
  clock.now += 10
  assert outage.failed(1, None) == 30  # another request's failure does not end the pause
  assert outage.failed(1, 1e9) == 90 == outage.pause()


def test_random_numbers_of_the_program_stay_as_they_are():
  state = random.getstate()
  Outage(10.0).failed(1, None)
  assert random.getstate() == state
