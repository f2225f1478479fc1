"""A matrix: studies side by side, each as if it had been run alone, and their table."""

import csv
import json
import time
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from synthjax import study
from synthjax.cli import command_line as command_line
from synthjax.data import tfds_source
from synthjax.pages import matrix as page
from synthjax.pages import published
from synthjax.pages.matrix_cells import kind_of
from synthjax.products.arm import Arm
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from tests.data import tfds_files
from tests.pages.test_report import Outline


def run(config, workdir: Path, **kwargs) -> None:
  validation.check(config)
  study.run(Command(config, str(workdir), line="python -m synthjax.main ...", **kwargs))


def cells(workdir: Path) -> list[dict]:
  with (workdir / "matrix.csv").open() as file:
    return list(csv.DictReader(file))


@pytest.fixture
def tests_of_tfds(tmp_path, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
  monkeypatch.setattr(tfds_source, "_CACHE", str(tmp_path / "cache"))
  tfds_files.write(tmp_path / "tfds", "eurosat/rgb", n=100)
  tfds_files.write(tmp_path / "tfds", "cifar10", n=20)


@pytest.fixture
def small_study(digits, tmp_path):
  """Of the label space `name`, with short names: the embedded CLIP reads few tokens."""

  def make(name: str):
    config = digits(images_per_class=1)
    labels = tmp_path / f"{name}.yaml"
    labels.write_text(f"like: {name}\ntemplate: a {{}}\n" if name == "eurosat" else f"like: {name}\n")
    config.study, config.labels = f"small:{name}", str(labels)
    config.prompts.LE = fields_of.prompt_list("B")
    del config.tests["digits"], config.arms["LE+CF+SCE"], config.filters["CF"]
    config.tests[name] = {"eurosat": "tfds:eurosat/rgb:train[80%:]", "cifar10": "tfds:cifar10:test"}[name]
    config.tuning.epochs = 1
    return config

  return make


@pytest.fixture
def learnt(monkeypatch) -> list:
  seen, learn = [], Arm._learn

  def spy(self, index, seeds, stop):
    seen.append((self._study, self.arm, tuple(seeds)))
    learn(self, index, seeds, stop)

  monkeypatch.setattr(Arm, "_learn", spy)
  return seen


def test_a_matrix_grows_by_cells_and_takes_studies_that_were_run_alone(
  small_study, tests_of_tfds, tmp_path, learnt, capsys
):
  workdir = tmp_path / "w"
  run(small_study("cifar10"), workdir / "cifar10")
  alone = {p: p.read_bytes() for p in (workdir / "cifar10" / "runs").rglob("*.json*")}
  learnt.clear()
  run(fields_of.matrix({"cifar10": small_study("cifar10")}), workdir)
  assert learnt == [] and {p: p.read_bytes() for p in alone} == alone
  assert [(c["dataset"], c["arm"], c["seeds"], c["n"]) for c in cells(workdir)] == [
    ("cifar10", "zero-shot", "1", "20"),
    ("cifar10", "LE+CE", "2", "20"),
  ]
  both = fields_of.matrix({name: small_study(name) for name in ("cifar10", "eurosat")})
  run(both, workdir)
  assert learnt == [("small:eurosat", "zero-shot", (0,)), ("small:eurosat", "LE+CE", (0, 1))]
  found = cells(workdir)
  assert [(c["study"], c["arm"]) for c in found[2:]] == [("eurosat", "zero-shot"), ("eurosat", "LE+CE")]
  for cell in found:
    rows = [json.loads(line) for line in (workdir / cell["study"] / "results.jsonl").read_text().splitlines()]
    top1 = [r["value"] for r in rows if r["metric"] == "top1" and r["arm"] == cell["arm"]]
    assert float(cell["top1"]) == pytest.approx(sum(top1) / len(top1), abs=1e-4)
    assert cell["published_top1"] == ""  # He et al. did not measure this encoder
  capsys.readouterr()
  run(both, workdir, plan=True)
  plan = capsys.readouterr().out
  assert "nothing is missing" in plan and "eurosat/images/LE" in plan and "matrix" in plan
  html = (workdir / "report" / "index.html").read_text()
  assert "4 of 4 cells" in html and 'http-equiv="refresh"' not in html
  run(both, workdir, stages=("verify",))
  assert "cifar10/runs/" in (out := capsys.readouterr().out) and "nothing wrong" in out
  table = (workdir / "matrix.csv").read_bytes()
  (workdir / "matrix.csv").write_bytes(table.replace(b"0", b"1", 1))
  with pytest.raises(UserError, match=r"1 files to redo.*matrix\.csv"):
    run(both, workdir, stages=("verify",))
  (workdir / "matrix.csv").write_bytes(table)
  files = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
  run(both, workdir)
  assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()} == files


