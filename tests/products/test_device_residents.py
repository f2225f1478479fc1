"""Parameters leave the devices when training begins, are read once for work that goes to and fro, and are those of the files."""

import shutil
import weakref

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from synthjax import study
from synthjax.data.sources import open_source
from synthjax.encoders.clip import Clip
from synthjax.evaluation import measures
from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.learning import classifier_tuning, learner
from synthjax.runtime import residents
from synthjax.runtime.errors import UserError
from synthjax.small_world import digits as real
from synthjax.small_world import weights as embedded
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command


def run(config, workdir) -> None:
  validation.check(config)
  study.run(Command(config, str(workdir)))


class Seen:
  """Which parameters were loaded, and which of them are still on a device."""

  def __init__(self, monkeypatch):
    self.loads = {StableDiffusion: [], Clip: []}
    for kind in self.loads:
      monkeypatch.setattr(kind, "load_params", self._watched(kind, kind.load_params))

  def _watched(self, kind, load):
    def watched(generator, mesh):
      params = load(generator, mesh)
      self.loads[kind].append([weakref.ref(x) for x in jax.tree.leaves(params)])
      return params

    return watched

  def counts(self) -> tuple[int, int]:
    return len(self.loads[StableDiffusion]), len(self.loads[Clip])

  def alive(self, kind) -> int:
    return sum(ref() is not None for load in self.loads[kind] for ref in load)


@pytest.fixture
def seen(monkeypatch):
  residents.begin(())  # what tests before this one have left
  return Seen(monkeypatch)


def when_it_trains(monkeypatch, module, name, look) -> list:
  """What `look` says whenever a function that trains is called."""
  found, train = [], getattr(module, name)

  def watched(*args, **kwargs):
    found.append(look())
    return train(*args, **kwargs)

  monkeypatch.setattr(module, name, watched)
  return found


def test_what_draws_and_embeds_has_left_when_learning_begins(digits, tmp_path, seen, monkeypatch):
  config = digits()
  config.seeds = 1
  config.real.few = fields_of.real_images("embedded:digits:first", shots=1)
  config.learning.update(model="resnet-mini", size=8, batch=8, real="few", steps=1)
  config.learners.few = fields_of.learner()

  def alive():
    return seen.alive(StableDiffusion), seen.alive(Clip), len(measures._held)

  tuned = when_it_trains(monkeypatch, classifier_tuning, "linear", alive)
  learnt = when_it_trains(monkeypatch, learner, "train", alive)
  run(config, tmp_path / "w")
  assert [generator for generator, _, _ in tuned] == [0, 0]  # nothing is drawn any more
  assert all(encoder for _, encoder, _ in tuned)  # whose zero-shot classifier they begin with
  assert learnt == [(0, 0, 0)]
  assert len(measures._held) == 1
  # The filter drew more after it had scored: to and fro, and each network was read once.
  assert len(list((tmp_path / "w/images/LE/segments").glob("*.json"))) > 1
  assert seen.counts() == (1, 1)


@pytest.mark.slow
def test_the_studies_of_a_matrix_read_each_network_once(digits, tmp_path, seen):
  """They draw, embed and tune by turns."""
  studies = {name: digits() for name in ("one", "two")}
  for i, own in enumerate(studies.values()):
    own.sampling.seed = i
    del own.filters.CF, own.arms["LE+CF+SCE"]
  config = fields_of.study_config()
  config.studies = studies
  config.runtime.compile_cache = ""
  run(config, tmp_path / "w")
  assert seen.counts() == (1, 1)


# --- other weights in the same folder --------------------------------------------------------------------


def jpegs(workdir) -> dict:
  source = open_source(f"synthjax:{workdir}/images/B", None)
  return {key: source.encoded(i) for i, key in enumerate(source.keys)}


def rewrite(file, name) -> None:
  tensors = load_file(file)
  tensors[name] = np.ascontiguousarray(tensors[name][::-1])
  save_file(tensors, file)


def test_new_weights_in_the_same_folder_draw_under_their_own_digest(small, weights, tmp_path):
  folder = shutil.copytree(weights, tmp_path / "generator")
  config = small(tmp_path, generator=str(folder), images_per_class=1)
  run(config, tmp_path / "old")
  rewrite(folder / "unet/diffusion_pytorch_model.safetensors", "conv_out.weight")
  run(config, tmp_path / "new")
  old, new = jpegs(tmp_path / "old"), jpegs(tmp_path / "new")
  assert not old.keys() & new.keys() and not set(old.values()) & set(new.values())


def test_new_weights_in_the_same_folder_embed_under_their_own_digest(digits, tmp_path):
  folder = shutil.copytree(embedded.folder("embedded:clip"), tmp_path / "clip")
  config = digits()
  for name in ("LE+CE", "LE+CF+SCE"):
    del config.arms[name]
  config.encoders.clip.weights = str(folder)
  for i, image in enumerate(real.load("first")[0][:10]):
    (tmp_path / "pictures" / str(i)).mkdir(parents=True)
    Image.fromarray(image).save(tmp_path / "pictures" / str(i) / "0.png")
  config.tests.digits = f"folder:{tmp_path}/pictures"

  def features(workdir):
    run(config, workdir)
    return np.load(workdir / "embeddings/digits/clip/all.npz")["features"]

  old = features(tmp_path / "old")
  rewrite(folder / "model.safetensors", "visual_projection.weight")
  new = features(tmp_path / "new")
  np.testing.assert_allclose(
    np.sort(new), np.sort(old), atol=1e-5
  )  # the rows of the projection are turned round
  assert np.abs(new - old).max() > 0.1
  with pytest.raises(UserError):  # the features on disk are another encoder's
    features(tmp_path / "old")


def test_weights_that_change_while_they_are_read_are_refused(small, weights, tmp_path, monkeypatch):
  folder, load = shutil.copytree(weights, tmp_path / "generator"), StableDiffusion.load_params

  def changed(generator, mesh):
    rewrite(folder / "unet/diffusion_pytorch_model.safetensors", "conv_out.weight")
    return load(generator, mesh)

  monkeypatch.setattr(StableDiffusion, "load_params", changed)
  with pytest.raises(UserError, match=f"files of {folder} were changed while this command ran; run the same"):
    run(small(tmp_path, generator=str(folder), images_per_class=1), tmp_path / "w")
