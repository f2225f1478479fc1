"""How far parents are noised by the number of shots: the paper's alpha-bar, on any schedule."""

import numpy as np
import pytest

from synthjax.generators import samplers
from synthjax.generators.schedule import read_schedule
from synthjax.sampling.parents import alpha_bar_of, strength_of

STABLE_DIFFUSION = dict(
  beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1, set_alpha_to_one=False
)
# Of 1,000 training steps, where Stable Diffusion's alpha-bar is that of GLIDE's steps 15, 20, 35, 40, 50 of 100.
PUBLISHED = {16: 0.055, 8: 0.091, 4: 0.216, 2: 0.261, 1: 0.353}


def test_glides_steps_are_the_table():
  """Its cosine schedule of 1,000 steps, respaced to 100."""
  schedule = read_schedule(dict(beta_schedule="squaredcos_cap_v2"))
  for shots, step in {16: 15, 8: 20, 4: 35, 2: 40, 1: 50}.items():
    at = round(step / 100 * 999)
    assert (
      schedule.alpha_bar[at - 12 : at + 12].min()
      < alpha_bar_of(shots)
      < schedule.alpha_bar[at - 12 : at + 12].max()
    )


@pytest.mark.parametrize("shots", PUBLISHED)
def test_stable_diffusion_begins_where_its_alpha_bar_is_the_papers(shots):
  schedule = read_schedule(STABLE_DIFFUSION)
  exact = int(np.abs(schedule.alpha_bar - alpha_bar_of(shots)).argmin()) / 1000
  assert exact == pytest.approx(PUBLISHED[shots], abs=0.001)
  for sampler in ("ddim", "dpmpp_2m", "euler"):
    strength = strength_of(schedule, sampler, 200, shots)
    assert strength == pytest.approx(PUBLISHED[shots], abs=0.006)
    table = samplers.table(schedule, sampler, 200, strength=strength)
    assert table.rows["signal"][0] ** 2 == pytest.approx(alpha_bar_of(shots), abs=0.012)


def test_few_steps_leave_one_at_least_and_strengths_are_whole_steps():
  schedule = read_schedule(STABLE_DIFFUSION)
  for steps in (4, 7, 12, 29, 50):
    for shots in (1, 2, 3, 4, 8, 16, 100):
      strength = strength_of(schedule, "ddim", steps, shots)
      assert len(samplers.table(schedule, "ddim", steps, strength=strength)) == round(strength * steps) >= 1


def test_other_numbers_of_shots_lie_between_the_rows():
  known = [alpha_bar_of(n) for n in (1, 2, 3, 4, 6, 8, 16)]
  assert known == sorted(known) and alpha_bar_of(64) == alpha_bar_of(16)
