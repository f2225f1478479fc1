"""What there is to say of every field, for people: its line in fields.py, taken apart.

`python -m synthjax.spec.reference` writes all of it as docs/reference.md.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from synthjax.spec import benchmark_fields, fields, group, metric_fields, points, tasks

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"


def of_task(task: str) -> tuple[type[group.Group], str]:
  """The group of a learner's task, and where its own fields stand."""
  of = tasks.GROUPS[task]
  others = [other for other, base in tasks.GROUPS.items() if base is not of and issubclass(of, base)]
  beside = "".join(f", beside those of {other}" for other in others)
  return of, f"config.learning, and config.learners.NAME, of task {task}{beside}"


# Where a group stands in a config, and what of the study may set its fields apart.
GROUPS: Mapping[str, tuple[type[group.Group], str]] = {
  "prompts": (fields.Prompts, "config.prompts.NAME = prompt_list(strategy, ...)"),
  "sampling": (fields.Sampling, "config.sampling, and config.sets.NAME = image_set(prompts, ...)"),
  "import": (fields.Import, "config.sets.NAME = imported_set(source, ...)"),
  "real": (fields.Real, "config.real.NAME = real_images(source, ...)"),
  "networks": (fields.Network, "config.networks.NAME = network(task, ...)"),
  "encoders": (fields.Encoder, "config.encoders.NAME = encoder(weights, ...)"),
  "filters": (fields.Filter, "config.filters.NAME = image_filter(rule, ...)"),
  "metrics": (metric_fields.SetMetrics, "config.metrics.NAME = set_metrics(encoder, ...)"),
  "tuning": (fields.Tuning, "config.tuning, and config.arms.NAME = arm(images, ...)"),
  "learning": (fields.Learning, "config.learning, and config.learners.NAME = learner(images, ...)"),
  **{f"learning.{task}": of_task(task) for task in tasks.SHIPPED},
  "scaling": (points.Grid, "config.scaling.NAME = grid(images, ..., AXIS=(...))"),
  "server": (fields.Server, "config.server"),
  "predict": (fields.Predict, "config.predict"),
  "export": (fields.Export, "config.export"),
  "report": (fields.Report, "config.report"),
  "runtime": (fields.RuntimeFields, "config.runtime"),
  "benchmark": (benchmark_fields.Benchmark, "config.benchmark"),
  "benchmark.sampling": (
    benchmark_fields.SamplingCase,
    "config.benchmark.sampling.NAME = sampling_case(generator, ...)",
  ),
  "benchmark.encoding": (
    benchmark_fields.EncodingCase,
    "config.benchmark.encoding.NAME = encoding_case(weights, ...)",
  ),
  "benchmark.training": (
    benchmark_fields.TrainingCase,
    "config.benchmark.training.NAME = training_case(model, ...)",
  ),
}


@dataclasses.dataclass(frozen=True)
class Row:
  name: str
  kind: str  # identity, growth or runtime
  values: str  # what it may be
  default: str
  about: str  # the line's comment


def rows(of: type[group.Group]) -> Iterator[Row]:
  """Those of a group that it has of another stand there."""
  for name, field in group.own_fields(of).items():
    about = [_comments(of).get(name, ""), field.older_name and f"older name: `{field.older_name}`"]
    yield Row(name, field.kind.value, _values(field), repr(field.default), "; ".join(filter(None, about)))


def _values(field: group.Field) -> str:
  if field.choices:
    return ", ".join(choice or "''" for choice in field.choices)
  bounds = " and ".join(bound.words for bound in field.bounds)
  kind = {"int": "whole number", "float": "number", "str": "text", "bool": "true or false"}
  return " ".join(filter(None, [kind.get(field.type.__name__, field.type.__name__), bounds]))


@functools.cache
def _comments(of: type[group.Group]) -> dict[str, str]:
  """The comment at the end of a field's line, or those in the lines right above it."""
  source = inspect.getsource(of)
  lines, found = source.splitlines(), {}
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
      end = lines[(node.end_lineno or node.lineno) - 1][node.end_col_offset :]
      above = node.lineno - 1
      while lines[above - 1].strip().startswith("#"):
        above -= 1
      comments = [
        re.sub(r"^\s*#\s?", "", line)
        for line in (lines[above : node.lineno - 1] if "#" not in end else [end])
      ]
      found[node.target.id] = " ".join(" ".join(comments).split())
  return found


_HEAD = """\
<!-- Written by `python -m synthjax.spec.reference` from synthjax/spec/fields.py; do not edit. -->

# All fields

`synthjax fields [GROUP] [WORD]` prints the same. What happens when a field changes:

- *identity*: it would be another product, and is refused under the existing name;
- *growth*: it may grow, and only what is missing is made;
- *runtime*: how, where and how fast; no byte of a product depends on it.

[Concepts](concepts.md#identity-growth-and-runtime-fields) says more. Beside these groups a study has

| field | kind | meaning |
|---|---|---|
| `config.study` | | its name in results; empty = the config file's |
| `config.labels` | identity | `digits`, a data set's name, or a YAML or JSON file ([classes](guides/own-data.md#classes)) |
| `config.seeds` | growth | of every arm and learner; 3 |
| `config.tests.NAME` | identity | real, labelled images to test on ([sources](guides/own-data.md#real-images)) |
| `config.studies.NAME` | | a whole study, in a folder of its own ([a matrix](guides/configs.md#a-matrix-of-studies)) |
"""


def text() -> str:
  """The page, in Markdown: a table a group."""
  return _HEAD + "".join(_section(name, of, where) for name, (of, where) in GROUPS.items())


def _section(name: str, of: type[group.Group], where: str) -> str:
  lines = [
    "",
    f"## {name}",
    "",
    f"`{where}`",
    "",
    "| field | kind | default | values | meaning |",
    "|---|---|---|---|---|",
  ]
  lines += [
    f"| `{row.name}` | {row.kind} | `{row.default}` | {_cell(row.values)} | {_cell(row.about)} |"
    for row in rows(of)
  ]
  return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
  """As it is in a table of Markdown, where a bar ends the cell, and a bare `<` or `*` would begin something."""
  outside = re.split(r"(`[^`]*`)", text.replace("|", "\\|"))
  return "".join(
    part if part.startswith("`") else re.sub(r"([<>*])", r"\\\1", part) for part in outside
  ).strip()


if __name__ == "__main__":
  PAGE.write_text(text())
