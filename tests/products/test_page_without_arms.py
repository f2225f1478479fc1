"""A study that only draws, imports and filters has a page too: its images, its filters, and where it all comes from."""

from pathlib import Path

import pytest

from synthjax import study
from synthjax.disk import workdir
from synthjax.products.report import Report
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from tests.pages.test_report import Outline, words


def run(config, root: Path, **kwargs) -> None:
  validation.check(config)
  study.run(Command(config, str(root), line="python -m synthjax.main ...", **kwargs))


@pytest.fixture
def filtered(digits):
  """Two sets, of which one is filtered; nothing is tested."""
  config = digits(images_per_class=2)
  config.sets.B = fields_of.image_set("B", images_per_class=1)
  config.prompts.B = fields_of.prompt_list("B")
  config.filters.CF.update(kept_per_class=1, max_rounds=0)
  config.export.images = "LE/CF"  # nobody else asks for the keep-list
  for name in list(config.arms):
    del config.arms[name]
  del config.tests["digits"]
  return config


def test_its_images_and_filters_are_shown_and_no_table_of_arms(filtered, tmp_path, capsys):
  root = tmp_path / "w"
  run(filtered, root, plan=True)
  assert "report" in capsys.readouterr().out
  run(filtered, root)
  page = root / "report/index.html"
  assert capsys.readouterr().out.split() == [str(page)]
  html = page.read_text()
  Outline(html)
  text = words(html)
  assert "small: generated images" in text and "30 images in 2 sets" in text
  assert "LE, seen by CF" in text and "What the filters let through" in text and "LE/CF" in text
  assert html.count("<image ") + html.count("<use ") == 30
  assert f"LE and B sampled by {filtered.sampling.generator}" in text
  assert "clip: embedded:clip" in text and "What this can and cannot prove" in text
  for absent in ("Top-1", "arm has finished", "Results", "zero-shot", "learning from"):
    assert absent not in text.partition("To reproduce")[0], absent


def test_it_is_found_done_verified_and_drawn_again_where_it_is_missing(filtered, tmp_path, capsys):
  root = tmp_path / "w"
  run(filtered, root)
  assert (root / "results.jsonl").read_bytes() == b""
  run(filtered, root, plan=True)
  assert "nothing is missing" in capsys.readouterr().out
  files = {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}
  run(filtered, root)
  assert {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()} == files
  run(filtered, root, stages=("verify",))
  assert "nothing wrong" in capsys.readouterr().out
  (root / "results.jsonl").write_bytes(b"{}\n")
  with pytest.raises(UserError, match=r"1 files to redo.*results\.jsonl"):
    run(filtered, root, stages=("verify",))
  (root / "results.jsonl").unlink()
  run(filtered, root)
  assert (root / "results.jsonl").read_bytes() == b""


def test_arms_that_come_later_have_their_table(filtered, tmp_path):
  root = tmp_path / "w"
  run(filtered, root)
  filtered.tests.digits = "embedded:digits:first"
  filtered.arms["zero-shot"] = fields_of.arm()
  run(filtered, root)
  assert "Top-1 on digits" in words((root / "report/index.html").read_text())
  assert (root / "results.jsonl").read_bytes()


def test_stages_that_leave_the_page_out_end_with_the_sheets(filtered, tmp_path, capsys):
  run(filtered, tmp_path / "w", stages=("prompts", "sample"))
  assert sorted(Path(line).parent.name for line in capsys.readouterr().out.split()) == ["B", "LE"]


def test_networks_alone_have_no_page(tmp_path):
  config = fields_of.study_config(labels="digits")
  config.networks.vae = fields_of.network("autoencode", steps=1)
  validation.check(config)
  assert not study.design(config, workdir.open_workdir(str(tmp_path))).of(Report)
