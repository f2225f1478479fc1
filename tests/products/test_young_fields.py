"""A field that products are older than leaves them as they are until it says something."""

from typing import Any

import pytest

from synthjax import study
from synthjax.disk import workdir
from synthjax.products.image_set import ImageSet
from synthjax.products.prompt_list import PromptList
from synthjax.prompts.strategies import LanguageEnhancement
from synthjax.spec import config as fields_of
from synthjax.spec.group import Group, Identity, IdentityUnlessDefault


def with_another(own: Group, value: str | None) -> Any:
  """The same fields, and one more."""

  class More(type(own)):
    glitter: IdentityUnlessDefault[str] = ""

  return own if value is None else More(**vars(own), glitter=value)


@pytest.fixture
def record(small, tmp_path, monkeypatch):
  monkeypatch.setattr(LanguageEnhancement, "uses", (*LanguageEnhancement.uses, "glitter"))

  def of(kind: str, value: str | None):
    """The hash of a product whose config has a field more; None: has not."""
    config = small(tmp_path)
    config.labels = "digits"  # that the grammar of LE can write of
    config.prompts.LE = fields_of.prompt_list("LE")
    config.sets.theirs = fields_of.imported_set("embedded:digits:first")
    made = study.design(config, workdir.open_workdir(str(tmp_path / "w")))
    if kind == "prompts":
      product = made.get(PromptList, "LE")
      product._fields = with_another(product._fields, value)
      return product._wanted.hash
    product = made.get(ImageSet, "B" if kind == "sample" else "theirs")
    product.fields = with_another(product.fields, value)
    if kind == "sample":
      product.prompts.make(None)
    return product._record().hash

  return of


@pytest.mark.parametrize("kind", ["sample", "import", "prompts"])
def test_a_young_field_counts_once_it_says_something(record, kind):
  assert record(kind, None) == record(kind, "") != record(kind, "much")


def test_any_other_field_counts_at_once():
  class Less(Group):
    steps: Identity[int] = 3

  class More(Less):
    glitter: Identity[str] = ""

  assert Less().identity() == {"steps": 3} != More().identity()
