import numpy as np

from synthjax.data.order import indices


def test_every_example_once_an_epoch_and_every_epoch_anew():
  stream = np.concatenate(
    [indices(s, 8, 30, seed=1) for s in range(15)]
  )  # 120 places: 4 epochs, batches span them
  epochs = stream.reshape(4, 30)
  assert all(sorted(e) == list(range(30)) for e in epochs)
  assert len({tuple(e) for e in epochs}) == 4
  assert (indices(7, 8, 30, seed=1) == stream[56:64]).all()  # of the step alone
  assert (indices(0, 8, 30, seed=2) != stream[:8]).any()


def test_a_batch_larger_than_the_data():
  assert sorted(indices(0, 6, 3, seed=0)) == [0, 0, 1, 1, 2, 2]
