import numpy as np
import pytest
from PIL import Image, ImageOps

from synthjax.data.pictures import Pictures
from synthjax.data.sources import open_source
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError

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


def test_files_of_every_kind_are_seen_alike(tmp_path):
  """Whether they are read the quick way, resized, or with care."""
  rng, wanted = np.random.default_rng(0), []
  (tmp_path / "a").mkdir()
  turned = Image.Exif()
  turned[0x0112] = 6
  for i, (side, how) in enumerate([((16, 16), {}), ((40, 24), {}), ((40, 24), dict(exif=turned))]):
    noise = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize(side)
    noise.save(tmp_path / "a" / f"{i}.jpg", **how)
    with Image.open(tmp_path / "a" / f"{i}.jpg") as image:
      upright = ImageOps.exif_transpose(image).convert("RGB")
    wanted.append(np.asarray(ImageOps.fit(upright, (16, 16), Image.Resampling.BICUBIC)))
  pictures = Pictures(open_source(f"folder:{tmp_path}", LABELS), 16, held=0)
  np.testing.assert_array_equal(pictures.at(np.arange(3)), wanted)


def test_a_picture_that_cannot_be_read_is_one_line(tmp_path):
  (tmp_path / "a").mkdir()
  (tmp_path / "a" / "1.png").write_bytes(b"\x89PNG and no more")
  with pytest.raises(UserError, match=r"a/1.png: cannot identify image file.*; fix or remove it") as e:
    Pictures(open_source(f"folder:{tmp_path}", LABELS), 8)
  assert "\n" not in str(e.value)
