"""Tip-Adapter-F against its published formula, written out in NumPy and in PyTorch."""

import functools

import jax
import numpy as np
import pytest

from synthjax.tasks.adapter import RATIOS, SHARPNESSES, TipAdapter, search
from synthjax.training.head import Classifier, Memory, read
from synthjax.training.loop import init_state, train_step
from synthjax.training.optimizer import Recipe

K, D, M = 3, 8, 12


@pytest.fixture
def case():
  rng = np.random.default_rng(0)
  labels = np.arange(M) % K
  features = (rng.normal(size=(M, D)) + 2 * np.eye(K, D)[labels]).astype(np.float32)
  return features, labels, (4 * rng.normal(size=(K, D))).astype(np.float32)


def by_hand(features, W, keys, labels, ratio, sharpness):
  logits = np.zeros((len(features), K))
  for n, f in enumerate(features.astype(np.float64)):
    f = f / np.sqrt((f**2).sum())
    logits[n] = W @ f
    for key, label in zip(keys, labels, strict=True):
      logits[n, label] += ratio * np.exp(-sharpness * (1 - f @ key))
  return logits


def test_loss_is_that_of_the_formula_and_the_keys_alone_learn(case):
  features, labels, W = case
  task = TipAdapter(W, features, labels)
  batch = {"real": {"features": features, "labels": labels}}
  variables = task.init(jax.random.key(0), batch)
  assert set(variables["params"]) == {"keys"}
  unit = features / np.linalg.norm(features, axis=1, keepdims=True)
  np.testing.assert_allclose(variables["params"]["keys"], unit, atol=1e-6)
  z = by_hand(features, W.astype(np.float64), unit, labels, 1.0, 1.0)
  wanted = -(z - np.log(np.exp(z).sum(1, keepdims=True)))[np.arange(M), labels].mean()
  assert float(task.loss(variables, batch, jax.random.key(0), 0)[0]) == pytest.approx(wanted, rel=1e-5)


def test_a_saved_one_gives_the_same_logits(case, tmp_path):
  from etils import epath

  features, labels, W = case
  keys, values = features / 2, np.eye(K, dtype=np.float32)[labels]
  about = dict(class_ids=("a", "b", "c"), class_names=("a", "b", "c"), encoder={}, made={})
  one = Classifier(W, np.zeros(K, np.float32), **about, memory=Memory(keys, values, 1.7, 3.1))
  np.testing.assert_allclose(one.logits(features), by_hand(features, W, keys, labels, 1.7, 3.1), rtol=1e-5)
  one.write(epath.Path(tmp_path))
  np.testing.assert_array_equal(read(epath.Path(tmp_path)).logits(features), one.logits(features))


def test_the_search_finds_what_names_most_and_of_equals_the_first(case):
  """A zero-shot classifier that is wrong everywhere wants all the memory it can have."""
  features, labels, _ = case
  unit = features / np.linalg.norm(features, axis=1, keepdims=True)
  wrong = 0.5 * np.eye(K, D)[[1, 2, 0]].astype(np.float32)
  values = np.eye(K, dtype=np.float32)[labels]
  ratio, sharpness, right = search(wrong, unit, values, features, labels)
  table = {
    (s, r): 100 * (by_hand(features, wrong, unit, labels, r, s).argmax(1) == labels).mean()
    for s in SHARPNESSES[::40]
    for r in RATIOS[::5]
  }
  assert right >= max(table.values()) and right > 50
  assert ratio in RATIOS and sharpness in SHARPNESSES
  assert search(4 * np.eye(K, D)[[0, 1, 2]], unit, values, np.eye(K, D), np.arange(K))[:2] == (0.1, 0.1)


@pytest.mark.parity
def test_the_whole_way_is_pytorchs(case, torch):
  features, labels, W = case
  recipe = Recipe(steps=20, learning_rate=1e-2, weight_decay=0.01, decay_all=True, clip_norm=0.0)
  task, key = TipAdapter(W, features, labels), jax.random.key(0)
  batch = {"real": {"features": features, "labels": labels}}
  state, step_of = init_state(task, recipe, batch, key), jax.jit(functools.partial(train_step, task, recipe))
  for _ in range(20):
    state, _ = step_of(state, batch, key)
  x = torch.nn.functional.normalize(torch.tensor(features), dim=1)
  adapter = torch.nn.Linear(D, M, bias=False)
  adapter.weight = torch.nn.Parameter(x.clone())
  values = torch.nn.functional.one_hot(torch.tensor(labels), K).float()
  optimizer = torch.optim.AdamW(adapter.parameters(), lr=1e-2, weight_decay=0.01)
  cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
  for _ in range(20):
    cache = ((-1) * (1.0 - 1.0 * adapter(x))).exp() @ values
    loss = torch.nn.functional.cross_entropy(x @ torch.tensor(W).T + cache * 1.0, torch.tensor(labels))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    cosine.step()
  np.testing.assert_allclose(state.variables["params"]["keys"], adapter.weight.detach().numpy(), atol=1e-5)
