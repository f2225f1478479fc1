"""A learner takes the fields of its own task, and is told of those that it lacks."""

import pytest

from synthjax.learning.tasks import TASKS
from synthjax.runtime.errors import UserError
from synthjax.runtime.registry import Registry
from synthjax.spec import config as fields_of
from synthjax.spec import group, reference, tasks, validation
from synthjax.spec.fields import Classify, Learning
from synthjax.spec.group import Amount, Dtype, Growth, Identity, Positive, Runtime
from synthjax.spec.study import resolve


class Contrastive(Learning):
  """Of a task that shares nothing with classify."""

  queue: Identity[Positive] = 64
  project: Identity[Dtype] = "float32"
  trace: Runtime[bool] = False


class Heir(Contrastive):
  pass


class Queued(Learning):
  queues: Identity[Positive] = 3


class Unkind(Learning):
  queue: int = 64


class Bare(Learning):
  queue: Identity[Positive]


class Growing(Learning):
  queue: Growth[Positive] = 64


class Pictured(Learning):
  images: Identity[str] = ""


class Larger(Learning):
  size: Identity[Positive] = 224


class Otherwise(Classify):
  mixup: Identity[Amount] = 0.8


@pytest.fixture(autouse=True)
def groups(monkeypatch):
  monkeypatch.setattr(tasks, "GROUPS", Registry("task", tasks.SHIPPED))
  tasks.declare("contrastive", Contrastive)


def study():
  config = fields_of.study_config()
  config.real.r = fields_of.real_images("embedded:digits:first")
  config.tests.t = "embedded:digits:second"
  config.learning.update(real="r", steps=1, mixup=0.5)
  config.learners.own = fields_of.learner(task="contrastive", queue=8)
  config.learners.classify = fields_of.learner()
  return config


def test_a_learner_has_its_task_s_fields_and_no_other():
  config = study()
  validation.check(config)
  own, classify = resolve(config).learners.values()
  assert isinstance(own, Contrastive) and (own.queue, own.project) == (8, "float32")
  assert own.identity().keys() - classify.identity().keys() == {"queue", "project"}
  assert classify.identity().keys() - own.identity().keys() == {*group.own_fields(Classify)}
  assert "trace" in own.to_dict() and classify.to_dict()["mixup"] == 0.5


def test_a_default_of_all_learners_is_taken_by_those_of_the_task():
  config = study()
  config.learning.queue, config.learning.task = 16, "contrastive"
  config.learners.third = fields_of.learner(trace=True)
  config.learners.classify.task = "classify"
  validation.check(config)
  found = resolve(config).learners
  assert (found["own"].queue, found["third"].queue, found["third"].trace) == (8, 16, True)
  assert "queue" not in found["classify"].to_dict()


def test_a_config_that_was_not_checked_resolves():
  config = study()
  assert "queue" not in config.learning and resolve(config).learners["own"].queue == 8
  del config.learners.own["queue"]
  assert resolve(config).learners["own"].queue == 64


@pytest.mark.parametrize(
  ("learner", "field", "value", "said"),
  [
    ("own", "mixup", 0.2, "config.learners.own: mixup: task contrastive has no such field; classify has"),
    ("own", "mixupp", 0.2, r"config.learners.own has no field 'mixupp' \(did you mean 'mixup'\?\)"),
    ("own", "queue", 0, "config.learners.own: queue is at least 1, not 0"),
    ("own", "project", "int8", "config.learners.own: project 'int8'"),
    ("classify", "queue", 3, "config.learners.classify: queue: task classify has no such field; contrastive has"),
    ("classify", "task", "contrast", r"config.learners.classify: task 'contrast' \(did you mean 'contrastive'\?\)"),
  ],
)  # fmt: skip
def test_what_a_task_lacks_is_one_line(learner, field, value, said):
  config = study()
  config.learners[learner][field] = value
  with pytest.raises(UserError, match=said):
    validation.check(config)


def test_the_nearest_field_of_the_task_is_named():
  config = study()
  config.learners.third = fields_of.learner(task="contrastive")
  tasks.declare("queued", Queued)
  config.learners.third.queues = 3
  said = r"queues: task contrastive has no such field \(did you mean 'queue'\?\); queued has"
  with pytest.raises(UserError, match=said):
    validation.check(config)


@pytest.mark.parametrize("where", ["learning", "learners.classify"])
def test_what_was_set_before_the_types_were_known_is_held_against_them(where):
  config = study()
  node = config.learning if where == "learning" else config.learners.classify
  node.queue = "many"
  with pytest.raises(UserError, match=f"config.{where}: queue is a int, not 'many'"):
    validation.check(config)


@pytest.mark.parametrize(
  ("of", "said"),
  [
    (Unkind, r"task x: Unkind.queue has no kind; write queue: Identity\[...\] = 64"),
    (Bare, "task x: Bare.queue has no default"),
    (Growing, "task x: Growing.queue is Growth"),
    (Pictured, "task x: Pictured.images is how a learner names its image set"),
    (Larger, r"task x: Larger.size is a field of other tasks too, where its type, bounds or default \(32\)"),
    (Otherwise, r"task x: Otherwise.mixup is a field of other tasks too, .* \(0.0\) differ"),
  ],
)
def test_a_group_that_could_not_be_meant_is_one_line(of, said):
  with pytest.raises(UserError, match=said):
    tasks.declare("x", of)
  assert "x" not in tasks.GROUPS


def test_a_name_that_ships_is_not_taken():
  with pytest.raises(UserError, match="task 'classify' ships with synthjax"):
    tasks.declare("classify", Contrastive)


def test_what_ships_has_fields_and_what_has_fields_ships():
  assert {name for name in TASKS if not TASKS.identity(name)} == {*tasks.SHIPPED}


def test_a_section_holds_what_no_other_does():
  """Of a task that derives from another one, as in the whole reference."""
  tasks.declare("heir", Heir)
  of, where = reference.of_task("contrastive")
  assert [row.name for row in reference.rows(of)] == ["queue", "project", "trace"]
  assert where == "config.learning, and config.learners.NAME, of task contrastive"
  of, where = reference.of_task("heir")
  assert [*reference.rows(of)] == [] and where.endswith("of task heir, beside those of contrastive")
