"""Tip-Adapter-F against its published formula, written out in NumPy and in PyTorch."""

import functools

import jax
import numpy as np
import pytest

from synthjax.learning import classifier_tuning
from synthjax.learning.adapter import TipAdapter, grid, search
from synthjax.learning.head import Classifier, Memory, read
from synthjax.learning.step import init_state, train_step
from synthjax.spec.fields import Tuning

K, D, M = 3, 8, 12
RATIOS, SHARPNESSES = grid(3.0, 20), grid(7.0, 200)


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
  ratio, sharpness, right = search(wrong, unit, values, features, labels, RATIOS, SHARPNESSES)
  table = {
    (s, r): 100 * (by_hand(features, wrong, unit, labels, r, s).argmax(1) == labels).mean()
    for s in SHARPNESSES[::40]
    for r in RATIOS[::5]
  }
  assert right >= max(table.values()) and right > 50
  assert ratio in RATIOS and sharpness in SHARPNESSES
  right = 4 * np.eye(K, D)[[0, 1, 2]]
  assert search(right, unit, values, np.eye(K, D), np.arange(K), RATIOS, SHARPNESSES)[:2] == (0.1, 0.1)


def test_the_grid_is_that_of_the_published_search():
  scale, step = [12, 5], [200, 20]  # Caltech101: of beta, of alpha
  beta, alpha = ([i * (scale[axis] - 0.1) / step[axis] + 0.1 for i in range(step[axis])] for axis in range(2))
  assert grid(12.0, 200) == tuple(beta) and grid(5.0, 20) == tuple(alpha)
  assert beta[-1] == pytest.approx(11.9405) and len(set(beta)) == 200  # 12 itself is never tried


def test_the_search_is_on_the_grid_given(case):
  features, labels, _ = case
  unit = features / np.linalg.norm(features, axis=1, keepdims=True)
  values = np.eye(K, dtype=np.float32)[labels]
  wrong = 2.0 * np.eye(K, D)[[1, 2, 0]].astype(np.float32)  # a small memory cannot outweigh it
  few = search(wrong, unit, values, features, labels, grid(0.2, 2), [1.0])
  many = search(wrong, unit, values, features, labels, grid(30.0, 20), [1.0])
  assert few[0] in grid(0.2, 2) and few[1] == many[1] == 1.0
  assert many[0] > 0.2 and many[2] > few[2]


@pytest.mark.parity
@pytest.mark.parametrize("alpha, beta, epsilon", [(1.0, 1.0, 1e-8), (3.0, 2.0, 1e-4)])
def test_the_whole_way_is_pytorchs(case, torch, alpha, beta, epsilon):
  features, labels, W = case
  fields = Tuning(learning_rate=1e-2, weight_decay=0.01, clip_norm=0.0, epsilon=epsilon)
  recipe = classifier_tuning.recipe_of(fields, 20)
  task, key = TipAdapter(W, features, labels, alpha, beta), jax.random.key(0)
  batch = {"real": {"features": features, "labels": labels}}
  state, step_of = init_state(task, recipe, batch, key), jax.jit(functools.partial(train_step, task, recipe))
  for _ in range(20):
    state, _ = step_of(state, batch, key)
  x = torch.nn.functional.normalize(torch.tensor(features), dim=1)
  adapter = torch.nn.Linear(D, M, bias=False)
  adapter.weight = torch.nn.Parameter(x.clone())
  values = torch.nn.functional.one_hot(torch.tensor(labels), K).float()
  optimizer = torch.optim.AdamW(adapter.parameters(), lr=1e-2, eps=epsilon)
  cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
  for _ in range(20):
    cache = ((-1) * (beta - beta * adapter(x))).exp() @ values
    loss = torch.nn.functional.cross_entropy(x @ torch.tensor(W).T + cache * alpha, torch.tensor(labels))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    cosine.step()
  np.testing.assert_allclose(state.variables["params"]["keys"], adapter.weight.detach().numpy(), atol=1e-5)
