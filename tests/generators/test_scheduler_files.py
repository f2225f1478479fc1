"""Every key of a scheduler_config.json: followed as diffusers' PyTorch scheduler does, or refused by name."""

import inspect
import json

import jax
import numpy as np
import pytest

from synthjax.generators import samplers, scheduler_keys
from synthjax.generators.schedule import read_schedule
from synthjax.runtime.errors import UserError
from synthjax.spec.fields import SAMPLERS
from tests.generators.published_schedulers import OWN_SAMPLER, PUBLISHED
from tests.generators.trajectories import STABLE_DIFFUSION, drawn, error, ours, scheduler_of, theirs

V = {"prediction_type": "v_prediction"}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}
ZERO_SNR = V | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
SDE = {"algorithm_type": "sde-dpmsolver++"}
TO_SIGMA_MIN = {"final_sigmas_type": "sigma_min"}

FOLLOWED = [
  ("dpmpp_2m", COSINE | {"lambda_min_clipped": -5.1}),
  ("dpmpp_2m", COSINE | {"lambda_min_clipped": -5.1, "timestep_spacing": "leading"}),
  ("dpmpp_2m", COSINE | {"lambda_min_clipped": -5.1, "timestep_spacing": "trailing"}),
  ("dpmpp_2m", SDE),
  ("dpmpp_2m", SDE | {"solver_type": "heun"}),
  ("dpmpp_2m", SDE | {"solver_order": 1}),
  ("dpmpp_2m", TO_SIGMA_MIN | {"algorithm_type": "deis", "solver_type": "logrho"}),
  ("dpmpp_2m", {"solver_type": "heun"}),
  ("dpmpp_2m", {"solver_type": "bh2"}),
  ("dpmpp_2m", {"solver_order": 1}),
  ("dpmpp_2m", TO_SIGMA_MIN),
  ("dpmpp_2m", TO_SIGMA_MIN | {"euler_at_final": True}),
  ("dpmpp_2m", TO_SIGMA_MIN | {"lower_order_final": False}),
  ("dpmpp_2m", TO_SIGMA_MIN | {"lower_order_final": None}),
  ("dpmpp_2m", TO_SIGMA_MIN | SDE),
  ("dpmpp_2m", {"use_karras_sigmas": True}),
  ("dpmpp_2m", {"use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 10.0}),
  ("dpmpp_2m", {"use_karras_sigmas": True} | TO_SIGMA_MIN),
  ("dpmpp_2m", {"use_lu_lambdas": True}),
  ("euler", {"interpolation_type": "log_linear"}),
  ("euler", {"interpolation_type": "log_linear", "timestep_spacing": "leading"}),
  ("euler", {"interpolation_type": "log_linear", "use_karras_sigmas": True}),
  ("euler", V | {"interpolation_type": "log_linear", "timestep_type": "continuous"}),
  ("euler", V | {"timestep_type": "continuous"}),
  ("euler", {"timestep_type": "continuous"}),
  ("euler", TO_SIGMA_MIN),
  ("euler", {"use_karras_sigmas": True}),
  ("euler", {"use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 10.0, "timestep_spacing": "trailing"}),
  ("euler", {"use_exponential_sigmas": True}),
  ("euler", {"use_beta_sigmas": True}),
  ("lcm", {"timestep_scaling": 0.003}),
  ("lcm", {"original_inference_steps": 40}),
  ("lcm", {"clip_sample": True, "clip_sample_range": 0.7}),
]


@pytest.fixture(autouse=True)
def eager():
  """Loops of a few small arrays take less time than their compilation."""
  with jax.disable_jit():
    yield


@pytest.mark.parity
@pytest.mark.parametrize(("sampler", "changes"), FOLLOWED)
def test_keys_are_followed_as_pytorchs_schedulers_do(torch, monkeypatch, sampler, changes):
  for steps in (12, 20):
    args = (STABLE_DIFFUSION | changes, sampler, steps, 0.0, 3.0, *drawn(steps + 1))
    assert error(ours(*args), theirs(torch, monkeypatch, *args)) <= 1e-5


@pytest.mark.parity
@pytest.mark.parametrize(
  ("prediction", "spacing", "guidance"),
  [
    ("v_prediction", "trailing", 5.0),
    ("v_prediction", "trailing", 1.0),
    ("v_prediction", "linspace", 5.0),
    ("v_prediction", "leading", 5.0),
    ("sample", "trailing", 5.0),
  ],
)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_last_step_without_signal_equals_pytorchs(
  torch, monkeypatch, sampler, prediction, spacing, guidance
):
  """Theirs subtracts numbers of 4096 in float32 for Euler: 1e-4."""
  if sampler == "euler_ancestral" and prediction == "sample":
    pytest.skip("they raise NotImplementedError")
  config = STABLE_DIFFUSION | ZERO_SNR | {"timestep_spacing": spacing, "prediction_type": prediction}
  args = (config, sampler, 12, 0.0, guidance, *drawn(13))
  got = ours(*args)
  assert np.isfinite(got).all()
  assert error(got, theirs(torch, monkeypatch, *args)) <= (1e-4 if sampler.startswith("euler") else 1e-5)


@pytest.mark.parity
@pytest.mark.parametrize(
  ("sampler", "changes"),
  [
    ("dpmpp_2m", SDE | TO_SIGMA_MIN),
    ("dpmpp_2m", {"use_karras_sigmas": True}),
    ("euler", V | TO_SIGMA_MIN | {"timestep_type": "continuous"}),
    ("ddim", ZERO_SNR),
  ],
)
def test_keys_are_followed_from_a_noised_picture_on(torch, monkeypatch, sampler, changes):
  start, noise = drawn(20)
  clean = np.random.default_rng(1).standard_normal(start.shape, np.float32)
  args = (STABLE_DIFFUSION | changes, sampler, 20, 0.0, 3.0, start, noise, 0.3, clean)
  assert error(ours(*args), theirs(torch, monkeypatch, *args)) <= 1e-5


@pytest.mark.parity
@pytest.mark.parametrize("name", OWN_SAMPLER)
def test_published_files_draw_as_their_own_scheduler(torch, monkeypatch, name):
  sampler = OWN_SAMPLER[name]
  args = (PUBLISHED[name], sampler, 4, 0.0, 2.0, *drawn(5))
  assert error(ours(*args), theirs(torch, monkeypatch, *args)) <= 2e-5


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_open_and_keep_their_tables(name, sampler):
  """None of them holds a key that older releases ignored and should not have: their image sets stay valid."""
  schedule = read_schedule(json.loads(json.dumps(PUBLISHED[name])))
  for steps in (1, 4, 25):
    assert len(samplers.table(schedule, sampler, steps)) == steps
    assert not samplers.has_ignored_keys(schedule, sampler, steps)


@pytest.mark.parity
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_parameter_of_their_scheduler_is_known(torch, sampler):
  """And those that are said to have no effect on a sampler are none of its scheduler's."""
  parameters = dict(inspect.signature(type(scheduler_of(sampler, {})).__init__).parameters)
  del parameters["self"]
  scheduler_keys.check({name: parameter.default for name, parameter in parameters.items()}, "file")
  for name in parameters:
    if name in scheduler_keys.KEYS:
      assert sampler in scheduler_keys.KEYS[name].readers
  without_effect = {name for name, key in scheduler_keys.KEYS.items() if sampler not in key.readers}
  assert not without_effect & set(parameters)


@pytest.mark.parity
def test_other_families_are_refused_by_name(torch):
  import diffusers

  classes = [n for n in dir(diffusers) if n.endswith("Scheduler") and not n.startswith("Flax")]
  assert set(scheduler_keys.CLASSES) <= set(classes) and len(classes) > 40
  for name in set(classes) - set(scheduler_keys.CLASSES):
    with pytest.raises(UserError, match=rf"f\.json has _class_name='{name}'.*take a checkpoint of DDIM, "):
      read_schedule({"_class_name": name}, "f.json")
  read_schedule({"_class_name": "FlaxPNDMScheduler"})


@pytest.mark.parametrize(
  ("sampler", "changes", "said"),
  [
    ("ddim", {"thresholding": True}, "thresholding=True; sampler ddim can follow False; set .* to euler or"),
    (
      "dpmpp_2m",
      {"solver_order": 3},
      "solver_order=3; sampler dpmpp_2m can follow 1 or 2; set .* to ddim or",
    ),
    ("dpmpp_2m", {"algorithm_type": "dpmsolver"}, "algorithm_type='dpmsolver'; sampler dpmpp_2m can follow"),
    ("dpmpp_2m", {"solver_type": "rk4"}, "solver_type='rk4'"),
    (
      "dpmpp_2m",
      {"use_beta_sigmas": True},
      "use_beta_sigmas=True; .* set config.sampling.sampler to ddim or euler",
    ),
    ("dpmpp_2m", {"use_exponential_sigmas": True}, "use_exponential_sigmas=True"),
    ("dpmpp_2m", {"lambda_min_clipped": "low"}, "lambda_min_clipped='low'; .* takes a number; correct it"),
    ("dpmpp_2m", {"lambda_min_clipped": 3.0}, "leaves . training steps for config.sampling.steps=12"),
    (
      "dpmpp_2m",
      {"use_karras_sigmas": True, "use_lu_lambdas": True},
      "has both use_karras_sigmas and use_lu",
    ),
    ("euler", {"interpolation_type": "cubic"}, "interpolation_type='cubic'"),
    ("euler", {"timestep_type": "random"}, "timestep_type='random'"),
    ("euler", {"final_sigmas_type": "one"}, "final_sigmas_type='one'"),
    ("euler", {"sigma_max": -1.0, "use_karras_sigmas": True}, "sigma_max=-1.0"),
    ("lcm", {"timestep_scaling": 0}, "timestep_scaling=0"),
    ("lcm", {"thresholding": True}, "thresholding=True"),
  ],
)
def test_what_a_sampler_cannot_follow_is_refused_in_one_line(sampler, changes, said):
  with pytest.raises(UserError, match=said) as e:
    samplers.table(read_schedule(STABLE_DIFFUSION | changes, "a/scheduler_config.json"), sampler, 12)
  assert "a/scheduler_config.json has" in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    (
      {"rescale_betas_zero_snr": True},
      "such a network predicts v_prediction or sample: correct prediction_type",
    ),
    ({"use_flow_sigmas": True}, "use_flow_sigmas=True: such networks cannot be sampled from"),
    ({"use_dynamic_shifting": True}, "use_dynamic_shifting=True: such networks"),
    ({"variance_type": "learned_range"}, "variance_type='learned_range': such networks"),
    ({"predict_epsilon": False}, "predict_epsilon=False"),
    ({"prediction_type": "flow_prediction"}, "prediction_type='flow_prediction'"),
    ({"beta_schedule": "sigmoid"}, "beta_schedule='sigmoid'"),
    ({"prediction_typ": "epsilon"}, "a key that is not known here .did you mean 'prediction_type'"),
    ({"shift": 3.0}, "shift=3.0, a key that is not known here"),
    ({"beta_end": "0.012"}, "beta_end='0.012': it must be a number above 0 and below 1"),
    ({"num_train_timesteps": 0}, "num_train_timesteps=0: it must be a whole number of at least 1"),
    ({"steps_offset": 0.5}, "steps_offset=0.5"),
    ({"clip_sample": "no"}, "clip_sample='no': it must be true or false"),
    ({"original_inference_steps": 2000}, "original_inference_steps=2000: .* between 1 and 1000"),
    ({"trained_betas": [0.1, 2.0]}, "trained_betas="),
    ({"trained_betas": [0.1, 0.2]}, "num_train_timesteps=1000: trained_betas has 2"),
  ],
)
def test_files_that_no_sampler_can_follow_are_refused_in_one_line(changes, said):
  with pytest.raises(UserError, match=said) as e:
    read_schedule(STABLE_DIFFUSION | changes, "a/scheduler_config.json")
  assert "a/scheduler_config.json has" in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize(
  ("changes", "affected"),
  [
    ({}, ()),
    ({"final_sigmas_type": "sigma_min"}, ("dpmpp_2m", "euler")),
    ({"solver_order": 1, "algorithm_type": "dpmsolver++"}, ("dpmpp_2m",)),
    ({"interpolation_type": "log_linear"}, ("euler",)),
    ({"timestep_type": "continuous"}, ()),  # matters to v-prediction alone
    ({"timestep_type": "continuous"} | V, ("euler",)),
    ({"lambda_min_clipped": -5.1}, ()),  # these betas never come so low
    ({"lambda_min_clipped": -5.1} | COSINE, ("dpmpp_2m",)),
    ({"timestep_scaling": 1.0}, ("lcm",)),
    ({"skip_prk_steps": True, "sample_max_value": 3.0, "unheard_of": None}, ()),
  ],
)
def test_only_samplers_that_read_a_key_are_affected_by_it(changes, affected):
  schedule = read_schedule(STABLE_DIFFUSION | changes)
  assert tuple(s for s in SAMPLERS if samplers.has_ignored_keys(schedule, s, 20)) == affected


def test_what_a_class_does_where_its_file_is_silent():
  silent = read_schedule({"_class_name": "LCMScheduler"})
  np.testing.assert_array_equal(silent.alpha_bar, read_schedule(STABLE_DIFFUSION).alpha_bar)
  assert samplers.has_ignored_keys(silent, "ddim", 20)  # linear betas, before
  clipped = read_schedule({"_class_name": "DDPMScheduler"})
  assert samplers.table(clipped, "ddim", 4).clip == 1.0 and samplers.table(clipped, "lcm", 4).clip == 0.0
  assert samplers.has_ignored_keys(clipped, "lcm", 4) and not samplers.has_ignored_keys(clipped, "ddim", 4)


@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if s != "lcm"])
def test_trailing_steps_are_as_many_as_asked_for(sampler):
  """1000 / 61, added 61 times, stays below 1000: one step more, at -1, for which the first was left out."""
  schedule = read_schedule(STABLE_DIFFUSION | {"timestep_spacing": "trailing"})
  t = samplers.table(schedule, sampler, 61).rows["t"]
  assert len(t) == 61 and t[0] == 999 and t[-1] >= 0
  assert samplers.has_lost_step(schedule, sampler, 61) and not samplers.has_lost_step(schedule, sampler, 60)


def test_fewer_steps_than_asked_for_still_begin_at_the_strength():
  """With the noisiest steps cut off, `trailing` has fewer: a strength leaves out as many as it would of all."""
  schedule = read_schedule(
    STABLE_DIFFUSION | COSINE | {"lambda_min_clipped": -1.0, "timestep_spacing": "trailing"}
  )
  whole = samplers.table(schedule, "dpmpp_2m", 20)
  half = samplers.table(schedule, "dpmpp_2m", 20, strength=0.5)
  assert 10 < len(whole) < 20 and len(half) == len(whole) - 10
  np.testing.assert_array_equal(half.rows["t"], whole.rows["t"][10:])
  assert np.isfinite(half.rows["clean"]).all()
