import dataclasses
import json

import pytest
from etils import epath

from synthjax.disk import checksums
from synthjax.runtime.errors import UserError
from synthjax.store import corrections, records


@pytest.fixture
def folder(tmp_path) -> epath.Path:
  return epath.Path(tmp_path / "images" / "LE")


def record(**identity) -> records.Record:
  return records.Record("images/LE", identity, inputs={"prompts/LE": "abc"})


def test_the_same_identity_joins(folder):
  first = records.settle(folder, record(steps=2, sizes=(1, 2)))
  assert records.settle(folder, record(steps=2, sizes=(1, 2))) == first


def test_another_identity_is_refused_with_both_values(folder):
  records.settle(folder, record(steps=2))
  before = (folder / "record.json").read_bytes()
  with pytest.raises(
    UserError, match=r"images/LE: steps was 2 when it was made and is 3 now; give .* another name"
  ):
    records.settle(folder, record(steps=3))
  assert (folder / "record.json").read_bytes() == before


def test_another_input_is_refused(folder):
  records.settle(folder, record())
  other = records.Record("images/LE", {}, inputs={"prompts/LE": "xyz"})
  with pytest.raises(UserError, match="made from another prompts/LE"):
    records.compare(folder, other)


def test_a_newer_format_is_refused(folder):
  records.settle(folder, record())
  body = json.loads((folder / "record.json").read_text())
  checksums.replace(folder / "record.json", json.dumps(body | {"format": 99}).encode())
  with pytest.raises(UserError, match="has format 99, this synthjax reads up to 1; install a newer synthjax"):
    records.load(folder)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 1}'])
def test_a_broken_record_is_one_line(folder, text):
  folder.mkdir(parents=True)
  (folder / "record.json").write_text(text)
  with pytest.raises(UserError, match=r"record\.json"):
    records.load(folder)


def test_growth_and_runtime_do_not_enter_the_hash():
  plain = records.Record("images/LE", {"steps": 2})
  grown = records.Record(
    "images/LE", {"steps": 2}, growth={"images_per_class": 9}, runtime={"hosts": 3}, cost={"s": 1}
  )
  assert plain.hash == grown.hash != records.Record("images/LE", {"steps": 3}).hash


def test_a_product_of_a_rule_since_corrected_is_refused_by_name(folder, monkeypatch):
  monkeypatch.setitem(corrections.RULES, "rounding", "pixels are rounded to even")
  old = record()
  records.settle(folder, old)
  new = dataclasses.replace(old, identity=old.identity | corrections.applied(rounding=True))
  assert corrections.before(new.identity) == old.identity
  with pytest.raises(records.Corrected, match="corrected since: pixels are rounded to even; remove"):
    records.compare(folder, new)
  records.compare(
    folder, dataclasses.replace(old, identity=old.identity | corrections.applied(rounding=False))
  )
