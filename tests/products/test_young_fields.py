"""A field that products are older than leaves them as they are until it says something."""

import pytest

from synthjax import study
from synthjax.disk import workdir
from synthjax.products.prompts import _USED
from synthjax.spec import config as fields_of
from synthjax.spec import fields


@pytest.fixture
def record(small, tmp_path, monkeypatch):
  def of(kind: str, value: str | None):
    """The hash of a product whose config has a field more; None: has not."""
    with monkeypatch.context() as patch:
      table = {"sample": fields_of.SAMPLING, "import": fields_of.IMPORT, "prompts": fields_of.PROMPTS}[kind]
      if value is not None:
        patch.setitem(table, "glitter", fields.identity("", young=True))
        patch.setitem(_USED, "LE", (*_USED["LE"], "glitter"))
      config = small(tmp_path)
      config.labels = "digits"  # that the grammar of LE can write of
      config.prompts.LE = fields_of.prompt_list(
        "LE", **({"glitter": value} if value and kind == "prompts" else {})
      )
      if value and kind == "sample":
        config.sampling.glitter = value
      if kind == "import":
        config.sets.theirs = fields_of.imported_set(
          "embedded:digits:first", **({"glitter": value} if value else {})
        )
      products = study.design(config, workdir.open_workdir(str(tmp_path / "w")))
      made = {
        "sample": products.sets["B"],
        "import": products.sets.get("theirs"),
        "prompts": products.lists["LE"],
      }
      if kind == "sample":
        made["sample"].prompts.make(None)
      product = made[kind]
      return (product._wanted if kind == "prompts" else product._record()).hash

  return of


@pytest.mark.parametrize("kind", ["sample", "import", "prompts"])
def test_a_young_field_counts_once_it_says_something(record, kind):
  assert record(kind, None) == record(kind, "") != record(kind, "much")
