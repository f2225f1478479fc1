"""What a run learns from: one rule, and a name for the images that were chosen."""

import numpy as np
import pytest

from synthjax.data.draws import Part
from synthjax.data.selection import digest, part_digest, rank, select
from synthjax.data.set_images import SetImages
from synthjax.runtime.errors import UserError

LABELS = np.array([2, 0, 0, 1, 2, 0, 1, 2])
IDS = [f"{i:032x}" for i in range(8)]


def test_the_rank_is_how_many_of_the_class_came_before():
  assert rank(LABELS).tolist() == [0, 0, 1, 0, 1, 2, 1, 2]
  many = np.random.default_rng(0).integers(0, 50, 2000)
  assert rank(many).tolist() == [int((many[:i] == c).sum()) for i, c in enumerate(many)]
  assert rank(LABELS[:0]).tolist() == []


def test_none_is_all_of_those_that_may_be_chosen():
  assert select(LABELS, IDS, None, 0).tolist() == list(range(8))
  assert select(LABELS, IDS, [IDS[1], IDS[5], IDS[7]], 0).tolist() == [1, 5, 7]


def test_the_first_so_many_of_each_class_among_the_kept():
  assert select(LABELS, IDS, None, 1).tolist() == [0, 1, 3]
  assert select(LABELS, IDS, [IDS[i] for i in (2, 4, 5, 7)], 1).tolist() == [2, 4]
  assert select(LABELS, np.array(IDS), [IDS[i] for i in (2, 4, 5, 7)], 2).tolist() == [2, 4, 5, 7]


def test_a_list_of_images_that_are_not_there_is_refused():
  with pytest.raises(UserError, match="the keep-list names 2 images, and the set holds 1 of them"):
    select(LABELS, IDS, [IDS[3], "f" * 32], 0)


def test_a_set_of_which_every_image_is_chosen_keeps_its_name():
  """Runs that learn from a whole set are found under the hash that they always had."""
  whole = SetImages("images/LE", LABELS, IDS, lambda i: iter(()), [8])
  assert digest(IDS) == Part(whole, range(8), "8 images").digest
  assert part_digest(IDS, IDS[:3]) == Part(whole, range(3), "3 images").digest != digest(IDS[:3])
