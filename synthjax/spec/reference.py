"""What there is to say of every field, for people: its line in fields.py, taken apart."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import re
from collections.abc import Iterator, Mapping

from synthjax.spec import fields, group

# Where a group stands in a config, and what of the study may set its fields apart.
GROUPS: Mapping[str, tuple[type[group.Group], str]] = {
  "prompts": (fields.Prompts, "config.prompts.NAME = prompt_list(strategy, ...)"),
  "sampling": (fields.Sampling, "config.sampling, and config.sets.NAME = image_set(prompts, ...)"),
  "import": (fields.Import, "config.sets.NAME = imported_set(source, ...)"),
  "real": (fields.Real, "config.real.NAME = real_images(source, ...)"),
  "networks": (fields.Network, "config.networks.NAME = network(task, ...)"),
  "encoders": (fields.Encoder, "config.encoders.NAME = encoder(weights, ...)"),
  "filters": (fields.Filter, "config.filters.NAME = image_filter(rule, ...)"),
  "tuning": (fields.Tuning, "config.tuning, and config.arms.NAME = arm(images, ...)"),
  "learning": (fields.Learning, "config.learning, and config.learners.NAME = learner(images, ...)"),
  "predict": (fields.Predict, "config.predict"),
  "export": (fields.Export, "config.export"),
  "report": (fields.Report, "config.report"),
  "runtime": (fields.RuntimeFields, "config.runtime"),
  "benchmark": (fields.Benchmark, "config.benchmark"),
  "benchmark.sampling": (
    fields.SamplingCase,
    "config.benchmark.sampling.NAME = sampling_case(generator, ...)",
  ),
  "benchmark.encoding": (fields.EncodingCase, "config.benchmark.encoding.NAME = encoding_case(weights, ...)"),
  "benchmark.training": (fields.TrainingCase, "config.benchmark.training.NAME = training_case(model, ...)"),
}


@dataclasses.dataclass(frozen=True)
class Row:
  name: str
  kind: str  # identity, growth or runtime
  values: str  # what it may be
  default: str
  about: str  # the line's comment


def rows(of: type[group.Group]) -> Iterator[Row]:
  for name, field in group.fields(of).items():
    yield Row(name, field.kind.value, _values(field), repr(field.default), _comments(of).get(name, ""))


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
      said = [
        re.sub(r"^\s*#\s?", "", line)
        for line in (lines[above : node.lineno - 1] if "#" not in end else [end])
      ]
      found[node.target.id] = " ".join(" ".join(said).split())
  return found
