"""A network that is made from another one waits until that one is trained as far as the config says."""

import json

import pytest

from synthjax import study
from synthjax.products.base import DONE, MISSING, STALE
from synthjax.products.network import Network
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of


@pytest.fixture
def networks(tmp_path):
  """A generator over an autoencoder that has been trained for 3 steps and is wanted for `steps`."""

  def design(steps: int, begun: bool = False):
    config = fields_of.study_config(labels="digits")
    config.networks.vae = fields_of.network("autoencode", pictures=60, steps=steps, batch=8)
    config.networks.generator = fields_of.network(
      "denoise", autoencoder="vae", pictures=60, steps=3, batch=8, warmup=1
    )
    vae, generator = (tmp_path / "networks" / name for name in ("vae", "generator"))
    (vae / "weights").mkdir(parents=True, exist_ok=True)
    (vae / "weights/config.json").write_text("{}")
    (vae / "result.json").write_text(json.dumps({"steps": 3}))
    if begun:
      generator.mkdir(exist_ok=True)
      (generator / "record.json").write_text("{}")
    made = {n.name: n for n in study.design(config, tmp_path_of(tmp_path)).of(Network)}
    return made["networks/vae"], made["networks/generator"]

  return design


def tmp_path_of(path):
  from synthjax.disk import workdir

  return workdir.open_workdir(str(path))


def test_weights_that_are_to_be_trained_further_are_not_begun_with(networks):
  vae, generator = networks(steps=5)
  assert vae.status().state == STALE and generator.inputs == (vae,)
  assert generator.make(None) is False and generator.status().state == MISSING
  assert not generator.folder.exists()


def test_what_was_made_from_a_network_that_grows_is_refused_before_it_grows(networks):
  _, generator = networks(steps=5, begun=True)
  with pytest.raises(
    UserError, match="networks/generator was made from networks/vae, which is to be trained"
  ):
    generator.status()


def test_a_network_that_is_trained_is_ready(networks):
  vae, generator = networks(steps=3)
  assert vae.status().state == DONE and generator._is_ready()
