"""CLIP's features and zero-shot classifiers are PyTorch's; neighbours and devices change nothing."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from synthjax.encoders import clip
from synthjax.encoders.clip import Clip, embed
from synthjax.encoders.preprocess import FILE
from synthjax.models import initial
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.weights import tokenizer
from synthjax.weights.write import write_params

SIDE, WIDTH, TOKENS = 32, 24, 40
WORDS = ["photo", "drawing", "of", "ant", "bee", "cat"]
NAMES = ["ant", "bee", "a {} cat"]  # a name is data
TEMPLATES = ["a photo of a {}.", "a drawing of {}, {}", "{}"]


def write_folder(folder, act: str = "quick_gelu", **text):
  """A checkpoint with random weights, large enough for every part to show in the features."""
  size = tokenizer.write(folder, WORDS)
  ends = dict(vocab_size=size, bos_token_id=size - 2, eos_token_id=size - 1, pad_token_id=size - 1) | text
  layers = dict(num_hidden_layers=2, num_attention_heads=4, hidden_act=act)
  body = dict(
    model_type="clip",
    projection_dim=WIDTH,
    text_config=dict(hidden_size=32, intermediate_size=64, max_position_embeddings=TOKENS, **layers, **ends),
    vision_config=dict(hidden_size=48, intermediate_size=96, image_size=SIDE, patch_size=8, **layers),
  )
  (folder / "config.json").write_text(json.dumps(body))
  (folder / FILE).write_text(json.dumps(dict(size=SIDE, crop_size=SIDE)))
  shapes = Clip(folder).param_shapes()
  rest = {k: v for k, v in shapes.items() if k != "logit_scale"}
  params = initial.scaled(rest, jax.random.key(0)) | {"logit_scale": jnp.float32(3.25)}
  noise = np.random.default_rng(0)
  # Norms and biases too: at 1 and 0 they would hide a mistake in them.
  params = jax.tree.map(lambda a: a + 0.1 * noise.standard_normal(a.shape).astype(np.float32), params)
  write_params(folder / "model.safetensors", params)
  return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  return write_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def folder(whole, tmp_path):
  return shutil.copytree(whole, tmp_path / "clip")


@pytest.fixture(scope="module")
def loaded(whole):
  encoder = Clip(whole)
  return encoder, encoder.load_params(mesh(1))


def mesh(n: int) -> jax.sharding.Mesh:
  return devices.local_mesh(jax.local_devices()[:n])


def pictures(n: int) -> np.ndarray:
  return np.random.default_rng(1).integers(0, 256, (n, SIDE, SIDE, 3), np.uint8)


def error(ours, theirs) -> float:
  theirs = theirs.detach().numpy()
  return float(np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs))


# --- parity ------------------------------------------------------------------------------------------


def oracle(folder):
  from transformers import CLIPModel
  from transformers.models.clip.image_processing_clip import CLIPImageProcessor
  from transformers.models.clip.tokenization_clip import CLIPTokenizer

  model = CLIPModel.from_pretrained(folder).eval()
  return model, CLIPTokenizer.from_pretrained(folder), CLIPImageProcessor.from_pretrained(folder)


TEXTS = ["a photo of a cat", "", "Zwölf Boxkämpfer, 99 %!", "ant bee cat " * 9]


@pytest.mark.parity
@pytest.mark.parametrize("end", ["own", "legacy"])
@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_features_and_classifier_equal_pytorchs(torch, tmp_path, act, end):
  legacy = dict(eos_token_id=2, bos_token_id=0, pad_token_id=1)  # as openai/clip-vit-* say to this day
  folder = write_folder(tmp_path / "clip", act, **(legacy if end == "legacy" else {}))
  encoder, (model, tokens, processor) = Clip(folder), oracle(folder)
  params, images = encoder.load_params(mesh(1)), pictures(3)
  padded = dict(padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")

  def normalised(x):
    return x / x.norm(dim=-1, keepdim=True)

  with torch.no_grad():
    want_image = model.get_image_features(processor(list(images), return_tensors="pt").pixel_values)
    ids = tokens(TEXTS, **padded).input_ids
    want_text = model.get_text_features(ids)
    rows = []
    for name in NAMES:
      filled = [t.replace("{}", name) for t in TEMPLATES]
      # Of one length each and without padding: what stands behind the end must not matter.
      each = [model.get_text_features(tokens([f], return_tensors="pt").input_ids)[0] for f in filled]
      rows.append(normalised(normalised(torch.stack(each)).mean(0)))
    want_rows = model.logit_scale.exp() * torch.stack(rows)

  np.testing.assert_array_equal(encoder.tokenize(TEXTS).ids, ids.numpy())
  errors = {
    "image": error(encoder.image_features(params, jnp.asarray(images)), want_image),
    "text": error(encoder.text_features(params, jnp.asarray(ids.numpy())), want_text),
    "zero-shot": error(encoder.zero_shot(params, NAMES, TEMPLATES), want_rows),
  }
  print(f"\n{act}, {end}: {errors}")
  assert max(errors.values()) <= 1e-5


@pytest.mark.parity
def test_files_that_pytorch_wrote(torch, whole, tmp_path):
  """In half precision, and with the buffers that older files carry."""
  folder = shutil.copytree(whole, tmp_path / "clip", ignore=shutil.ignore_patterns("model.*"))
  model, _, _ = oracle(whole)
  model.half().save_pretrained(folder)
  tensors = load_file(folder / "model.safetensors")
  tensors["text_model.embeddings.position_ids"] = np.arange(TOKENS)[None]
  save_file(tensors, folder / "model.safetensors")
  encoder, images = Clip(folder), pictures(2)
  params = encoder.load_params(mesh(1))
  assert {a.dtype for a in jax.tree.leaves(params)} == {np.dtype("float32")}
  with torch.no_grad():
    pixels = np.asarray(encoder.preprocess.normalise(images)).transpose(0, 3, 1, 2)
    want = model.float().get_image_features(torch.tensor(pixels))
  assert error(encoder.image_features(params, images), want) <= 1e-5


# --- the classifier ----------------------------------------------------------------------------------


def test_rows_have_the_length_of_the_scale(loaded):
  encoder, params = loaded
  rows = encoder.zero_shot(params, NAMES, TEMPLATES)
  assert rows.shape == (3, WIDTH) and rows.dtype == np.float32
  scale = np.exp(np.float64(params["logit_scale"]))
  np.testing.assert_allclose(np.linalg.norm(rows, axis=1), scale, rtol=1e-6)
  assert float(encoder.scale(params)) == pytest.approx(scale, rel=1e-6)


def test_an_ensemble_of_equal_templates_is_one(loaded):
  encoder, params = loaded
  one = encoder.zero_shot(params, NAMES, TEMPLATES[:1])
  np.testing.assert_allclose(encoder.zero_shot(params, NAMES, TEMPLATES[:1] * 5), one, rtol=1e-6)


def test_an_ensemble_is_the_mean_of_directions(loaded):
  """By hand, from single texts; a mean of features as they are would weigh long ones more."""
  encoder, params = loaded
  texts = ["a photo of a ant.", "a drawing of ant, ant", "ant"]
  h = np.asarray(encoder.text_features(params, encoder.tokenize(texts).ids), np.float64)
  mean = (h / np.linalg.norm(h, axis=1, keepdims=True)).mean(0)
  want = float(encoder.scale(params)) * mean / np.linalg.norm(mean)
  np.testing.assert_allclose(encoder.zero_shot(params, ["ant"], TEMPLATES)[0], want, rtol=1e-4, atol=1e-4)


def test_more_texts_than_a_batch(loaded):
  encoder, params = loaded
  names = [f"cat {i}" for i in range(70)]
  rows = encoder.zero_shot(params, names, ["{}", "a {}"])
  for i in (0, 31, 32, 69):
    np.testing.assert_array_equal(rows[i], encoder.zero_shot(params, [names[i]], ["{}", "a {}"])[0])


def test_half_precision_keeps_the_scale(whole, loaded):
  encoder, reference = Clip(whole, "bfloat16"), loaded[0]
  params = encoder.load_params(mesh(1))
  assert float(encoder.scale(params)) == float(reference.scale(loaded[1]))
  features = encoder.image_features(params, pictures(2))
  want = np.asarray(reference.image_features(loaded[1], pictures(2)))
  assert features.dtype == jnp.float32
  assert 1e-5 < np.linalg.norm(features - want) / np.linalg.norm(want) < 0.03


# --- many images -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def features(loaded):
  return embed(*loaded, iter(pictures(300)))


@pytest.mark.parametrize(("n", "batch"), [(1, 64), (2, 8), (4, 3)])
def test_devices_batch_and_neighbours_change_nothing(loaded, features, n, batch):
  encoder, images = loaded[0], pictures(300)
  params = encoder.load_params(mesh(n))
  order = np.random.default_rng(n).permutation(300)
  got = embed(encoder, params, images[order], batch)
  assert got.shape == (300, WIDTH) and got.dtype == np.float32
  np.testing.assert_array_equal(got, features[order])
  np.testing.assert_array_equal(embed(encoder, params, images[41:42], batch), features[41:42])


def test_many_images_are_what_one_is(loaded, features):
  encoder, params = loaded
  np.testing.assert_allclose(
    features, np.asarray(encoder.image_features(params, pictures(300))), rtol=1e-4, atol=1e-4
  )
  assert len(np.unique(features, axis=0)) == 300


def test_a_program_is_compiled_once_for_the_share_of_a_device(loaded):
  shapes = []

  class Watched(Clip):
    def image_features(self, params, pixels):
      shapes.append(pixels.shape)  # while it is traced
      return super().image_features(params, pixels)

  encoder = Watched(loaded[0].folder)
  params = encoder.load_params(mesh(4))
  for n in (150, 3):
    assert embed(encoder, params, pictures(n)).shape == (n, WIDTH)
  assert shapes == [(32, SIDE, SIDE, 3)]


def test_two_batches_are_in_flight_while_the_next_is_gathered(loaded, monkeypatch):
  events = []

  class Flying:
    def __init__(self, batch):
      self.batch = np.asarray(batch)
      events.append(f"start {self.batch[0, 0]:.0f}")

    def __array__(self, dtype=None, copy=None):
      events.append(f"land {self.batch[0, 0]:.0f}")
      return self.batch

  def rows():
    for i in range(5):
      events.append(f"gather {i}")
      yield np.full(1, i, np.float32)

  monkeypatch.setattr(clip, "_CPU_BATCH", 1)
  monkeypatch.setattr(clip, "_program", lambda function, mesh: lambda params, batch: Flying(batch))
  encoder, params = loaded
  np.testing.assert_array_equal(embed(encoder, params, rows())[:, 0], range(5))
  assert events[:8] == [
    "gather 0",
    "start 0",
    "gather 1",
    "start 1",
    "gather 2",
    "land 0",
    "start 2",
    "gather 3",
  ]
  assert events[-4:] == ["land 2", "start 4", "land 3", "land 4"]


def test_no_image(loaded):
  assert embed(*loaded, iter([])).shape == (0, WIDTH)


# --- faults ------------------------------------------------------------------------------------------


def fails(action, *said: str) -> None:
  with pytest.raises(UserError) as e:
    action()
  assert all(s in str(e.value) for s in said) and "\n" not in str(e.value), str(e.value)


@pytest.mark.parametrize("name", ["config.json", FILE, "vocab.json", "merges.txt", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
  (folder / name).unlink()

  def use():
    encoder = Clip(folder)
    encoder.tokenize(["a"])
    encoder.load_params(mesh(1))

  fails(use, f"{name} is missing")


def test_a_folder_that_is_none(tmp_path):
  fails(lambda: Clip(tmp_path / "none"), "is no folder; an encoder is a folder in transformers' layout")


def edit(file, change) -> None:
  body = json.loads(file.read_text())
  change(body)
  file.write_text(json.dumps(body))


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (lambda b: b.update(model_type="siglip"), "of a 'siglip' model; only CLIP can be read yet"),
    (lambda b: b.pop("vision_config"), "lacks 'vision_config'"),
    (lambda b: b["text_config"].update(hidden_act="gelu_fast"), "text: hidden_act 'gelu_fast'"),
    (lambda b: b["vision_config"].update(num_attention_heads=5), "hidden_size 48 is no multiple of"),
    (lambda b: b["vision_config"].update(patch_size=7), "image_size 32 is no multiple of patch_size 7"),
    (lambda b: b["vision_config"].update(image_size=64), "reads images of 64 pixels, but its"),
    (lambda b: b["vision_config"].update(hidden_size="48"), "vision: hidden_size='48' is no count"),
    (lambda b: b["text_config"].update(problem_type="none"), "is no config of CLIP (ValueError: "),
  ],
)
def test_a_config_that_is_not_ours_to_encode_with(folder, change, said):
  edit(folder / "config.json", change)
  fails(lambda: Clip(folder), said, str(folder))


def test_weights_that_do_not_fit_the_config(folder):
  edit(folder / "config.json", lambda b: b.update(projection_dim=16))
  fails(lambda: Clip(folder).load_params(mesh(1)), "2 wrong-shaped: ", "text_projection.weight is (24, 32)")


def test_a_tokenizer_that_does_not_fit_the_config(folder):
  edit(folder / "config.json", lambda b: b["text_config"].update(eos_token_id=7))
  fails(lambda: Clip(folder).tokenize(["a"]), "texts end with token", "expects 7")
  edit(folder / "config.json", lambda b: b["text_config"].update(vocab_size=100, eos_token_id=99))
  fails(lambda: Clip(folder).tokenize(["a"]), "its config.json 100")


def test_texts_that_do_not_make_a_classifier(loaded):
  encoder, params = loaded
  # Cut, a name would lose its end, and two classes might become one.
  fails(
    lambda: encoder.zero_shot(params, ["ant", "x" * 60], ["a {}"]), "'a xxx", "tokens, the encoder reads 40"
  )
  fails(lambda: encoder.zero_shot(params, ["ant"], ["a photo"]), "template 'a photo' has no {}")
  fails(lambda: encoder.zero_shot(params, ["ant"], []), "at least one class and one template")
  fails(lambda: encoder.zero_shot(params, [], ["{}"]), "at least one class and one template")
  longest = encoder.tokenize(["y" * 38])
  assert longest.lengths[0] == TOKENS  # what just fits is taken
  encoder.zero_shot(params, ["y" * 38], ["{}"])


def test_the_digest_follows_the_files(folder):
  before = Clip(folder).digest
  edit(folder / FILE, lambda b: b.update(resample=2))
  assert Clip(folder).digest != before
