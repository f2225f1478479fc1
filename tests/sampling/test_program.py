"""One image is one image: on any number of devices, in any batch, beside any neighbours."""

import functools
import json
import shutil

import jax
import numpy as np
import pytest

from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.sampling.program import SamplingProgram, Setting
from synthjax.store.plan import Plan, Segment
from synthjax.store.prompt import Prompt


def some_images(n: int, guidance: float = 3.0):
  prompts = [Prompt("a", f"a photo of a digit {i}") for i in range(5)]
  plan = Plan(("a",), prompts, [Segment((n,))], images_per_shard=n, drawing="", guidance=guidance, seed=0)
  return plan.images(plan.shards[0])


@functools.cache
def loaded(weights, n_devices=1):
  """The same generator for all, with its parameters on so many devices."""
  generator = StableDiffusion(weights) if n_devices == 1 else loaded(weights)[0]
  return generator, generator.load_params(mesh(n_devices))


def mesh(n_devices=1):
  return devices.local_mesh(jax.local_devices()[:n_devices])


@functools.cache
def program(weights, n_devices=1, per_device=8, parent=None, **setting) -> SamplingProgram:
  """The same for all who ask for the same: tracing one takes seconds."""
  return own_program(weights, n_devices, per_device, parent, **setting)


def own_program(weights, n_devices=1, per_device=8, parent=None, **setting) -> SamplingProgram:
  generator, params = loaded(weights, n_devices)
  setting = Setting(**(dict(steps=3, guided=True, size=32, stored_size=32, group=8) | setting))
  return SamplingProgram(generator, params, setting, mesh(n_devices), per_device, parent)


def sample_all(d: SamplingProgram, images) -> np.ndarray:
  batches = [images[i : i + d.batch_size] for i in range(0, len(images), d.batch_size)]
  return np.concatenate([np.asarray(d.sample(b))[: len(b)] for b in batches])


@pytest.mark.parametrize("eta, batches", [(0.0, [(1, 1), (1, 32), (4, 20)]), (1.0, [(1, 1), (4, 8)])])
def test_bytes_do_not_depend_on_devices_batch_or_neighbours(weights, eta, batches):
  images = some_images(19)  # a short last batch everywhere
  reference = sample_all(program(weights, 1, 8, eta=eta), images)
  assert reference.std() > 10  # pictures, not one colour
  for n_devices, per_device in batches:
    np.testing.assert_array_equal(
      sample_all(program(weights, n_devices, per_device, eta=eta), images), reference
    )
  np.testing.assert_array_equal(sample_all(program(weights, 2, 16, eta=eta), images[::-1]), reference[::-1])


def test_a_short_batch_costs_as_many_groups_as_it_fills(weights, monkeypatch):
  """Dealt to the devices in turn: 10 images in a batch of 64 take one group of 8 on each of two devices, and not four."""
  d, computed = own_program(weights, 2, 32), []
  group = d._draw_group

  def counted(params, *data):
    jax.debug.callback(lambda: computed.append(1))
    return group(params, *data)

  monkeypatch.setattr(d, "_draw_group", counted)
  for n, groups in ((10, 2), (16, 2), (17, 4), (64, 8)):
    computed.clear()
    assert len(np.asarray(d.sample(some_images(n)))) == n
    jax.effects_barrier()
    assert len(computed) == groups


