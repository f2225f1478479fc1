import numpy as np
import pytest
from PIL import Image

from synthjax.data.pictures import Pictures
from synthjax.data.sources import open_source
from synthjax.errors import UserError
from synthjax.labels.spaces import LabelSpace

LABELS = LabelSpace(("a", "b"), ("ant", "bee"))


def test_the_middle_square_of_each_in_the_sources_order(tmp_path):
  for class_id, shade in (("b", 200), ("a", 100)):
    (tmp_path / class_id).mkdir()
    wide = np.zeros((8, 16), np.uint8)
    wide[:, 4:12] = shade  # what a square keeps
    Image.fromarray(wide).save(tmp_path / class_id / "1.png")
  pictures = Pictures(open_source(f"folder:{tmp_path}", LABELS), 8)
  assert pictures.labels.tolist() == [0, 1]
  np.testing.assert_array_equal(pictures.at(np.array([1, 0]))[:, 4, 4, 0], [200, 100])


def test_a_picture_that_cannot_be_read_is_one_line(tmp_path):
  (tmp_path / "a").mkdir()
  (tmp_path / "a" / "1.png").write_bytes(b"\x89PNG and no more")
  with pytest.raises(UserError, match=r"a/1.png: cannot identify image file.*; mend or remove it") as e:
    Pictures(open_source(f"folder:{tmp_path}", LABELS), 8)
  assert "\n" not in str(e.value)
