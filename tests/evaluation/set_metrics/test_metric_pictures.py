"""LPIPS diversity is the mean of its pairs' distances, however they were put into batches."""

import jax
import numpy as np
import pytest

from synthjax.evaluation.set_metrics import diversity, pictures
from synthjax.models.initial import scaled
from synthjax.models.lpips import Lpips

RNG = np.random.default_rng(7)
LABELS = np.arange(12) % 2


@pytest.fixture(scope="module")
def variables():
  x = np.zeros((1, 64, 64, 3), np.float32)
  shapes = jax.eval_shape(Lpips("alex").init, jax.random.key(0), x, x)["params"]
  layers = {k: v for k, v in shapes.items() if isinstance(v, dict)}
  ones = {k: np.ones(v.shape, np.float32) for k, v in shapes.items() if k not in layers}
  return {"params": scaled(layers, RNG) | ones}


def test_it_is_the_mean_of_its_pairs_and_rises_with_noise(variables, monkeypatch):
  monkeypatch.setattr(pictures, "_BATCH", 4)
  base, noise = RNG.integers(100, 150, (64, 64, 3)), RNG.normal(size=(12, 64, 64, 3))
  sets = [np.clip(base + size * noise, 0, 255).astype(np.uint8) for size in (0, 5, 20)]
  pairs = diversity.pairs(LABELS, ("ant", "bee"), 5, seed=0)
  found = [pictures.lpips_diversity(variables, "alex", x.__getitem__, pairs) for x in sets]
  assert found[0].mean == pytest.approx(0, abs=1e-9) and found[0].mean < found[1].mean < found[2].mean
  x, y = (sets[2][pairs["bee"][:, i]].astype(np.float32) / 127.5 - 1 for i in (0, 1))
  alone = Lpips("alex").apply(variables, x, y)
  assert found[2].by_class["bee"] == pytest.approx(float(alone.mean()), rel=1e-5)
  assert found[2].mean == pytest.approx(np.mean(list(found[2].by_class.values())))
