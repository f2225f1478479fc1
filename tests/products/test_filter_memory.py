"""What rule unlike takes of the host and of each device, stated by --plan, and refused where a device has less."""

import hashlib
import tracemalloc
import types

import numpy as np
import pytest
from etils import epath

from synthjax import study
from synthjax.filters import duplicates, similarity
from synthjax.products.keep_list import KeepList
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec.command import Command
from synthjax.store.features import Features


def config_of(images_per_class: int, **filters):
  config = fields_of.study_config(labels="digits")
  config.prompts.B = fields_of.prompt_list("B")
  config.sets.B = fields_of.image_set("B")
  config.sampling.generator = "embedded:generator"
  config.sampling.images_per_class = images_per_class
  config.encoders.clip = fields_of.encoder()
  config.encoders.small = fields_of.encoder("thumbnail")
  config.filters.U = fields_of.image_filter("unlike", encoder="small", **filters)
  config.arms.a = fields_of.arm("B/U", encoder="clip")
  return config


def memory(tmp_path, config) -> str:
  return study.design(config, epath.Path(tmp_path)).get(KeepList, "B", "U").status().memory()


def test_of_two_million_images_it_is_stated_and_of_few_it_is_not(tmp_path, monkeypatch):
  assert memory(tmp_path, config_of(1000)) == ""
  monkeypatch.setattr(devices, "host_memory_free", lambda: 10**10)
  of_host = 2e6 * (32 * 32 + duplicates._BESIDE) / 1e9
  wanted = f"needs {of_host:.1f} GB of the host's for at most 2,000,000 images"
  assert memory(tmp_path, config_of(200_000)) == wanted
  quota = config_of(1000, kept_per_class=50_000, max_drawn=4.0)  # of which rounds may draw so many
  assert memory(tmp_path, quota) == wanted
  monkeypatch.setattr(devices, "host_memory_free", lambda: 10**9)
  assert memory(tmp_path, quota) == f"{wanted}; only 1.0 GB of the host's are free now"


def test_a_second_encoder_holds_its_features_beside(tmp_path, monkeypatch):
  monkeypatch.setattr(devices, "host_memory_free", lambda: 10**10)
  both = config_of(200_000, second_encoder="clip")
  of_host = 2e6 * (32 * 32 + 128 * 4 + duplicates._BESIDE) / 1e9
  assert memory(tmp_path, both).startswith(f"needs {of_host:.1f} GB of the host's for")


def test_what_a_device_cannot_hold_is_one_line(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(similarity.devices, "platform", lambda: "gpu")
  for name, n in {"_OF_A_DEVICE": 64, "_OTHERS": 32}.items():
    monkeypatch.setattr(similarity, name, n)
  least = similarity.device_bytes((32, 32), np.dtype(np.uint8))
  assert 4 * (64 + 32) * 1568 < least < 40e6  # at least the gradients of both
  config = config_of(200_000)
  config.runtime.device_memory_gb = 0.9 * least / 1e9
  for plan in (True, False):
    with pytest.raises(
      UserError, match=r"^keep/B/U-small: rule unlike needs .* GB of each device, .*raise config"
    ) as e:
      study.run(Command(config, str(tmp_path / "w"), plan=plan))
    assert "\n" not in str(e.value)
  assert not (tmp_path / "w/images").exists()
  config.runtime.device_memory_gb = 1.1 * least / 1e9
  study.run(Command(config, str(tmp_path / "w"), plan=True))
  assert f" and {least / 1e9:.1f} GB of each device's for at most 2,000,000" in capsys.readouterr().out


def test_an_image_takes_no_more_beside_its_features_than_is_stated(monkeypatch):
  n = 4000
  monkeypatch.setattr(similarity, "_ROWS", 64)
  features = np.random.default_rng(0).normal(size=(n, 16)).astype(np.float32)
  images = types.SimpleNamespace(places=np.arange(n), files=lambda: lambda i: str(i).encode())
  tracemalloc.start()
  try:
    ids = np.array([hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(n)])
    key = duplicates.Key("small", 0.95, Features(features, np.zeros(n, np.int32), ids), None)
    duplicates.find([key], images).to_csv()
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert 0.5 * duplicates._BESIDE < peak / n < 1.1 * duplicates._BESIDE
