"""A grid's points: which sets, real images and learners they are, what their rows say, and what is no grid."""

import pytest

from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.study import StudySpec, resolve


def study(**grids):
  config = fields_of.study_config(labels="digits")
  config.prompts.LE = fields_of.prompt_list("LE")
  config.prompts.B = fields_of.prompt_list("B")
  config.sets.LE = fields_of.image_set("LE", guidance=2.0)
  config.sets.others = fields_of.imported_set("folder:somewhere")
  config.sampling.update(generator="embedded:generator", images_per_class=100)
  config.filters.CF = fields_of.image_filter("clip", kept_per_class=20)
  config.encoders.clip = fields_of.encoder()
  config.real.first = fields_of.real_images("embedded:digits:first")
  config.tests.digits = "embedded:digits:second"
  config.learning.update(model="resnet-mini", size=8, steps=10)
  if any("learner" in own.axes for own in grids.values()):
    config.learners.slow = fields_of.learner(learning_rate=1e-5)
  config.learners.own = fields_of.learner(real="first")
  for name, own in grids.items():
    config.scaling[name] = own
  return config


def resolved(**grids) -> StudySpec:
  config = study(**grids)
  validation.check(config)
  return resolve(config)


def points(spec: StudySpec):
  return [one for one in spec.learners.values() if one.axes]


SIZES = (10, 20, 40)


def test_points_of_one_setting_share_a_set_that_is_as_large_as_the_largest_needs():
  spec = resolved(a=fields_of.grid("LE", images_per_class=SIZES, guidance=(2.0, 4.0)))
  assert set(spec.sets) == {"LE", "LE+guidance_4", "others"}
  assert {spec.sets[name].images_per_class for name in ("LE", "LE+guidance_4")} == {40}
  assert sorted((str(p.images), p.images_per_class) for p in points(spec)) == [
    (name, n) for name in ("LE", "LE+guidance_4") for n in SIZES
  ]
  assert spec.sets["LE+guidance_4"].guidance == 4.0 and dict(spec.sets["LE+guidance_4"].axes) == {
    "guidance": 4.0
  }


def test_a_set_that_no_point_reads_is_not_drawn_but_one_that_something_else_names_is():
  grid = fields_of.grid("LE", images_per_class=SIZES, guidance=(1.0, 4.0))
  assert set(resolved(a=grid).sets) == {"LE+guidance_1", "LE+guidance_4", "others"}
  config = study(a=grid)
  config.learners.whole = fields_of.learner("LE")
  assert resolve(config).sets["LE"].images_per_class == 100


def test_each_seed_draws_from_as_many_images_as_the_set_has():
  spec = resolved(
    long=fields_of.grid("LE", images_per_class=(10, 640)),
    short=fields_of.grid("LE", images_per_class=(20, 30)),
  )
  assert {p.drawn_from for p in points(spec)} == {640}
  firsts = resolved(a=fields_of.grid("LE", images_per_class=SIZES, drawn_from=0))
  assert {p.drawn_from for p in points(firsts)} == {0}


def test_rows_say_every_axis_and_curves_all_but_numbers_of_images():
  spec = resolved(
    a=fields_of.grid("LE", images_per_class=SIZES, prompts=("LE", "B")),
    b=fields_of.grid(real="first", shots=(4, 8)),
    c=fields_of.grid("LE", real="first", images_per_class=(10, 20), shots=(4, 8)),
  )
  by_source = {}
  for p in points(spec):
    by_source.setdefault(dict(p.axes)["source"], []).append(p)
  assert {k: len(v) for k, v in by_source.items()} == {"synthetic": 6, "real": 2, "both": 4}
  assert dict(by_source["real"][0].axes) == {"source": "real", "real_set": "first", "shots": 4}
  assert dict(by_source["real"][0].curve) == {"source": "real", "real_set": "first"}
  assert dict(by_source["synthetic"][3].axes) == {
    "source": "synthetic", "set": "LE", "images_per_class": 20, "prompts": "B",
  }  # fmt: skip
  assert len({p.curve for p in by_source["synthetic"]}) == 2
  # With both, the curve runs along synthetic images, and real ones tell curves apart.
  assert {dict(p.curve).get("shots") for p in by_source["both"]} == {4, 8}


def test_around_varies_one_axis_at_a_time_from_the_first_values():
  spec = resolved(
    a=fields_of.grid(
      "LE", images_per_class=(10, 20), guidance=(2.0, 1.0, 4.0), prompts=("LE", "B"), combine="around"
    )
  )
  seen = {
    (dict(p.axes)["prompts"], dict(p.axes)["guidance"], dict(p.axes)["images_per_class"])
    for p in points(spec)
  }
  settings = {("LE", 2.0), ("LE", 1.0), ("LE", 4.0), ("B", 2.0)}
  assert seen == {(*s, n) for s in settings for n in (10, 20)} and len(points(spec)) == 8


def test_a_point_of_two_grids_is_one_run_and_two_that_differ_are_refused():
  long = fields_of.grid("LE", images_per_class=(10, 20, 640))
  settings = fields_of.grid("LE", images_per_class=(10, 20), guidance=(2.0, 4.0))
  spec = resolved(long=long, settings=settings)
  assert len(points(spec)) == 3 + 2 and len({p.axes for p in points(spec)}) == 5
  settings.fixed.learning_rate = 0.5
  with pytest.raises(
    UserError, match=r"long and settings have a point in common.*differ there in learning_rate"
  ):
    resolved(long=long, settings=settings)


