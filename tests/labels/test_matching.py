import pytest

from synthjax.labels.matching import match
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError

LABELS = LabelSpace(
  ("n1", "n2", "n3", "n4"),
  ("crane", "crane", "Boeing 717", "hot-dog"),
  aliases=(("frankfurter", "n4"),),
  passed_over=("background_google",),
)


@pytest.mark.parametrize(
  "theirs, places",
  [
    (["n4", "n3", "n2", "n1"], [3, 2, 1, 0]),
    (["hot-dog", "Boeing 717"], [3, 2]),
    (["HOT_DOG", "boeing_717", "N2"], [3, 2, 1]),
    (["frankfurter", "Background Google", "n1"], [3, -1, 0]),
    (["Frankfurter"], [3]),
  ],
)
def test_by_id_or_name_and_in_no_order(theirs, places):
  assert match(theirs, LABELS, "source x").tolist() == places


@pytest.mark.parametrize(
  "theirs, said",
  [
    (["hot dog", "boing 717"], "label 'boing 717' is no class of the label space (did you mean 'Boeing 717'?)"),
    (["crane"], "label 'crane' may be classes n1, n2, which share that name"),
    (["n4", "hot dog"], "labels 'n4' and 'hot dog' are both class 'n4'"),
    (["apple", "bear", "cat", "dog", "elk"], "it has 5 labels ('apple', 'bear', 'cat', 'dog', ...), the space 4 labels ('crane',"),
  ],
)  # fmt: skip
def test_what_does_not_match_is_one_line_with_both_sides(theirs, said):
  with pytest.raises(UserError) as e:
    match(theirs, LABELS, "source x")
  line = str(e.value)
  assert said in line and line.startswith("source x: ") and "\n" not in line
  assert f"it has {len(theirs)} labels" in line and "the space 4 labels" in line


def test_the_order_of_the_lists_is_never_looked_at():
  """He et al.'s code took labels by their place in a list of names in another order."""
  theirs = ["dog", "cat", "bee", "ant"]
  space = LabelSpace(tuple(theirs[::-1]), tuple(theirs[::-1]))
  assert [space.ids[k] for k in match(theirs, space, "x")] == theirs
