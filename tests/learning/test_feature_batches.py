"""Batches from a device's memory are those from the host's, to the bit, and so is what is learnt from them."""

import numpy as np
import pytest
from etils import epath

from synthjax.learning import classifier_tuning, feature_batches
from synthjax.learning.feature_batches import batches_of, on_device, on_host
from synthjax.learning.training import Training
from synthjax.runtime import devices
from synthjax.runtime.stopping import Stop
from synthjax.spec.config import study_config
from synthjax.spec.fields import Tuning
from synthjax.store.features import Features

D, K = 16, 5


def part(n: int, seed: int) -> Features:
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, K, n).astype(np.int32)
  return Features(rng.normal(size=(n, D)).astype(np.float32), labels, np.array([str(i) for i in range(n)]))


PARTS = {"synthetic": part(70, 0), "real": part(20, 1)}


def test_they_are_the_same():
  places = {d: np.random.default_rng(2).integers(0, len(p), (3, 8)) for d, p in PARTS.items()}
  here, there = on_host(PARTS)(places), on_device(PARTS)(places)
  for domain, batch in here.items():
    for name, rows in batch.items():
      found = np.asarray(there[domain][name])
      assert found.dtype == rows.dtype and (found == rows).all()


def test_what_is_learnt_is_the_same_to_the_bit(tmp_path, monkeypatch):
  runtime, fields = (
    study_config().runtime,
    Tuning(batch=8, real_batch=4, steps=12, loss="SCE", learning_rate=1e-2),
  )
  zero_shot, learnt = np.random.default_rng(3).normal(size=(K, D)).astype(np.float32), []
  for place in (on_host, on_device):
    monkeypatch.setattr(classifier_tuning, "batches_of", lambda parts, limit, of=place: of(parts))
    with Stop() as stop:
      where = Training(epath.Path(tmp_path / place.__name__), "arm", runtime, stop)
      learnt.append(classifier_tuning.linear(fields, zero_shot, PARTS, (0, 1), where))
  for one, other in zip(*learnt, strict=True):
    assert (one.W_KxD == other.W_KxD).all() and (one.b_K == other.b_K).all()
    assert (one.W_KxD != zero_shot).any()


@pytest.mark.parametrize(
  "platform, free, expected", [("cpu", 1e9, "host"), ("gpu", 1e9, "device"), ("gpu", 1e3, "host")]
)
def test_a_device_holds_them_where_they_fit(monkeypatch, platform, free, expected):
  monkeypatch.setattr(devices, "platform", lambda: platform)
  monkeypatch.setattr(devices, "memory_free", lambda gigabytes: free)
  monkeypatch.setattr(feature_batches, "on_host", lambda parts: "host")
  monkeypatch.setattr(feature_batches, "on_device", lambda parts: "device")
  assert batches_of(PARTS, 0.0) == expected