def test_sizes_may_have_recipes_of_their_own_and_stay_one_curve():
  spec = resolved(
    few=fields_of.grid("LE", images_per_class=(10, 20), learning_steps=100),
    many=fields_of.grid("LE", images_per_class=(40, 80), learning_steps=400),
  )
  assert len({p.curve for p in points(spec)}) == 1
  assert {p.images_per_class: p.steps for p in points(spec)} == {10: 100, 20: 100, 40: 400, 80: 400}


def test_other_values_or_axes_leave_names_of_sets_as_they_are():
  one = resolved(a=fields_of.grid("LE", images_per_class=SIZES, guidance=(1.0, 4.0)))
  more = resolved(
    a=fields_of.grid("LE", guidance=(4.0, 1.0, 0.5), sampling_steps=(50, 10), images_per_class=(40,))
  )
  assert set(one.sets) <= set(more.sets)
  assert {"LE+guidance_0_5", "LE+guidance_0_5+steps_10"} <= set(more.sets)


def test_a_recipe_is_a_learner_without_images_and_is_not_trained_itself():
  spec = resolved(a=fields_of.grid(real="first", learner=("slow",), shots=(4, 8)))
  assert set(spec.learners) == {"own", "a-slow-4", "a-slow-8"}
  assert {p.learning_rate for p in points(spec)} == {1e-5} and dict(points(spec)[0].axes)["learner"] == "slow"


def test_a_study_without_grids_is_what_it_was():
  spec = resolved()
  assert set(spec.learners) == {"own"} and not spec.learners["own"].axes
  assert set(spec.sets) == {"LE", "others"} and spec.sets["LE"].images_per_class == 100


@pytest.mark.parametrize(
  "grid, said",
  [
    (dict(images="LE", guidence=(1.0, 2.0)), "'guidence' names no field.*did you mean 'guidance'"),
    (
      dict(images="LE", steps=(1, 2)),
      "steps is a field of several groups; name sampling_steps or learning_steps",
    ),
    (dict(images="LE", guidance=("a", "b")), "guidance is a number, not 'a'"),
    (dict(images="LE", images_per_class=(10, 2.5)), "images_per_class is a whole number, not 2.5"),
    (dict(images="LE", guidance=(1.0, -1.0)), "guidance is at least 0, not -1.0"),
    (dict(images="LE", images_per_class=(10, 10)), "images_per_class has a value twice"),
    (dict(images="LE", images_per_class=()), "images_per_class is a tuple of values, not"),
    (dict(images="LE"), "config.scaling.a has no axis"),
    (dict(images="L", images_per_class=SIZES), "image set 'L'"),
    (dict(images="LE/X", images_per_class=SIZES), "filter 'X'"),
    (
      dict(images="LE/CF", images_per_class=SIZES),
      "40 images a class of LE/CF, of which the filter keeps 20",
    ),
    (dict(images="LE", prompts=("LE", "X")), "prompts 'X'"),
    (dict(images="others", guidance=(1.0, 2.0)), "guidance is of sampled sets, and set others is imported"),
    (dict(real="first", guidance=(1.0, 2.0)), "guidance is of sampled sets, and it has no images"),
    (dict(real="first", images_per_class=SIZES), "images_per_class counts synthetic images; name a set"),
    (dict(images="LE", shots=(1, 2)), "shots is of real images; name some"),
    (dict(real="seconds", shots=(1, 2)), "real 'seconds'"),
    (dict(real="first", learner="own", shots=(1, 2)), "learner 'own' has images of its own"),
    (dict(real="first", learner="fast", shots=(1, 2)), "learner 'fast'"),
    (dict(shots=(1, 2)), "nothing to learn from"),
    (dict(images="LE", images_per_class=SIZES, drawn_from=30), "images_per_class 40 cannot be drawn from 30"),
    (dict(real="first", shots=(1, 2), combine="each"), "combine 'each'"),
    (dict(real="first", shots=tuple(range(1, 10_002))), "10,001 points"),
  ],
)
def test_what_is_no_grid_is_one_line(grid, said):
  with pytest.raises(UserError, match=said) as e:
    resolved(a=fields_of.grid(**grid))
  assert "\n" not in str(e.value) and str(e.value).startswith("config.scaling")


def test_sizes_at_equal_ratios():
  assert fields_of.log(10, 2000, 8) == (10, 21, 45, 97, 206, 440, 938, 2000)
  for bad in ((0, 10, 3), (10, 5, 3), (1, 3, 8), (1, 3, 1)):
    with pytest.raises(UserError, match=r"log\("):
      fields_of.log(*bad)


def test_values_that_hardly_differ_or_differ_in_sign_are_sets_of_their_own():
  config = study(a=fields_of.grid("LE", eta=(0.1234567, 0.1234568), images_per_class=(4, 8)))
  config.sampling.parents = "real:few"
  config.real.few = fields_of.real_images("embedded:digits:first", shots=2)
  config.scaling.b = fields_of.grid("LE", strength=(-1.0, 1.0), images_per_class=(4, 8))
  found = resolve(config).sets
  assert {one.eta for one in found.values() if hasattr(one, "eta")} == {0.0, 0.1234567, 0.1234568}
  assert {one.strength for one in found.values() if hasattr(one, "strength")} == {-1.0, 1.0}


def test_a_set_of_ones_own_with_the_name_of_a_grids_set_is_refused():
  config = study(a=fields_of.grid("LE", guidance=(1.0, 4.0), images_per_class=(4, 8)))
  config.sets["LE+guidance_4"] = fields_of.image_set("B", guidance=7.5)
  with pytest.raises(UserError, match=r"config.sets.LE\+guidance_4 has the name that a grid gives"):
    resolve(config)
