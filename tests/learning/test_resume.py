"""Every task of the package goes on, after a stop, to the bits of a run that was not stopped."""

import signal

import jax
import numpy as np
import pytest
from etils import epath

from synthjax.learning.autoencode import Autoencode
from synthjax.learning.contrast import Contrast
from synthjax.learning.denoise import Denoise
from synthjax.learning.loop import Pace, train
from synthjax.learning.optimizer import Recipe
from synthjax.learning.tune import Tune
from synthjax.models.flax_classes import CLIPConfig
from synthjax.runtime import sharding
from synthjax.runtime.errors import Interrupted
from synthjax.runtime.stopping import Stop
from synthjax.small_world import world

VOCABULARY = dict(vocab_size=20, bos_token_id=18, eos_token_id=19, pad_token_id=19)
IDS = np.tile([18, 3, 4, 19], (8, 1)).astype(np.int32)


def pixels(rng):
  return rng.integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)


def contrast():
  text, vision = world.TEXT | VOCABULARY, world.CLIP["vision_config"]
  shallow = dict(
    text_config=text | dict(num_hidden_layers=1), vision_config=vision | dict(num_hidden_layers=1)
  )
  return Contrast(CLIPConfig(**(world.CLIP | shallow))), lambda rng: {
    "pixels": pixels(rng),
    "ids": IDS,
    "caption": np.arange(8, dtype=np.int32),
  }


def autoencode():
  down, up = ["DownEncoderBlock2D"], ["UpDecoderBlock2D"]
  small = dict(down_block_types=down, up_block_types=up, block_out_channels=[8], norm_num_groups=4)
  return Autoencode(world.AUTOENCODER | small), lambda rng: {"pixels": pixels(rng)}


def denoise():
  down, up = ["DownBlock2D"], ["UpBlock2D"]  # the block between them reads the prompt
  small = dict(down_block_types=down, up_block_types=up, block_out_channels=[32])
  text = world.TEXT | VOCABULARY | dict(num_hidden_layers=1)
  task = Denoise(world.UNET | small, text, np.linspace(0.999, 0.01, 1000), IDS[0])
  return task, lambda rng: {"latents": rng.standard_normal((8, 4, 8, 8), np.float32), "ids": IDS}


def tune():
  return Tune(np.eye(4, 6, dtype=np.float32), seeds=4, soft=True), lambda rng: {
    "synthetic": {
      "features": rng.standard_normal((4, 8, 6), np.float32),
      "labels": rng.integers(0, 4, (4, 8)).astype(np.int32),
    }
  }


@pytest.mark.parametrize("make", [contrast, autoencode, denoise, tune])
def test_a_stopped_task_goes_on_to_the_same_bits(tmp_path, make):
  task, batch_of = make()
  n_devices = 4 if make is tune else 1  # the others compile a third longer for four
  mesh = sharding.training_mesh(1, jax.devices()[:n_devices])

  def run(folder, stop_at=-1):
    def batch_at(step):
      if step == stop_at:
        signal.raise_signal(signal.SIGTERM)
      return batch_of(np.random.default_rng(step))

    with Stop() as stop:
      return train(
        task,
        batch_at,
        Recipe(steps=4, ema=0.9, weight_decay=0.1, copies=make is tune),
        epath.Path(folder),
        name="x",
        batch_size=8,
        pace=Pace(),
        stop=stop,
        mesh=mesh,
      )

  straight = run(tmp_path / "straight")
  with pytest.raises(Interrupted):
    run(tmp_path / "stopped", stop_at=2)
  resumed = run(tmp_path / "stopped")
  averaged, last = (jax.tree.leaves(x["params"]) for x in (straight.ema, straight.variables))
  moved = [not np.allclose(a, b, atol=1e-5) for a, b in zip(averaged, last, strict=True)]
  assert any(moved)  # it learnt something in between
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), straight, resumed)
