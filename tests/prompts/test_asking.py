"""Many classes ask one model: it is kept busy, and nothing that is answered is asked again."""

import collections
import dataclasses
import json

import pytest
from etils import epath

from synthjax.prompts import answers
from synthjax.prompts.answers import Answers
from synthjax.prompts.asking import Asking
from synthjax.prompts.requests import Answer, Request, chat
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop


class Echo:
  """Answers `TEXT!`, the newest request and the oldest at a time."""

  identity, capacity = {"model": "echo"}, 4

  def __init__(self):
    self.asked, self.most, self.queue = collections.Counter(), 0, []

  def check(self, where):
    del where

  def open(self):
    return self

  def ask(self, request):
    self.asked[request.text] += 1
    self.queue.append(request)
    self.most = max(self.most, len(self.queue))

  def answers(self, stop):
    stop.check()
    for place in (-1, 0)[: len(self.queue)]:
      request = self.queue.pop(place)
      yield request, Answer(f"{request.text}!", 1, 2)

  def close(self):
    self.queue.clear()


def of_class(name):
  first = yield [Request(text=f"{name} a"), Request(text=f"{name} b"), Request(text="shared")]
  assert [a.text for a in first] == [f"{name} a!", f"{name} b!", "shared!"]
  nothing = yield []
  assert list(nothing) == []
  (last,) = yield [Request(text=f"{name} c")]
  return f"{name}: {last.text}"


def run(folder, names, model=None, until=None):
  model = model or Echo()
  with Answers(epath.Path(folder), model.identity) as known:
    asking = Asking(model, known, Stop())
    found = {}
    for name, result in asking.results((n, of_class(n)) for n in names):
      found[name] = result
      if until and len(found) == until:
        break
  return found, model, asking.counts


def test_every_answer_reaches_who_asked_and_what_two_share_is_asked_once(tmp_path):
  names = [f"class {i}" for i in range(20)]
  found, model, counts = run(tmp_path, names)
  assert found == {n: f"{n}: {n} c!" for n in names}
  assert set(model.asked.values()) == {1} and len(model.asked) == 61
  assert (counts.answered, counts.answer_tokens) == (61, 122)
  assert 4 <= model.most <= 7  # as many as the model wants, and what one class adds


def test_a_run_that_was_cut_off_asks_nothing_twice(tmp_path):
  names = [f"class {i}" for i in range(20)]
  run(tmp_path, names, until=7)
  found, second, counts = run(tmp_path, names)
  assert len(found) == 20 and counts.answered == len(second.asked)
  answered = json.loads(
    "[" + ",".join(line for f in tmp_path.glob("*.jsonl") for line in f.read_text().splitlines()) + "]"
  )
  keys = [body["key"] for body in answered if "key" in body]
  assert len(keys) == len(set(keys)) == 61
  _, third, _ = run(tmp_path, names)
  assert not third.asked


def test_a_line_without_its_end_is_asked_again_and_a_changed_one_is_found(tmp_path):
  run(tmp_path, ["one"])
  (file,) = tmp_path.glob("*.jsonl")
  whole = file.read_bytes()
  file.write_bytes(whole[:-5])  # the last line's end is lost
  _, model, _ = run(tmp_path, ["one"])
  assert list(model.asked) == ["one c"]
  file.write_bytes(whole.replace(b'"one a!"', b'"one x!"'))
  with pytest.raises(UserError, match="is damaged"):
    run(tmp_path, ["one"])


def test_answers_of_another_process_are_seen_while_it_writes(tmp_path):
  theirs = Answers(epath.Path(tmp_path), Echo.identity)
  ours = Answers(epath.Path(tmp_path), Echo.identity)
  with theirs:
    theirs.add("k1", Answer("one"))
    assert ours.get("k1") is None
    ours.refresh()
    assert ours.get("k1") == Answer("one")
    theirs.add("k2", Answer("two\nlines \u2028 \ud83d\ude00 \ud800"))
    ours.refresh()
    assert ours.get("k2") == theirs.get("k2") == Answer("two\nlines \u2028 \U0001f600 \ufffd")
  assert answers.model_of(epath.Path(tmp_path)) == Echo.identity
  with pytest.raises(UserError, match="another model"):
    Answers(epath.Path(tmp_path), {"model": "other"})


@pytest.mark.parametrize(
  "change",
  [dict(seed=1), dict(schema={"type": "object"}), dict(images=(b"x",)), dict(text="other")],
)
def test_the_key_is_of_all_that_decides_an_answer(change):
  request = chat("be brief", "list birds")
  assert request.key({"m": 1}) != dataclasses.replace(request, **change).key({"m": 1})
  assert request.key({"m": 1}) != request.key({"m": 2})
  assert request.key({"m": 1}) == chat("be brief", "list birds").key({"m": 1})
