"""KID and CMMD are their formulas, written out one pair after the other."""

import numpy as np
import pytest

from synthjax.evaluation.set_metrics import features, kernels
from synthjax.runtime.errors import UserError

RNG = np.random.default_rng(1)
X, Y = RNG.normal(size=(40, 6)), RNG.normal(0.3, 1.2, size=(30, 6))


def naive(x, y, kernel, unbiased):
  def mean(a, b, skip):
    pairs = [kernel(p, q) for i, p in enumerate(a) for j, q in enumerate(b) if not (skip and i == j)]
    return sum(pairs) / len(pairs)

  return mean(x, x, unbiased) + mean(y, y, unbiased) - 2 * mean(x, y, False)


def cubic(p, q):
  return (p @ q / len(p) + 1) ** 3


def gaussian(p, q):
  p, q = p / np.linalg.norm(p), q / np.linalg.norm(q)
  return np.exp(-((p - q) ** 2).sum() / 200)


def test_kid_is_its_formula():
  found = kernels.kid(X[:30], Y)  # one subset is all there is
  assert found == kernels.Kid(pytest.approx(naive(X[:30], Y, cubic, True), rel=1e-10), 0)


def test_kid_over_subsets_is_unbiased_and_the_seed_decides_them():
  whole = naive(X, Y, cubic, True)
  found = kernels.kid(X, Y, subsets=4000, subset=10)
  assert found.mean == pytest.approx(whole, abs=4 * found.std / np.sqrt(4000))
  once, again, other = (kernels.kid(X, Y, seed, 5, 10) for seed in (3, 3, 4))
  assert once == again != other
  assert kernels.kid(X, Y, subsets=1).mean == pytest.approx(
    naive(X[np.random.default_rng(0).choice(40, 30, replace=False)], Y, cubic, True)
  )


def test_kid_of_a_set_and_itself_is_not_0_and_below():
  assert kernels.kid(X, X).mean == pytest.approx(naive(X, X, cubic, True)) and kernels.kid(X, X).mean < -0.01


def test_cmmd_is_its_formula():
  assert kernels.cmmd(X, Y) == pytest.approx(1000 * naive(X, Y, gaussian, False), rel=1e-9)
  assert kernels.cmmd(X, X[::-1]) == pytest.approx(0, abs=1e-9)


def test_cmmd_sees_means_and_hardly_anything_else():
  """Opposite directions of all images, or of one alone: the spread differs, the mean does not."""
  one = np.array([[1.0, 0, 0], [-1, 0, 0]] * 10)
  other = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
  assert 0 < kernels.cmmd(one, other) < 0.05
  x, y = (s / np.linalg.norm(s, axis=1, keepdims=True) for s in (X, Y))
  assert kernels.cmmd(x, y) == pytest.approx(10 * ((x.mean(0) - y.mean(0)) ** 2).sum(), abs=0.05)


def test_they_grow_as_a_set_moves_away():
  steps = (0.0, 0.3, 0.6, 1.0, 3.0)
  many, noise = RNG.normal(size=(2, 900, 6))
  noisier = [kernels.kid(many, many + s * noise).mean for s in steps]
  assert noisier == sorted(noisier) and noisier[0] < 0 < noisier[2]
  shifted = [kernels.cmmd(X, X + s) for s in steps]
  assert shifted == sorted(shifted) and shifted[0] < shifted[1]


@pytest.mark.parametrize("block", [1, 7, 41 * 13])
def test_blocks_make_the_whole(monkeypatch, block):
  whole = kernels.cmmd(X, Y)
  monkeypatch.setattr(features, "BLOCK", block)
  assert kernels.cmmd(X, Y) == pytest.approx(whole, rel=1e-9)


def test_float32_features_are_computed_in_float64():
  x, y = X.astype(np.float32), Y.astype(np.float32)
  assert kernels.cmmd(x, y) == pytest.approx(
    kernels.cmmd(x.astype(np.float64), y.astype(np.float64)), rel=1e-12
  )
  assert kernels.kid(x, y).mean == pytest.approx(kernels.kid(x.astype(np.float64), y.astype(np.float64)).mean)


def test_what_has_no_direction_is_refused():
  with pytest.raises(UserError, match="1 of 40 features of synthetic images are zero and have no direction"):
    kernels.cmmd(X, X * (np.arange(40) != 3)[:, None])
  with pytest.raises(UserError, match="1 synthetic images are too few for this metric, which needs 2"):
    kernels.kid(X, Y[:1])