def test_the_output_is_sharded_and_the_work_is_shared(weights):
  """A sampler that ran replicated would return the right images, n times as slowly."""
  flops = {}
  for n in (1, 2, 4):
    d = program(weights, n, 8 // n, group=0)  # the loop over groups would be counted once
    arguments = d.arguments(some_images(8))
    out = d.program(*arguments)
    assert len(out.sharding.device_set) == n
    assert {s.data.shape[0] for s in out.addressable_shards} == {8 // n}
    flops[n] = d.program.lower(*arguments).compile().cost_analysis()["flops"]
  assert flops[2] == pytest.approx(flops[1] / 2, rel=0.01)
  assert flops[4] == pytest.approx(flops[1] / 4, rel=0.01)


def test_guidance_is_a_number_an_image(weights):
  low, high = some_images(4, guidance=1.5), some_images(4, guidance=6.0)
  d = program(weights, per_device=4)
  mixed = sample_all(d, [low[0], high[1], low[2], high[3]])
  np.testing.assert_array_equal(mixed[[0, 2]], sample_all(d, low)[[0, 2]])
  np.testing.assert_array_equal(mixed[[1, 3]], sample_all(d, high)[[1, 3]])
  assert (sample_all(d, low) != sample_all(d, high)).any()


def test_unguided_equals_guidance_one(weights):
  images = some_images(4, guidance=1.0)
  plain = sample_all(program(weights, per_device=4, guided=False), images).astype(int)
  assert np.abs(plain - sample_all(program(weights, per_device=4), images)).max() <= 1


def test_stored_size_keeps_the_picture(weights):
  images = some_images(2)
  full, half = sample_all(program(weights), images), sample_all(program(weights, stored_size=16), images)
  assert half.shape == (2, 16, 16, 3)
  means = full.reshape(2, 16, 2, 16, 2, 3).mean((2, 4))
  assert np.corrcoef(means.ravel(), half.ravel())[0, 1] > 0.95


def test_eta_adds_noise_that_belongs_to_the_image(weights):
  images = some_images(3)
  calm, noisy = sample_all(program(weights), images), sample_all(program(weights, eta=1.0), images)
  assert (calm != noisy).mean() > 0.5


# --- samplers, negative prompts, parents ---------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "euler_ancestral", "lcm"])
def test_fresh_noise_is_the_images_own_for_every_sampler(weights, sampler):
  images = some_images(9)
  reference = sample_all(program(weights, 1, 8, sampler=sampler), images)
  np.testing.assert_array_equal(
    sample_all(program(weights, 2, 8, sampler=sampler), images[::-1])[::-1], reference
  )
  assert (reference != sample_all(program(weights, 1, 8), images)).mean() > 0.5


def test_a_last_step_without_signal_gives_pictures(weights, tmp_path):
  """As noise, the network's output would be divided by a signal of 0 there."""
  folder = shutil.copytree(weights, tmp_path / "generator")
  file = folder / "scheduler" / "scheduler_config.json"
  keys = dict(prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
  file.write_text(json.dumps(json.loads(file.read_text()) | keys))
  d = program(folder, per_device=1, group=1)
  assert d.setting.table(d.generator).rows["signal"][0] == 0
  picture = np.asarray(d.sample(some_images(1)))[0]
  assert picture.std() > 10 and (picture > 0).mean() > 0.9  # what is no number is stored as 0


def test_guidance_leads_away_from_a_negative_prompt(weights):
  images = some_images(3)
  plain = sample_all(program(weights), images)
  negative = sample_all(program(weights, negative_prompt="a photo of a digit 7"), images)
  assert (plain != negative).mean() > 0.3
  unguided = [
    sample_all(program(weights, guided=False, negative_prompt=n), images)
    for n in ("", "a photo of a digit 7")
  ]
  np.testing.assert_array_equal(*unguided)


def test_a_picture_that_is_noised_by_nothing_is_decoded_and_by_little_is_alike(weights):
  parent = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
  images = some_images(2)
  pictures = {
    s: sample_all(program(weights, steps=20, strength=s, parent=lambda _: parent), images)
    for s in (0.0, 0.05, 0.9)
  }
  generator, params = loaded(weights)
  through = jax.jit(lambda params, pixels: generator.decode(params, generator.encode_pixels(params, pixels)))
  decoded = through(params, parent[None] / np.float32(255))
  np.testing.assert_allclose(pictures[0.0][0], np.round(np.asarray(decoded)[0] * 255), atol=1)

  def away(strength: float) -> float:
    return np.abs(pictures[strength].astype(int) - pictures[0.0]).mean()

  assert 0 < away(0.05) < away(0.9) * 0.8


# --- what fits -----------------------------------------------------------------------------------------


def test_a_batch_that_does_not_fit_is_refused_with_the_largest_that_does(weights):
  d = program(weights, per_device=8, group=0)
  sizes = {n: program(weights, per_device=n, group=0).memory for n in (4, 5, 6)}
  assert 0 < sizes[4] < sizes[5] < sizes[6] < d.memory
  limit = (sizes[5] + sizes[6]) // 2
  with pytest.raises(UserError) as e:
    d.check_fit(limit)
  assert str(e.value).endswith("at most 5 fit: set config.sampling.per_device_batch=5")
  program(weights, per_device=5, group=0).check_fit(limit)
  with pytest.raises(UserError, match="not even 1 fit; sample smaller images"):
    d.check_fit(1000)


def test_the_kernels_are_known_whoever_traced_first(weights):
  checked, compiled = own_program(weights), own_program(weights)
  checked.check()
  assert checked.compiled and compiled.compiled and checked.kernels == compiled.kernels
  assert "64x160 (2 heads of 16)" in checked.kernels["plain"]  # of the UNet's pixels, to the prompt


def test_decoding_in_parts_changes_no_picture(weights):
  images = some_images(8)
  whole, parts = (program(weights, per_device=8, group=0, decode_batch=n) for n in (8, 2))
  assert np.abs(sample_all(whole, images).astype(int) - sample_all(parts, images)).max() <= 1