def test_what_is_set_on_the_matrix_holds_for_all_its_studies(small_study):
  config = fields_of.matrix({name: small_study(name) for name in ("cifar10", "eurosat")})
  overrides = dict(
    sampling="steps=7", runtime="heartbeat_seconds=2.0", encoders="clip.weights=elsewhere", tuning="epochs=3"
  )
  line = [f"--config.{group}.{value}" for group, value in overrides.items()]
  line += ["--config.seeds=5", "--config.studies.eurosat.encoders.clip.ensemble=true"]
  command_line._apply_overrides(config, line)
  for own in config.studies.values():
    assert (own.sampling.steps, own.runtime.heartbeat_seconds, own.tuning.epochs, own.seeds) == (7, 2.0, 3, 5)
    assert own.encoders.clip.weights == "elsewhere"
  assert [s.encoders.clip.ensemble for s in config.studies.values()] == [False, True]


def test_a_writer_that_is_set_on_the_matrix_holds_for_the_studies_that_name_no_other(small_study):
  studies = {name: small_study("cifar10") for name in ("cifar10", "eurosat", "dtd", "pets")}
  for name, own in studies.items():
    own.prompts.LE = fields_of.prompt_list("B" if name == "pets" else "LE", seed=3, draws=9, per_class=4)
  studies["eurosat"].prompts.LE.draws = 7
  config = fields_of.matrix(studies)
  with pytest.raises(
    UserError, match=r"config\.prompts\.LE has no field 'seed'"
  ):  # which would be no study's
    command_line._apply_overrides(config, ["--config.prompts.LE.seed=1"])
  line = ["--config.studies.dtd.prompts.LE.writer=file:dtd.tsv", "--config.prompts.LE.writer=t5:elsewhere"]
  command_line._apply_overrides(config, [*line, "--config.prompts.LE.draws=8"])
  lists = [own.prompts.LE for own in config.studies.values()]
  assert [p.writer for p in lists] == ["t5:elsewhere", "t5:elsewhere", "file:dtd.tsv", ""]
  assert [p.draws for p in lists] == [8, 7, 8, 9] and {p.seed for p in lists} == {3}


@pytest.mark.parametrize(
  "change, said",
  [
    (lambda c: c.studies.cifar10.sets.LE.update(prompts="LEE"), "study cifar10: config.sets.LE: prompts is 'LEE'"),
    (lambda c: c.tests.update(x="folder:y"), "config.tests beside config.studies"),
    (lambda c: c.studies.cifar10.tests.update(cifar10="tfds:cifar10:tset"), "study cifar10: source tfds:cifar10:tset"),
    (lambda c: setattr(c.studies.cifar10, "arms", ConfigDict()), "config.studies.cifar10 has no arms"),
    (lambda c: c.studies.update(y=fields_of.matrix({"z": c.studies.cifar10})), "config.studies.y is no study"),
    (lambda c: c.studies.cifar10.update(labels="stl10"), "study cifar10: source tfds:cifar10:test: its label"),
  ],
)  # fmt: skip
def test_mistakes_are_one_line_and_name_the_study(small_study, tests_of_tfds, tmp_path, change, said):
  config = fields_of.matrix({"cifar10": small_study("cifar10")})
  change(config)
  with pytest.raises(UserError) as e:
    run(config, tmp_path / "w")
  assert said in str(e.value) and "\n" not in str(e.value)


def test_names_that_collide_are_told_before_anything_is_made(small_study, tests_of_tfds, tmp_path, capsys):
  config = small_study("cifar10")
  file = Path(config.labels)
  file.write_text("like: cifar10\nclasses: {truck: Automobile}\n")
  run(fields_of.matrix({"cifar10": config}), tmp_path / "w", plan=True, stages=("report",))
  said = capsys.readouterr().err.splitlines()
  assert said == [
    "note: cifar10: labels: classes automobile, truck have names that differ only in case or spaces, 'Automobile', "
    "'automobile'; their prompts are the same, their ids keep them apart"
  ]


def test_predict_asks_for_one_study(small_study, tests_of_tfds, tmp_path):
  config = fields_of.matrix({"cifar10": small_study("cifar10")})
  with pytest.raises(UserError, match="a matrix has many studies"):
    run(config, tmp_path / "w", stages=("predict",))


def test_the_published_numbers_are_the_papers():
  """Their means over the 17 data sets, as the paper prints them, and what it prints twice."""
  for encoder, gain in {"RN50": 4.31, "ViT-B16": 2.90}.items():
    values = [
      published.value(encoder, d, "LE+CF+SCE") - published.value(encoder, d, "zero-shot") for d in _HE_ET_AL
    ]
    assert sum(values) / len(values) == pytest.approx(gain, abs=0.005)
  assert published.value("RN50", "eurosat", "LE+CE") == 53.26
  assert published.value("RN50", "eurosat", "LE") is published.value("RN51", "eurosat", "LE+CE") is None


