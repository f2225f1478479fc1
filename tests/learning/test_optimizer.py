"""Optimisers and schedules against PyTorch's, step for step; schedules by hand; what is frozen stays; what decays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from synthjax.encoders import layouts
from synthjax.encoders.preprocess import Preprocess
from synthjax.encoders.towers import Towers
from synthjax.learning.classify import Classify
from synthjax.learning.contrast import Contrast, ResidualContrast
from synthjax.learning.optimizer import Recipe, decays, frozen, optimizer, schedule
from synthjax.models import networks
from synthjax.models.flax_classes import CLIPConfig
from synthjax.small_world import world

STEPS = 20
START = {"w": np.array([[1.0, -2.0], [0.5, 3.0]], np.float32), "b": np.array([0.3, -0.1], np.float32)}


def gradient(params, t):
  """Of nothing in particular, but the same for both."""
  return {k: np.sin(3 * np.asarray(v) + t).astype(np.float32) for k, v in params.items()}


def ours(recipe):
  tx, params = optimizer(recipe), jax.tree.map(jnp.asarray, START)
  state = tx.init(params)
  for t in range(STEPS):
    updates, state = tx.update(jax.tree.map(jnp.asarray, gradient(params, t)), state, params)
    params = optax.apply_updates(params, updates)
  return params


def theirs(torch, make, scheduler):
  params = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in START.items()}
  learner = make(list(params.values()))
  rates = scheduler(learner)
  for t in range(STEPS):
    for k, g in gradient({k: v.detach().numpy() for k, v in params.items()}, t).items():
      params[k].grad = torch.tensor(g)
    learner.step()
    rates.step()
  return {k: v.detach().numpy() for k, v in params.items()}


COMMON = dict(steps=STEPS, decay_all=True, clip_norm=0.0)


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["adamw", "sgd", "nesterov"])
@pytest.mark.parametrize("falls", ["cosine", "step"])
def test_twenty_steps_are_those_of_pytorch(torch, kind, falls):
  sgd, nesterov = kind != "adamw", kind == "nesterov"
  recipe = Recipe(
    learning_rate=0.05,
    weight_decay=0.1,
    schedule=falls,
    drops=(0.3, 0.6),
    optimizer="sgd" if sgd else "adamw",
    nesterov=nesterov,
    **COMMON,
  )

  def make(params):
    if sgd:
      return torch.optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=0.1, nesterov=nesterov)
    return torch.optim.AdamW(params, lr=0.05, weight_decay=0.1)

  schedulers = torch.optim.lr_scheduler
  scheduler = {
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, STEPS),
    "step": lambda o: schedulers.MultiStepLR(o, [6, 12], 0.1),
  }[falls]
  got, expected = ours(recipe), theirs(torch, make, scheduler)
  for k in START:
    np.testing.assert_allclose(got[k], expected[k], rtol=1e-5, atol=1e-6)


def test_warm_up_stable_and_decay():
  rate = schedule(Recipe(steps=100, learning_rate=1.0, warmup=10, schedule="wsd", cooldown=0.2))
  assert [float(rate(t)) for t in (0, 5, 10, 79, 80, 90, 100)] == pytest.approx([0, 0.5, 1, 1, 1, 0.5, 0])


def test_drops_count_from_the_first_step_warm_up_or_not():
  for warmup in (0, 10):
    rate = schedule(Recipe(steps=100, learning_rate=1.0, warmup=warmup, schedule="step", drops=(0.5,)))
    assert [float(rate(t)) for t in (20, 49, 51)] == pytest.approx([1, 1, 0.1])


def test_what_is_frozen_stays_and_does_not_decay():
  recipe = Recipe(steps=STEPS, learning_rate=0.1, weight_decay=0.5, freeze="w")
  assert frozen(START, "w") == {"w": "frozen", "b": "learns"}
  params = ours(recipe)
  np.testing.assert_array_equal(params["w"], START["w"])
  assert not np.allclose(params["b"], START["b"])


# --- what decays -----------------------------------------------------------------------------------------

TREE = {
  "patch_embed": {"kernel": (2, 2, 3, 4), "bias": (4,)},
  "cls_token": (1, 1, 4),
  "pos_embed": (1, 5, 4),
  "blocks_0": {"norm1": {"scale": (2, 4), "bias": (2, 4)}, "fc1": {"kernel": (4, 8), "bias": (8,)}},
  "norm": {"scale": (4,), "bias": (4,)},
  "head": {"kernel": (4, 3), "bias": (3,)},
}
LEFT_ALONE_BY_TIMM = {
  "cls_token",
  "pos_embed",
}  # its ViTs' no_weight_decay(); norms and biases are for all networks


@pytest.mark.parity
def test_a_vision_transformer_decays_as_in_timms_parameter_groups(torch):
  shapes = traverse_util.flatten_dict(TREE, sep="/")
  draw = np.random.default_rng(0)
  start = {path: draw.standard_normal(shape).astype(np.float32) for path, shape in shapes.items()}
  grads = [
    {p: draw.standard_normal(x.shape).astype(np.float32) for p, x in start.items()} for _ in range(STEPS)
  ]

  theirs = {p: torch.nn.Parameter(torch.tensor(x)) for p, x in start.items()}
  plain = {p for p in start if p in LEFT_ALONE_BY_TIMM or "norm" in p or p.endswith("/bias")}
  groups = [
    {"params": [theirs[p] for p in sorted(plain)], "weight_decay": 0.0},
    {"params": [theirs[p] for p in sorted(start.keys() - plain)], "weight_decay": 0.5},
  ]
  learner = torch.optim.AdamW(groups, lr=0.05)
  tx = optimizer(
    Recipe(steps=STEPS, learning_rate=0.05, weight_decay=0.5, schedule="constant", clip_norm=0.0)
  )
  params = traverse_util.unflatten_dict({p: jnp.asarray(x) for p, x in start.items()}, sep="/")
  state = tx.init(params)
  for grad in grads:
    for path, value in grad.items():
      theirs[path].grad = torch.tensor(value)
    learner.step()
    updates, state = tx.update(traverse_util.unflatten_dict(grad, sep="/"), state, params)
    params = optax.apply_updates(params, updates)
  for path, value in traverse_util.flatten_dict(params, sep="/").items():
    np.testing.assert_allclose(value, theirs[path].detach().numpy(), rtol=1e-4, atol=1e-5, err_msg=path)


def differing(params) -> set[str]:
  """What decays otherwise than by the older rule, which asked for two dimensions alone."""
  now = traverse_util.flatten_dict(decays(params), sep="/")
  return {p for p, x in traverse_util.flatten_dict(params, sep="/").items() if now[p] != (x.ndim > 1)}


def learnable(name: str, domains: int):
  pixels = {"pixels": jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.uint8)}
  task = Classify(networks.build(name, 10, domains=domains), 10)
  return jax.eval_shape(task.init, jax.random.key(0), pixels)["params"]


@pytest.mark.parametrize("name", ["resnet18", "resnet50-cifar", "resnet-mini", "vit-ti16", "vit-mini"])
@pytest.mark.parametrize("domains", [1, 2])
def test_norms_biases_positions_and_class_tokens_do_not_decay(name, domains):
  params = learnable(name, domains)
  tokens = {"pos_embed", "cls_token"} & params.keys()
  norms = {
    path
    for path in traverse_util.flatten_dict(params, sep="/")
    if path.split("/")[-2:-1] and path.split("/")[-2].startswith(("bn", "norm", "downsample_1"))
  }
  assert differing(params) == tokens | (norms if domains == 2 else set())
  assert all(decays(params)["head"][k] == (k == "kernel") for k in ("kernel", "bias"))


def test_what_the_small_world_ships_was_trained_as_it_would_be_now():
  """CLIP decays whatever is no gain and no bias (Radford et al. 2021, Sec. 2.5): positions of two dimensions too."""
  words = dict(vocab_size=99, bos_token_id=97, eos_token_id=98, pad_token_id=98)
  batch = {
    "ids": jax.ShapeDtypeStruct((1, world.MAX_TOKENS), jnp.int32),
    "pixels": jax.ShapeDtypeStruct((1, *[world.CLIP["vision_config"]["image_size"]] * 2, 3), jnp.uint8),
  }
  clip = Contrast(CLIPConfig(**(world.CLIP | {"text_config": world.TEXT | words})))
  text = dict(context_length=world.MAX_TOKENS, vocab_size=99, width=32, heads=2, layers=1)
  model = world.RESIDUAL_CLIP | {"text_cfg": text}
  side = model["vision_cfg"]["image_size"]
  towers = Towers(
    layouts.openclip_architecture(layouts.Path(layouts.OPENCLIP), model), Preprocess(side, side)
  )
  for task in (clip, ResidualContrast(towers)):
    params = jax.eval_shape(task.init, jax.random.key(0), batch)["params"]
    assert len(jax.tree.leaves(params)) > 30 and not differing(params)


def test_learners_side_by_side_decay_as_each_would_alone():
  params = {"W": np.ones((3, 5, 4)), "b": np.ones((3, 5))}
  assert decays(params, copies=True) == {"W": True, "b": False}
