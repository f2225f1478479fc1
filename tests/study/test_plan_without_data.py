"""`--plan` where real images are not on this machine: a line says which, and every other line is as it is where they are."""

import re

import pytest
from PIL import Image

from synthjax import main, study
from synthjax.cli.command_line import load_config_file
from synthjax.data import tfds_source
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec.command import Command
from synthjax.weights import hub
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
  monkeypatch.setattr(tfds_source, "_CACHE", str(tmp_path / "cache"))
  monkeypatch.chdir(tmp_path)


def config_of(real: str, test: str, imported: str, many: int = 2):
  """One of every kind of product that reads real images."""
  config = fields_of.study_config(labels="solfege")
  config.seeds = 2
  config.encoders.clip = fields_of.encoder("embedded:clip-resnet")
  config.real.few = fields_of.real_images(real, shots=1)
  config.real.all = fields_of.real_images(real)
  config.tests.own = test
  config.tests.digits = "embedded:digits:second"
  recorded = dict(writer="recorded:embedded:solfege", per_class=4)
  config.prompts.B = fields_of.prompt_list("B")
  config.prompts.LAR = fields_of.prompt_list("LAR", real="few", **recorded)
  config.prompts.captions = fields_of.prompt_list("captions", real="all", **recorded)
  config.sampling.update(dict(generator="embedded:generator", steps=2, images_per_class=4))
  config.sets.B = fields_of.image_set("B")
  config.sets.LAR = fields_of.image_set("LAR")
  config.sets.begun = fields_of.image_set("B", parents="real:few", strength=0.5)
  config.sets.theirs = fields_of.imported_set(imported)
  config.filters.near = fields_of.image_filter("real", against="all", kept_per_class=2)
  config.filters.copies = fields_of.photograph_copies(against="all", encoder="clip")
  config.arms["zero-shot"] = fields_of.arm()
  config.arms.B = fields_of.arm("B")
  config.arms.near = fields_of.arm("B/near", real="few")
  config.arms.copies = fields_of.arm("theirs/copies")
  config.learning.update(dict(model="resnet-mini", size=8, real="all", batch=8))
  for i in range(many):
    config.learners[f"steps-{i}"] = fields_of.learner(steps=3, learning_rate=0.1 * (i + 1))
  config.learners.epochs = fields_of.learner("B", epochs=1.0, ratio=0.1, probe="few")
  config.learners.later = fields_of.learner(steps=3, init="learner:epochs")
  return config


def plan(capsys, config, workdir, **kwargs) -> list[str]:
  capsys.readouterr()
  study.run(Command(config, str(workdir), line="python -m synthjax.main ...", plan=True, **kwargs))
  return capsys.readouterr().out.splitlines()


def rows(lines: list[str]) -> dict[str, list[str]]:
  return {cells[0]: cells for line in lines if len(cells := re.split(r" {2,}", line)) > 1}


def write_digits(folder) -> None:
  for k in range(10):
    for i in range(3):
      (folder / str(k)).mkdir(parents=True, exist_ok=True)
      Image.new("L", (8, 8), 20 * k + i).save(folder / str(k) / f"{i}.png")


ABSENT = ("folder:none", "tfds:mnist:test", "synthjax:w/images/B")


def test_every_product_has_its_line_and_what_is_not_here_is_one(capsys, tmp_path):
  absent = plan(capsys, config_of(*ABSENT), "w0")
  write_digits(tmp_path / "there")
  here = plan(capsys, config_of(*["folder:there"] * 3), "w0")
  assert [line for line in absent if "not here" in line] == [
    "data that are not here: folder:none (there is no none); synthjax:w/images/B (there is no w/images/B); "
    "tfds:mnist:test (set TFDS_DATA_DIR, or run: tfds build mnist --file_format=array_record)"
  ]
  assert absent[-1] == here[-1] and not any("not here" in line for line in here)
  was, now = rows(here), rows(absent)
  assert list(was) == list(now)
  unlike = {name: now[name][1:] for name in was if was[name] != now[name]}
  images = ("images/theirs", *(f"embeddings/{of}/clip" for of in ("few", "all", "own", "theirs")))
  assert unlike == {name: ["missing", "images"] for name in images} | {
    "prompts/captions": ["missing", "requests"]
  }
  assert now["runs/steps-0"][1:] == ["missing", "0/6", "results"]


def test_many_that_read_the_same_look_for_it_once(capsys, monkeypatch):
  asked = []
  found = tfds_source.read_only_builder._find_builder_dir
  monkeypatch.setattr(
    tfds_source.read_only_builder, "_find_builder_dir", lambda *a, **k: asked.append(a) or found(*a, **k)
  )
  lines = plan(capsys, config_of("tfds:mnist:train", "tfds:mnist:test", "tfds:mnist:train", many=12), "w")
  assert len(asked) <= 2 * 2  # once by us and once by tfds, a reference
  assert "data that are not here: tfds:mnist:train, tfds:mnist:test (set TFDS_DATA_DIR, or run: " in lines[-2]


def test_without_plan_it_is_an_error_and_nothing_is_made(tmp_path):
  with pytest.raises(UserError, match="folder:none: there is no such folder; fix its path"):
    study.run(Command(config_of(*ABSENT), str(tmp_path / "w")))
  assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
  ("reference", "said"),
  [
    ("foldr:none", "did you mean 'folder'"),
    ("folder:there:test", "there is no such folder"),
    ("folder:there?map=map.yaml", "is not in its class mapping"),
    ("folder:there?map=none.yaml", "does not exist"),
  ],
)
def test_whatever_else_is_wrong_is_an_error_of_plan_too(capsys, tmp_path, reference, said):
  write_digits(tmp_path / "there")
  (tmp_path / "map.yaml").write_text("zero: '0'\n")
  for config in (config_of(reference, *ABSENT[1:]), config_of(ABSENT[0], reference, ABSENT[2])):
    with pytest.raises(UserError, match=re.escape(said)) as e:
      plan(capsys, config, "w")
    assert type(e.value) is UserError and not (tmp_path / "w").exists()


