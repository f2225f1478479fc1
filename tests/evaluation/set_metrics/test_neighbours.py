"""Precision, recall, density and coverage are their definitions, ties included."""

import numpy as np
import pytest

from synthjax.evaluation.set_metrics import features, neighbours
from synthjax.runtime.errors import UserError

RNG = np.random.default_rng(2)
REAL, SYNTHETIC = RNG.normal(size=(60, 4)), RNG.normal(0.8, 0.7, size=(60, 4))
ALL = neighbours.Prdc(1, 1, 1, 1)


def naive(real, synthetic, k):
  def apart(p, q):
    return np.sqrt(((p - q) ** 2).sum())

  def radii(s):
    return [sorted(apart(p, q) for j, q in enumerate(s) if j != i)[k - 1] for i, p in enumerate(s)]

  of_real, of_synthetic = radii(real), radii(synthetic)
  in_real = np.array([[apart(r, s) < of_real[i] for s in synthetic] for i, r in enumerate(real)])
  in_synthetic = np.array([[apart(r, s) < of_synthetic[j] for j, s in enumerate(synthetic)] for r in real])
  return neighbours.Prdc(
    in_real.any(0).mean(),
    in_synthetic.any(1).mean(),
    in_real.sum() / k / len(synthetic),
    in_real.any(1).mean(),
  )


@pytest.mark.parametrize("k", [1, 5])
def test_it_is_its_definition(k):
  found = neighbours.prdc(REAL, SYNTHETIC, k)
  assert found == neighbours.Prdc(*map(pytest.approx, vars(naive(REAL, SYNTHETIC, k)).values()))
  assert 0.05 < min(found.precision, found.recall, found.coverage) < 0.95


def test_it_does_not_depend_on_where_the_features_lie_or_how_large_they_are():
  moved = neighbours.prdc(1e3 * REAL - 5e4, 1e3 * SYNTHETIC - 5e4)
  assert moved == neighbours.prdc(REAL, SYNTHETIC) == neighbours.prdc(1e-9 * REAL, 1e-9 * SYNTHETIC)


def test_a_set_and_itself():
  found = neighbours.prdc(REAL, REAL[::-1])
  assert (found.precision, found.recall, found.coverage) == (1, 1, 1) and found.density > 0.9


def test_a_ball_is_open():
  """On a grid distances tie: the neighbour at the very radius is outside, and k copies leave a ball empty."""
  line = np.arange(6.0)[:, None]
  beyond = line + np.array([[100.0]] * 5 + [[1.0]])  # of the last: 6, exactly 1 from 5
  assert neighbours.prdc(line, beyond, k=1).precision == 0
  beyond[-1] = 5.999
  assert neighbours.prdc(line, beyond, k=1).precision == pytest.approx(1 / 6)
  x = RNG.normal(size=(3, 300)).astype(np.float32)
  copies = np.repeat(x, 4, axis=0)  # three copies of each
  assert neighbours.prdc(copies, copies, k=3) == neighbours.Prdc(0, 0, 0, 0)
  assert neighbours.prdc(copies, copies, k=4).coverage == 1


def test_noise_takes_away_precision_and_a_collapsed_set_recall():
  noise = RNG.normal(size=REAL.shape)
  precision = [neighbours.prdc(REAL, REAL + s * noise).precision for s in (0, 0.5, 1, 2, 8)]
  assert precision == sorted(precision, reverse=True) and precision[0] > precision[-1]
  recall = [neighbours.prdc(REAL, s * REAL).recall for s in (0.05, 0.3, 0.6, 1.0)]
  assert recall == sorted(recall) and recall[0] < recall[-1]


@pytest.mark.parametrize("block", [1, 61 * 7])
def test_blocks_make_the_whole(monkeypatch, block):
  grid = RNG.integers(0, 3, (60, 4)).astype(np.float64)  # with ties
  for real, synthetic in ((REAL, SYNTHETIC), (grid, grid[::-1] + np.eye(4)[0])):
    whole = neighbours.prdc(real, synthetic)
    with monkeypatch.context() as patched:
      patched.setattr(features, "BLOCK", block)
      assert neighbours.prdc(real, synthetic) == whole


def test_unequal_numbers_and_too_few_are_refused():
  with pytest.raises(UserError, match=r"60 real images are compared with 59 synthetic ones.*take 59 of each"):
    neighbours.prdc(REAL, SYNTHETIC[1:])
  with pytest.raises(UserError, match="5 real images are too few for this metric, which needs 6"):
    neighbours.prdc(REAL[:5], SYNTHETIC[:5])
