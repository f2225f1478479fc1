"""The shipped zero-shot study and its like: whose sentences their LE is of, and all of one in small."""

import dataclasses
import json

import huggingface_hub
import pytest

from synthjax import study
from synthjax.cli.command_line import load_config_file
from synthjax.data import tfds_source
from synthjax.labels import spaces
from synthjax.spec import validation
from synthjax.spec.command import Command
from tests.conftest import ROOT
from tests.data import tfds_files
from tests.language import folders
from tests.weights import test_hub


def shipped(name: str, arg: str = ""):
  return load_config_file(str(ROOT / "configs" / f"{name}.py"), arg)


def test_le_of_shipped_configs_is_as_in_the_paper():
  """Its T5, 200 of 250 draws; EuroSAT's published list alone has the article."""
  matrix = shipped("zero_shot_matrix")
  lists = {name: own.prompts for name, own in matrix.studies.items()}
  lists |= {f"transfer {a}": shipped("cifar100_transfer", a).prompts for a in ("resnet50", "deit-s-imagenet")}
  lists |= {"few pets": shipped("few_shot", "pets,1").prompts}
  assert shipped("few_shot", "eurosat,1").prompts.LE == lists["eurosat"].LE
  assert len(lists) == 17 + 2 + 1
  for prompts in lists.values():
    le = prompts.LE
    assert le.strategy == "LE" and le.writer == "t5:mrm8488/t5-base-finetuned-common_gen"
    assert (le.draws, le.per_class, le.temperature, le.top_k, le.template) == (250, 200, 1.0, 50, "")
  assert {name: p.LE.t5_input for name, p in lists.items() if p.LE.t5_input != "{}"} == {"eurosat": "a {}"}
  assert [lists[f"transfer {a}"].LE.labels for a in ("resnet50", "deit-s-imagenet")] == ["", "imagenet"]


@pytest.fixture
def in_small(weights, tmp_path, monkeypatch):
  """The shipped study of EuroSAT, on its classes, with tiny networks of random weights and the CLIP that ships, which reads
  few tokens: hence the template. Without the arms of the second encoder."""
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
  monkeypatch.setattr(tfds_source, "_CACHE", str(tmp_path / "cache"))
  tfds_files.write(tmp_path / "tfds", "eurosat/rgb", n=20)
  config = shipped("zero_shot", "eurosat")
  labels = tmp_path / "eurosat.yaml"
  labels.write_text("like: eurosat\ntemplate: a {}\n")
  config.labels = str(labels)
  config.tests.eurosat = spaces.load("eurosat").test
  config.prompts.LE.update(writer=f"t5:{folders.t5(tmp_path / 't5')}", draws=8, per_class=2, max_tokens=6)
  config.prompts.LE.when_missing = "basic"  # random weights may end each of a class's texts at once
  config.sampling.update(generator=str(weights), images_per_class=2, steps=1, stored_size=0, dtype="float32")
  config.sampling.long_prompts = "cut"  # a random network's words are short of sense and long of tokens
  config.encoders.RN50.weights = "embedded:clip"
  for name in [name for name in config.arms if name.startswith("ViT-B16-")]:
    del config.arms[name]
  config.filters.CF.update(kept_per_class=1, max_rounds=0)
  config.tuning.epochs = config.seeds = 1
  config.runtime.compile_cache = ""
  return config


@pytest.mark.slow
def test_the_shipped_study_in_small(in_small, tmp_path, capsys):
  validation.check(in_small)
  study.run(Command(in_small, str(tmp_path / "w"), line=""))
  w = tmp_path / "w"
  read = {
    n: [json.loads(s) for s in (w / "prompts" / n / "prompts.jsonl").read_text().splitlines()]
    for n in ("B", "LE")
  }
  names = dict(zip(spaces.load("eurosat").ids, spaces.load("eurosat").names, strict=True))
  assert {p["class_id"]: p["text"] for p in read["B"]} == {i: f"a {name}" for i, name in names.items()}
  assert {p["class_id"] for p in read["LE"]} == names.keys() and len(read["LE"]) > len(names)
  assert all(p["origin"].startswith("LE: t5 ") for p in read["LE"])
  assert json.loads((w / "prompts/LE/record.json").read_text())["identity"]["t5_input"] == "a {}"
  rows = [json.loads(line) for line in (w / "results.jsonl").read_text().splitlines()]
  losses = [f"{images}+{loss}" for images in ("B", "LE", "LE+CF") for loss in ("CE", "SCE")]
  wanted = {f"RN50-{arm}" for arm in ("zero-shot", *losses)}
  assert {row["arm"] for row in rows if row["metric"] == "top1"} == wanted and len(wanted) == 7
  capsys.readouterr()
  study.run(Command(in_small, str(w), line="", plan=True))
  assert "nothing is missing" in capsys.readouterr().out


@pytest.fixture
def remote(tmp_path, monkeypatch):
  """A hub with a tiny T5."""
  server = test_hub.Hub()
  server.commits[test_hub.FIRST] = {p.name: p.read_bytes() for p in folders.t5(tmp_path / "t5").iterdir()}
  test_hub.ask(monkeypatch, server.url)
  monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
  test_hub.new_process()
  yield server
  server.close()
  test_hub.new_process()


def test_the_studies_of_the_shipped_matrix_fetch_their_t5_once(remote, tmp_path, capsys):
  matrix = shipped("zero_shot_matrix", "cifar10,eurosat")
  matrix.prompts.LE.update(writer=f"t5:{test_hub.REPO}", draws=2, per_class=1)
  for own in matrix.studies.values():
    own.prompts.LE.when_missing, own.prompts.LE.max_tokens = "basic", 4
  prompts = Command(matrix, str(tmp_path / "w"), line="", stages=("prompts",))
  validation.check(matrix)
  study.run(dataclasses.replace(prompts, plan=True))
  size = len(remote.commits[test_hub.FIRST]["model.safetensors"])
  said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("weights to fetch: ")]
  assert said == [f"weights to fetch: {test_hub.REPO}, {size / 1e3:.0f} kB"]
  assert not any(r.startswith("GET /cdn/") for r in remote.requests)
  study.run(prompts)
  assert [r for r in remote.requests if r.startswith("GET /cdn/")] == [
    f"GET /cdn/{test_hub.FIRST}/model.safetensors"
  ]
  assert len(list((tmp_path / "w").glob("*/prompts/LE/prompts.jsonl"))) == 2