_HE_ET_AL = (
  "cifar10", "cifar100", "caltech101", "caltech256", "imagenet", "sun397", "aircraft", "birdsnap", "cars", "cub",
  "flowers102", "food101", "pets", "dtd", "eurosat", "imagenet-sketch", "imagenet-r",
)  # fmt: skip


def test_the_shipped_matrix_is_the_papers_seventeen_data_sets_by_seven_arms_and_two_encoders():
  config = command_line.load_config_file("configs/zero_shot_matrix.py")
  validation.check(config)
  assert tuple(config.studies) == _HE_ET_AL
  found = {
    (own.arms[name].encoder, d, kind_of(own, name)) for d, own in config.studies.items() for name in own.arms
  }
  assert len(found) == 17 * 7 * 2
  known = {cell for cell in found if published.value(*cell) is not None}
  # Zero-shot and LE+CF+SCE everywhere, all of RN50's arms on three sets.
  assert len(known) == 2 * 17 * 2 + 3 * 5
  assert config.studies["eurosat"].encoders.RN50.ensemble is False
  assert config.studies["imagenet"].encoders.RN50.ensemble is True


def test_the_page_shows_ours_beside_theirs_and_what_is_not_there():
  def cell(dataset, arm, *top1, **fields):
    about = dict(study=dataset, split="test", encoder="RN50", mean_class=top1, n=10 * len(top1), images=0)
    return page.Cell(dataset=dataset, arm=arm, top1=top1, **about | dict(published=None) | fields)

  html = page.render(
    page.Page(
      "<Matrix>",
      (
        cell("cifar10", "zero-shot", 70.0, published=70.31),
        cell("cifar10", "LE+CF+SCE", 80.0, 82.0, published=80.06),
        cell("<b>", "zero-shot", 40.0),
        cell("<b>", "LE+CF+SCE"),
      ),
      "He et al. 2023",
      ("cifar10", "<b>"),
      "python -m ...",
      0,
    )
  )
  Outline(html)  # every tag is closed where it should be
  assert "<b>" not in html and "&lt;b&gt;" in html and "&lt;Matrix&gt;" in html
  assert "3 of 4 cells" in html and "(80.06)" in html and "81.0" in html and "± 1.4" in html
  assert "+11.0" in html and "(+9.75)" in html  # ours and theirs
  assert "over 1 data sets; published, 1" in html


@pytest.mark.slow
def test_two_processes_share_a_matrix(forked, weights, tmp_path):
  file = tmp_path / "both.py"
  file.write_text(_CONFIG.format(weights=str(weights)))
  workdir = tmp_path / "w"
  line = [f"--config={file}", f"--workdir={workdir}", "--distributed=off"]
  both = [forked(*line) for _ in range(2)]
  said = [process.communicate(timeout=400)[1] for process in both]
  assert [process.returncode for process in both] == [0, 0], said
  shared = (workdir / "matrix.csv").read_bytes()
  assert len(cells(workdir)) == 6
  alone = forked(f"--config={file}", f"--workdir={tmp_path / 'alone'}", "--distributed=off")
  assert alone.wait(timeout=400) == 0
  assert (tmp_path / "alone" / "matrix.csv").read_bytes() == shared


@pytest.mark.slow
def test_a_matrix_killed_in_the_middle_goes_on_from_its_cells(forked, weights, tmp_path):
  file, workdir = tmp_path / "both.py", tmp_path / "w"
  file.write_text(_CONFIG.format(weights=str(weights)))
  line = [f"--config={file}", f"--workdir={workdir}", "--distributed=off"]
  first = forked(*line)
  while not list((workdir / "a").glob("runs/*/rows.jsonl")) and first.poll() is None:
    time.sleep(0.05)
  first.kill()
  first.communicate()
  done = {p: p.stat().st_mtime_ns for p in workdir.glob("*/runs/*/tests/*.npz")}
  assert done
  assert forked(*line).wait(timeout=400) == 0
  assert {p: p.stat().st_mtime_ns for p in done} == done and len(cells(workdir)) == 6


_CONFIG = """
from synthjax.config import arm, encoder, image_set, matrix, prompt_list, study_config

def get_config(arg=""):
  studies = {{}}
  for name, test in dict(a="first", b="second").items():
    config = studies[name] = study_config(labels="digits")
    config.prompts.LE = prompt_list("LE", per_class=4, draws=6)
    config.sets.LE = image_set("LE")
    config.sampling.update(dict(generator={weights!r}, images_per_class=6, images_per_shard=16, steps=2))
    config.encoders.clip = encoder()
    config.tests[name] = "embedded:digits:" + test
    config.tuning.update(dict(batch=16, epochs=4))
    config.arms["zero-shot"] = arm()
    config.arms["LE+CE"] = arm("LE")
    config.arms["LE+SCE"] = arm("LE", loss="SCE")
    config.seeds = 2
    config.runtime.heartbeat_seconds = 0.5
    config.runtime.stale_seconds = 3.0
  return matrix(studies)
"""
