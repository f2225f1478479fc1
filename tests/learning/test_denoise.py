import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.learning import denoise
from synthjax.models import initial
from synthjax.small_world import world

VOCABULARY = dict(vocab_size=20, bos_token_id=18, eos_token_id=19, pad_token_id=19)
ALPHA_BAR = np.linspace(0.999, 0.01, 1000)
EMPTY = np.array([18, 19, 19, 19])
UNET = world.UNET | {"block_out_channels": [32, 32], "cross_attention_dim": 128}


def task(**kwargs) -> denoise.Denoise:
  return denoise.Denoise(UNET, world.TEXT | VOCABULARY, ALPHA_BAR, EMPTY, **kwargs)


@pytest.fixture(scope="module")
def begun() -> dict:
  """Parameters of both networks, drawn on the host: to compile the networks' own start takes longer than all else here."""
  shapes = jax.eval_shape(task().init, jax.random.key(0), batch(2))["params"]
  return initial.scaled(shapes, np.random.default_rng(0))


def batch(n: int) -> dict:
  rng = np.random.default_rng(0)
  ids = np.tile([18, 3, 4, 19], (n, 1)).astype(np.int32)
  return {"latents": rng.standard_normal((n, 4, 8, 8), np.float32), "ids": ids}


@pytest.fixture
def seen(monkeypatch) -> dict:
  """What the networks are given; they answer with zeros."""
  given = {}

  def spy(module, params, *args, **kwargs):
    if "unet" in str(type(module)).lower():
      given["noised"], given["t"] = args[0], args[1]
      return type("Out", (), {"sample": jnp.zeros_like(args[0])})
    given["ids"] = args[0]
    return (jnp.zeros((*args[0].shape, 128)),)

  monkeypatch.setattr(denoise, "apply_corrected", spy)
  return given


def test_the_noised_latent_is_the_closed_form(seen):
  """With the network silent the loss is the noise's own variance, and x_t is sqrt(a) x + sqrt(1 - a) noise."""
  data, params = batch(4096), {"text_encoder": {}, "unet": {}}
  loss, _ = task().loss({"params": params}, data, jax.random.key(0), jnp.int32(0))
  assert float(loss) == pytest.approx(1.0, rel=0.01)
  a = ALPHA_BAR[np.asarray(seen["t"])]
  noise = (np.asarray(seen["noised"]) - np.sqrt(a)[:, None, None, None] * data["latents"]) / np.sqrt(1 - a)[
    :, None, None, None
  ]
  assert np.abs(np.corrcoef(noise.ravel(), data["latents"].ravel())[0, 1]) < 0.005
  assert noise.std() == pytest.approx(1.0, rel=0.01)
  assert np.asarray(seen["t"]).min() < 10 and np.asarray(seen["t"]).max() > 989


def test_a_network_that_knows_the_velocity_has_no_loss(monkeypatch):
  """v = sqrt(a) noise - sqrt(1 - a) x, with the noise worked out from what the network is given."""
  data = batch(64)

  def oracle(module, params, *args, **kwargs):
    if "unet" not in str(type(module)).lower():
      return (jnp.zeros((*args[0].shape, 128)),)
    a = jnp.asarray(ALPHA_BAR, jnp.float32)[args[1]][:, None, None, None]
    noise = (args[0] - jnp.sqrt(a) * data["latents"]) / jnp.sqrt(1 - a)
    return type("Out", (), {"sample": jnp.sqrt(a) * noise - jnp.sqrt(1 - a) * data["latents"]})

  monkeypatch.setattr(denoise, "apply_corrected", oracle)
  loss, _ = task().loss({"params": {"text_encoder": {}, "unet": {}}}, data, jax.random.key(0), jnp.int32(0))
  assert float(loss) < 1e-6
  assert world.SCHEDULER["prediction_type"] == "v_prediction"  # what the exported generator says of itself


@pytest.mark.parametrize("withheld", [0.0, 0.1, 1.0])
def test_captions_are_withheld_as_often_as_asked(seen, withheld):
  params = {"text_encoder": {}, "unet": {}}
  task(withheld=withheld).loss({"params": params}, batch(4096), jax.random.key(1), jnp.int32(0))
  empty = (np.asarray(seen["ids"]) == EMPTY).all(1)
  kept = (np.asarray(seen["ids"]) == [18, 3, 4, 19]).all(1)
  assert (empty | kept).all()
  assert empty.mean() == pytest.approx(withheld, abs=0.015)


def test_parts_that_were_trained_before_are_where_it_begins(begun):
  @jax.jit
  def init(key, unet):
    return task(init={"unet": unet}).init(key, batch(2))["params"]

  same = jax.tree.map(np.array_equal, init(jax.random.key(1), begun["unet"]), begun)
  assert all(jax.tree.leaves(same["unet"])) and not all(jax.tree.leaves(same["text_encoder"]))


def test_both_networks_get_gradients(begun):
  def loss(params):
    return task().loss({"params": params}, batch(2), jax.random.key(1), jnp.int32(0))[0]

  grads = jax.jit(jax.grad(loss))(begun)
  for part in ("text_encoder", "unet"):
    assert sum(np.abs(g).sum() for g in jax.tree.leaves(grads[part])) > 0
