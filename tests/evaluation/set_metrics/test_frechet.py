"""The distance is what a reference computed, in whichever of its two forms."""

from pathlib import Path

import numpy as np
import pytest

from synthjax.evaluation.set_metrics import features, frechet
from synthjax.runtime.errors import UserError

FIXTURE = np.load(Path(__file__).with_name("frechet.npz"))  # by scipy's square root of a matrix
A, B = FIXTURE["a"], FIXTURE["b"]
RNG = np.random.default_rng(0)


def test_it_is_the_reference_also_where_a_covariance_is_singular():
  whole, few, other = frechet.moments(A), frechet.moments(A[:20]), frechet.moments(B)
  assert frechet.distance(whole, other) == pytest.approx(FIXTURE["distance"], rel=1e-5)
  assert frechet.distance(few, other) == pytest.approx(FIXTURE["singular"], rel=1e-5)
  assert frechet.distance(other, few) == pytest.approx(FIXTURE["singular"], rel=1e-5)


def test_one_dimension_by_hand():
  """(m - n)^2 + (s - t)^2, for standard deviations s and t."""
  x, y = np.array([[0.0], [2.0], [4.0]]), np.array([[1.0], [2.0], [3.0]])
  assert frechet.between(x, y) == pytest.approx(1.0)  # 2 and 1
  assert frechet.between(x, y + 3) == pytest.approx(10.0)


@pytest.mark.parametrize("n", [2, 23, 24, 25, 300])
def test_a_set_is_at_0_from_itself(n):
  assert frechet.between(A[:n], A[:n][::-1]) == pytest.approx(0, abs=1e-9)
  assert frechet.distance(frechet.moments(A[:n]), frechet.moments(A[:n])) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n", [5, 24, 40])
def test_few_images_in_many_dimensions_need_no_matrix_of_dimensions(n):
  by_moments = frechet.distance(frechet.moments(A[:n]), frechet.moments(B[:n]))
  assert frechet.between(A[:n], B[:n]) == pytest.approx(by_moments, rel=1e-9)


def test_it_grows_with_noise():
  noise = RNG.normal(size=A.shape)
  found = [frechet.between(A, A + size * noise) for size in (0, 0.1, 0.2, 0.5, 1, 2)]
  assert found == sorted(found) and found[0] < 1e-9 < 1e-3 < found[1]


def test_a_large_mean_costs_no_digits():
  assert frechet.between(A[:400] + 1e4, B + 1e4) == pytest.approx(
    frechet.between(A[:400], B), rel=1e-3
  )  # of float32
  a, b = A[:400].astype(np.float64), B.astype(np.float64)
  assert frechet.between(a + 1e4, b + 1e4) == pytest.approx(frechet.between(a, b), rel=1e-8)


def test_blocks_make_the_whole(monkeypatch):
  whole = frechet.moments(A)
  monkeypatch.setattr(features, "BLOCK", 7 * A.shape[1])
  parts = frechet.moments(A)
  np.testing.assert_allclose(parts.covariance_DxD, whole.covariance_DxD, rtol=1e-12, atol=1e-14)
  np.testing.assert_allclose(whole.covariance_DxD, np.cov(A.T.astype(np.float64)), rtol=1e-10, atol=1e-12)


def test_what_cannot_be_compared_is_refused():
  with pytest.raises(
    UserError, match=r"500 real images are compared with 400 synthetic ones.*take 400 of each"
  ):
    frechet.between(A, B)
  with pytest.raises(UserError, match="1 real images are too few for this metric, which needs 2"):
    frechet.between(A[:1], B[:1])
  with pytest.raises(UserError, match="24 dimensions and synthetic ones 23"):
    frechet.between(A[:9], B[:9, 1:])
  with pytest.raises(UserError, match="moments of 24 and of 23 dimensions"):
    frechet.distance(frechet.moments(A), frechet.moments(B[:, 1:]))
