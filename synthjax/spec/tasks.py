"""Which fields a learner has: those of every task (`fields.Learning`), and those of its own (`config.learning.task`).

`config.learning` and each learner hold the fields of all tasks; of these a learner takes those of its own. A task that a config
file registers (`learning/tasks.py`) declares its group here, and once the file has been read its fields are there too. Between
tasks a name means one thing, so that `config.learning.NAME` has one type and one default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from ml_collections import ConfigDict, config_dict

from synthjax.runtime.errors import UserError, nearest
from synthjax.runtime.registry import Registry
from synthjax.spec import group
from synthjax.spec.fields import Classify, Learning

SHIPPED: Mapping[str, type[Learning]] = {"classify": Classify}
GROUPS: Registry[type[Learning]] = Registry("task", SHIPPED)


def declare(task: str, of: type[Learning]) -> None:
  """The group of fields of a task that a config file registers."""
  for own in dataclasses.fields(of):
    where, field = f"task {task}: {of.__name__}.{own.name}", group.fields(of).get(own.name)
    if own.default is dataclasses.MISSING:
      raise UserError(f"{where} has no default; give it one")
    if own.name == "images":
      raise UserError(f"{where} is how a learner names its image set; name yours otherwise")
    if field is None:
      raise UserError(f"{where} has no kind; write {own.name}: Identity[...] = {own.default!r}")
    if field and field.kind is group.Kind.GROWTH:
      raise UserError(f"{where} is Growth, which no learner has; write Identity or Runtime")
  found = fields_of(*(other for other in GROUPS if other != task))
  _add(found, task, of)
  GROUPS.register(task)(of)


def fields_of(*tasks: str) -> dict[str, group.Field]:
  """Of these tasks, by name; what all have is first. A task that nobody registered has none."""
  found = dict(group.fields(Learning))
  for task in tasks:
    _add(found, task, GROUPS.get(task, Learning))
  return found


def _add(found: dict[str, group.Field], task: str, of: type[Learning]) -> None:
  for name, field in group.fields(of).items():
    other = found.setdefault(name, field)
    if other != field:
      raise UserError(
        f"task {task}: {of.__name__}.{name} is a field of other tasks too, where its type, bounds or default "
        f"({other.default!r}) differ; name yours otherwise"
      )


def is_field(name: str) -> bool:
  """Of any task."""
  return any(name in group.fields(of) for of in GROUPS.values())


def complete(config: ConfigDict, where: str = "config") -> None:
  """Gives a config, which need not be checked yet, the fields of the tasks that a config file registers: with what the file has
  set of them, which is held against their types here."""
  studies, learners, shipped = config.get("studies"), config.get("learners"), fields_of(*SHIPPED)
  for name, study in _nodes(studies):
    complete(study, f"{where}.studies.{name}")
  for name, field in fields_of(*GROUPS).items():
    if name not in shipped:
      if isinstance(config.get("learning"), ConfigDict):
        _place(f"{where}.learning", config.learning, field, field.default)
      for learner, node in _nodes(learners):
        _place(f"{where}.learners.{learner}", node, field, None)


def _nodes(named: object) -> Iterator[tuple[str, ConfigDict]]:
  for name, node in named.items() if isinstance(named, ConfigDict) else ():
    if isinstance(node, ConfigDict):
      yield name, node


def _place(where: str, node: ConfigDict, field: group.Field, default: object) -> None:
  given = node.get(field.name, default)
  with node.unlocked():
    if field.name in node:
      del node[field.name]
    node[field.name] = config_dict.placeholder(field.type)
  try:
    node[field.name] = given
  except TypeError:
    raise UserError(f"{where}: {field.name} is a {field.type.__name__}, not {given!r}") from None


def check_taken(where: str, own: ConfigDict, task: str) -> None:
  """What a learner sets of fields that its task lacks, and others have, is an error."""
  known = group.fields(GROUPS.find(task, where))
  for name in own:
    having = [other for other in GROUPS if name in group.fields(GROUPS[other])]
    if having and name not in known and own[name] is not None:
      raise UserError(
        f"{where}: {name}: task {task} has no such field{nearest(name, known)}; {' and '.join(having)} has"
      )
