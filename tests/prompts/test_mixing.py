"""A list out of others: a share of the last one, spread evenly."""

from synthjax.prompts.mixing import mix
from synthjax.store.prompt import Prompt


def texts(lists, share, per_class, ids=("a",)):
  mixed = mix([[Prompt("a", text) for text in one] for one in lists], share, per_class, ids)
  return [p.text for p in mixed]


def test_every_beginning_of_a_class_holds_the_share():
  contexts, styles = [f"c{i}" for i in range(100)], [f"s{i}" for i in range(100)]
  found = texts([contexts, styles], 0.3, 100)
  assert len(found) == 100 and sum(text[0] == "s" for text in found) == 30
  for n in range(1, 101):
    assert abs(sum(text[0] == "s" for text in found[:n]) - 0.3 * n) <= 0.5 + 1e-9
  assert [t for t in found if t[0] == "c"] == contexts[:70]


def test_several_lists_take_turns_and_a_short_one_is_used_up():
  assert texts([["a0", "a1"], ["b0"], ["s0", "s1"]], 0.0, 9) == ["a0", "b0", "a1", "s0", "s1"]
  assert texts([["a0"], ["s0", "s1"]], 1.0, 9) == ["s0", "s1", "a0"]
  assert texts([["a0"], []], 0.5, 9) == ["a0"]
  assert texts([["same"], ["same", "s1"]], 0.5, 9) == ["same", "s1"]


def test_classes_are_mixed_apart_in_the_order_of_the_label_space():
  lists = [[Prompt("b", "b0"), Prompt("a", "a0")], [Prompt("a", "s0")]]
  assert [p.text for p in mix(lists, 0.5, 5, ("a", "b"))] == ["s0", "a0", "b0"]