CONFIG = """
from synthjax.config import *
def get_config(arg=""):
  config = study_config(labels="digits")
  config.tests.own = "folder:none"
  config.tests.more = "folder:nothing"
  config.real.all = real_images("coop:none.json:train")
  config.learning.update(model="resnet-mini", size=8, real="all", batch=8, steps=3)
  config.learners.one = learner()
  return config
"""


def test_the_command_ends_with_0_and_without_plan_with_2(capsys, tmp_path):
  (tmp_path / "c.py").write_text(CONFIG)
  command = ["--config", "c.py", "--workdir", "w", "--config.runtime.compile_cache="]
  assert main.main([*command, "--plan"]) == 0
  out = capsys.readouterr().out.splitlines()
  assert out[-2:] == [
    "data that are not here: folder:none (there is no none); folder:nothing (there is no nothing); "
    "coop:none.json:train (there is no none.json)",
    "2 of 2 to make",
  ]
  assert main.main(command) == 2
  assert capsys.readouterr().err.startswith(
    "synthjax: source folder:none: there is no such folder; fix its path"
  )
  assert not (tmp_path / "w").exists()


def test_of_a_workdir_that_was_begun_what_is_there_is_shown(capsys, small, tmp_path):
  config = small(tmp_path)
  study.run(Command(config, "w", stages=("prompts", "sample"), line="-"))
  config.real.few = fields_of.real_images("folder:none", shots=1)
  config.encoders.clip = fields_of.encoder("thumbnail")
  config.sets.begun = fields_of.image_set("B", parents="real:few", strength=0.5)
  config.filters.copies = fields_of.photograph_copies(against="few", encoder="clip", kept_per_class=2)
  config.tests.real = "folder:none"
  config.learning.update(dict(model="resnet-mini", size=8, batch=8))
  config.learners.copies = fields_of.learner("B/copies", epochs=1.0)
  now = rows(lines := plan(capsys, config, "w"))
  assert now["images/B"][1:3] == ["done", "15/15"]
  assert now["images/begun"][1:5] == ["missing", "0/15", "images", "0/4"]
  assert now["keep/B/copies-clip"][1:] == ["missing", "0/6", "images"]
  assert now["runs/copies"][1:] == ["missing", "0/6", "results"]
  assert "data that are not here: folder:none (there is no none)" in lines


@pytest.fixture
def without_network(tmp_path, monkeypatch):
  monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")
  monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_weights_and_servers_that_are_elsewhere_are_likewise(capsys, tmp_path, monkeypatch, without_network):
  asked = []
  pin = hub._pin
  monkeypatch.setattr(hub, "_pin", lambda reference, *rest: asked.append(reference) or pin(reference, *rest))
  config = fields_of.study_config(labels="digits")
  config.encoders.clip = fields_of.encoder("org/clip")
  config.tests.own = "embedded:digits:second"
  served = dict(writer="server:http://127.0.0.1:9/v1", model="m", per_class=2)
  config.prompts.CD = fields_of.prompt_list("CD", items=2, **served)
  config.prompts.T5 = fields_of.prompt_list("LE", writer="t5:org/t5", per_class=2)
  config.sampling.update(dict(generator="org/sd", images_per_class=4))
  for name in ("a", "b", "c"):
    config.sets[name] = fields_of.image_set("CD", seed=ord(name))
    config.arms[name] = fields_of.arm(name)
  config.learning.update(dict(model="resnet-mini", size=8, batch=8, steps=3))
  config.learners.one = fields_of.learner("a", init="folder:weights")
  lines = plan(capsys, config, "w")
  assert [line for line in lines if "not here" in line or "fetch" in line] == [
    "servers that are not here: http://127.0.0.1:9/v1 (none answers)",
    "weights that are not here: org/t5, org/sd, org/clip (no folder here, and the hub cannot be reached); "
    "folder:weights (there is no weights)",
  ]
  assert sorted(asked) == ["org/clip", "org/sd", "org/t5"]
  now = rows(lines)
  assert now["images/a"][1:4] == ["missing", "0/40", "images"] and now["runs/one"][1:3] == ["missing", "0/6"]
  (tmp_path / "weights").mkdir()
  with pytest.raises(UserError, match=r"model\.safetensors is missing"):
    plan(capsys, config, "w")
  for name in ("CD", "T5"):
    del config.prompts[name]
  config.prompts.CD = fields_of.prompt_list("B")
  with pytest.raises(UserError, match="org/sd is no folder here, the hub cannot be reached"):
    study.run(Command(config, "w"))


def test_the_plan_of_imagenet_with_a_language_model_needs_neither_here(capsys, without_network):
  config = load_config_file(str(ROOT / "configs" / "diversify.py"), "imagenet")
  for name in ("LAR", "CD", "SD"):
    config.prompts[name].writer = "server:http://127.0.0.1:9/v1"
  lines = plan(capsys, config, "w")
  said = [line for line in lines if "not here" in line]
  assert [line.split(" that")[0] for line in said] == ["data", "servers", "weights"]
  assert all(f"tfds:{name}" in said[0] for name in ("imagenet2012:train", "imagenet_sketch", "imagenet_a"))
  assert "prompts/CD: 21,000 requests of 21,000" in "\n".join(lines)
  shown = rows(lines)
  assert shown["runs/LAR+CD+SD-auxiliary-pooled-6x"][1:3] == ["missing", "0/18"]
  assert shown["images/naive"][2] == "0/7,800,000"
