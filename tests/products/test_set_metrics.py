"""Metrics of image sets as products: equal to the functions on the same features, made again where a set has grown."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from synthjax import study
from synthjax.cli.command_line import load_config_file
from synthjax.disk import workdir
from synthjax.evaluation.set_metrics import (
  answers,
  diversity,
  features,
  frechet,
  kernels,
  measured,
  neighbours,
)
from synthjax.learning.learner import Trained
from synthjax.products.base import DONE, STALE
from synthjax.products.features import RealEmbeddings, SetEmbeddings
from synthjax.products.learner import Learner
from synthjax.products.set_metrics import SetMetrics
from synthjax.runtime import devices, sharding
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from synthjax.weights import image_networks
from tests.models.test_dinov2 import saved as saved_dinov2
from tests.models.test_metric_networks import folder as lpips_folder

IDS = tuple("0123456789")


def run(config, root, **flags) -> None:
  validation.check(config)
  study.run(Command(config, str(root), line="python -m synthjax.main ...", **flags))


def designed(config, root):
  return study.design(config, workdir.open_workdir(str(root)))


def made(config, root, name: str, image_set: str = "copies") -> SetMetrics:
  return designed(config, root).get(SetMetrics, image_set, name)


def written(root, name: str, image_set: str = "copies") -> dict:
  return json.loads((root / f"metrics/{image_set}/{name}/metrics.json").read_text())


def config_of(weights, lpips):
  config = fields_of.study_config(labels="digits")
  config.study = "small"
  config.encoders.clip = fields_of.encoder()
  config.prompts.B = fields_of.prompt_list("B")
  config.sampling.update(generator=str(weights), steps=1, images_per_class=2)
  config.sets.noise = fields_of.image_set("B")
  config.sets.copies = fields_of.imported_set("embedded:digits:first", images_per_class=6)
  config.tests.digits = "embedded:digits:second"
  config.metrics.alone = fields_of.set_metrics(lpips=str(lpips), pairs=2)
  config.metrics.beside = fields_of.set_metrics(real="digits", metrics="frechet,kid,cmmd,prdc", neighbours=3)
  config.metrics.few = fields_of.set_metrics(
    real="digits", subsample=40, seed=5, sets="copies", metrics="vendi,cmmd", real_jpeg=20
  )
  config.runtime.compile_cache = ""
  return config


@pytest.fixture(scope="module")
def whole(weights, tmp_path_factory):
  """(config, workdir): measured, not touched by tests."""
  root = tmp_path_factory.mktemp("metrics")
  config = config_of(weights, lpips_folder(root / "lpips", "lpips_alex"))
  run(config, root / "w")
  return config, root / "w"


def test_numbers_are_those_of_the_functions_on_the_same_features(whole):
  config, root = whole
  declared = designed(config, root)
  embedded = declared.get(SetEmbeddings, "copies", "clip")
  own = embedded.embedded(1).at(np.arange(60))
  real = declared.get(RealEmbeddings, "digits", "clip").load()
  assert len(own) == 60 and len(real) == 899
  alone, beside = written(root, "alone")["metrics"], written(root, "beside")["metrics"]
  assert alone["vendi"]["value"] == diversity.vendi(own.features) and alone["vendi"]["n"] == 60
  assert alone["spread"]["by_class"] == dict(diversity.spread(own.features, own.labels, IDS).by_class)
  encoder = declared.encoder("clip")
  scores = (own.features @ encoder.zero_shot.T).argmax(axis=1)
  found = answers.recognizability(own.labels, scores, IDS)
  assert alone["recognizability_top1"]["value"] == found.top1 == 100 * (scores == own.labels).mean()
  assert alone["recognizability_macro_f1"]["value"] == found.macro_f1
  same = features.by_share(real.labels, 60, 0)
  assert beside["frechet"]["value"] == frechet.between(real.features[same], own.features)
  assert beside["cmmd"]["value"] == kernels.cmmd(real.features[same], own.features)
  assert beside["recall"]["value"] == neighbours.prdc(real.features[same], own.features, 3).recall
  sevens = real.features[same][real.labels[same] == 7]
  n = min(6, len(sevens))
  x = sevens[features.subsample(len(sevens), n, 0)]
  y = own.features[own.labels == 7]
  y = y[features.subsample(len(y), n, 0)]
  assert beside["frechet"]["by_class"]["7"] == frechet.between(x, y)
  assert set(alone) == {"recognizability_top1", "recognizability_macro_f1", "spread", "vendi", "lpips"}
  assert set(beside) == {*measured.names(("frechet", "kid", "cmmd", "prdc"))}
  assert alone["lpips"]["value"] > 0 and len(alone["lpips"]["by_class"]) == 10


def test_the_score_of_image_and_text_is_the_cosine_with_the_image_s_own_prompt(whole):
  config, root = whole
  declared = designed(config, root)
  embedded, encoder = declared.get(SetEmbeddings, "noise", "clip"), declared.encoder("clip")
  own = embedded.embedded(1).at(np.arange(20))
  texts = encoder.embed_texts([f"a photo of a digit {label}" for label in own.labels])
  unit = own.features / np.linalg.norm(own.features, axis=1, keepdims=True)
  wanted = 100 * np.maximum((unit * texts).sum(axis=1), 0).mean()
  assert written(root, "alone", "noise")["metrics"]["clip_score"]["value"] == pytest.approx(wanted, rel=1e-5)


def test_a_subsample_takes_each_class_by_its_share_and_real_images_are_encoded_alike(whole):
  config, root = whole
  declared = designed(config, root)
  few = written(root, "few")["metrics"]
  assert few["vendi"]["n"] == few["cmmd"]["n"] == 40
  own = declared.get(SetEmbeddings, "copies", "clip").embedded(1)
  places = features.by_share(own.labels, 40, 5)
  assert np.bincount(own.labels[places]).tolist() == [4] * 10
  real = declared.get(RealEmbeddings, "digits", "clip", "jpeg20")
  assert real.name == "embeddings/digits/clip.jpeg20"
  source, encoder = declared.source("digits"), declared.encoder("clip")
  buffer = io.BytesIO()
  source.image(3).convert("RGB").save(buffer, "JPEG", quality=20)
  by_hand = encoder.embed([encoder.preprocess.pixels(Image.open(buffer))])
  plain = declared.get(RealEmbeddings, "digits", "clip").load().features
  np.testing.assert_allclose(real.load().features[3], by_hand[0], rtol=1e-4, atol=1e-5)
  assert np.abs(real.load().features - plain).max() > 0.01
  drawn = real.load().at(features.by_share(source.labels, 40, 5)).features
  assert few["cmmd"]["value"] == kernels.cmmd(drawn, own.at(places).features)


def test_rows_and_page_have_them(whole):
  _, root = whole
  rows = [json.loads(line) for line in (root / "results.jsonl").read_text().splitlines()]
  (row,) = [r for r in rows if (r["set"], r["metrics"], r["metric"]) == ("copies", "beside", "density")]
  value = written(root, "beside")["metrics"]["density"]["value"]
  about = dict(study="small", encoder="clip", real="digits", n=60, value=value)
  assert row == dict(set="copies", metrics="beside", metric="density", **about)
  assert {r["set"] for r in rows} == {"copies", "noise"}
  assert len({(r["set"], r["metrics"], r["metric"]) for r in rows}) == len(rows)
  page = (root / "report/index.html").read_text()
  assert "Metrics of image sets" in page and f"{value:.4g}" in page
  assert "it hardly sees how diverse a set is" in page


def test_a_second_run_does_nothing_and_plan_says_so(whole, capsys):
  config, root = whole
  before = {p: p.stat().st_mtime_ns for p in (root / "metrics").rglob("*") if p.is_file()}
  run(config, root, plan=True)
  assert "nothing is missing" in capsys.readouterr().out
  run(config, root)
  assert {p: p.stat().st_mtime_ns for p in (root / "metrics").rglob("*") if p.is_file()} == before


# --- growth, damage --------------------------------------------------------------------------------


def imported(**given):
  config = fields_of.study_config(labels="digits")
  config.encoders.clip = fields_of.encoder()
  config.sets.copies = fields_of.imported_set("embedded:digits:first", images_per_class=3)
  config.metrics.m = fields_of.set_metrics(**(dict(metrics="vendi,spread") | given))
  config.runtime.compile_cache = ""
  return config


def test_a_grown_set_is_measured_again_and_what_is_asked_for_later_alone(tmp_path, monkeypatch):
  seen, measure = [], measured.measure
  monkeypatch.setattr(
    measured, "measure", lambda metric, given: seen.append(metric) or measure(metric, given)
  )
  config = imported()
  run(config, tmp_path)
  small = written(tmp_path, "m")["metrics"]
  config.sets.copies.images_per_class = 5
  stale = made(config, tmp_path, "m").status()
  assert stale.state == STALE and "grown" in stale.why
  run(config, tmp_path)
  grown = written(tmp_path, "m")["metrics"]
  assert (small["vendi"]["n"], grown["vendi"]["n"]) == (30, 50) and grown["vendi"] != small["vendi"]
  config.metrics.m.metrics = "vendi,spread,recognizability"
  assert (made(config, tmp_path, "m").status().state, made(config, tmp_path, "m").status().have) == (STALE, 2)
  seen.clear()
  run(config, tmp_path)
  assert seen == ["recognizability"]
  more = written(tmp_path, "m")["metrics"]
  assert more["vendi"] == grown["vendi"] and "recognizability_macro_f1" in more
  config.metrics.m.metrics = "spread"  # the file has more, and nothing is made
  assert made(config, tmp_path, "m").status().state == DONE
  assert [row["metric"] for row in made(config, tmp_path, "m").rows()] == ["spread"]
  config.metrics.m.seed = 1
  with pytest.raises(UserError, match=r"metrics/copies/m: seed was 0 when it was made and is 1 now"):
    run(config, tmp_path)


def test_damage_is_found_by_verify_and_made_again(tmp_path, capsys):
  config = imported()
  run(config, tmp_path)
  file = tmp_path / "metrics/copies/m/metrics.json"
  whole = file.read_bytes()
  file.write_bytes(whole.replace(b"3", b"4", 1))
  with pytest.raises(UserError) as e:
    run(config, tmp_path, stages=("verify",))
  assert str(file) in str(e.value) + "".join(capsys.readouterr())
  with pytest.raises(UserError, match="is damaged"):
    made(config, tmp_path, "m").rows()
  file.unlink()
  run(config, tmp_path, stages=("measure",))
  assert file.read_bytes() == whole


def test_a_learner_of_the_study_answers(tmp_path):
  config = imported(classifier="learner:net", metrics="recognizability")
  config.tests.digits = "embedded:digits:second"
  config.real.few = fields_of.real_images("embedded:digits:first", shots=2)
  config.learners.net = fields_of.learner(real="few", model="resnet-mini", size=16, steps=4, batch=8)
  config.seeds = 1
  run(config, tmp_path)
  declared = designed(config, tmp_path)
  metrics, learner = declared.get(SetMetrics, "copies", "m"), declared.get(Learner, "net")
  mesh = sharding.training_mesh()
  place = devices.place(mesh, devices.REPLICATED)
  variables = image_networks.on_devices(learner.learnt_file(0), "net", place)
  tally = Trained(learner.fields, learner.task, variables, mesh).tally("set", metrics._set.as_source())
  found = written(tmp_path, "m")["metrics"]
  assert found["recognizability_top1"]["value"] == pytest.approx(tally.metrics()["top1"])
  config.learners.net.steps = 5  # another network
  assert made(config, tmp_path, "m").status().state != DONE


@pytest.mark.parity
def test_an_encoder_without_classes_measures_what_needs_none(torch, tmp_path):
  saved_dinov2(torch, tmp_path / "dinov2")
  view = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
  (tmp_path / "dinov2/preprocessor_config.json").write_text(json.dumps(view))
  config = imported(encoder="dinov2", real="digits", metrics="", neighbours=2)
  config.encoders.dinov2 = fields_of.encoder(f"dinov2:{tmp_path / 'dinov2'}")
  config.tests.digits = "embedded:digits:second"
  run(config, tmp_path / "w")
  wanted = ("spread", "vendi", "frechet", "kid", "cmmd", "prdc")
  assert set(written(tmp_path / "w", "m")["metrics"]) == {*measured.names(wanted)}
  record = json.loads((tmp_path / "w/metrics/copies/m/record.json").read_text())
  assert record["identity"]["network"] == "dinov2" and "templates" not in record["identity"]
  run(config, tmp_path / "w", stages=("verify",))


# --- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
  ("given", "said"),
  [
    (dict(metrics="vendi,frechte"), r"metrics: 'frechte' \(did you mean 'frechet'\?\)"),
    (dict(encoder="clp"), r"encoder 'clp' \(did you mean 'clip'\?\)"),
    (dict(encoder="small"), "encoder 'small' makes thumbnails, which metrics do not take"),
    (dict(sets="copy"), r"image set 'copy' \(did you mean 'copies'\?\)"),
    (dict(real="digit"), r"real images 'digit' \(did you mean 'digits'\?\)"),
    (dict(metrics="cmmd"), "cmmd compares with real images; set real"),
    (dict(metrics="lpips"), "lpips needs its weights"),
    (dict(metrics="clip_score"), "clip_score needs the texts of images, and copies is imported"),
    (dict(metrics="spread", subsample=12), "subsample 12 is too few for spread, which needs 20"),
    (dict(metrics="prdc", real="digits", neighbours=40), "prdc needs 0 images of each class and 41 in all"),
    (dict(classifier="learner:x"), "classifier: learner 'x'"),
    (dict(classifier="clip"), "classifier is '' or learner:NAME, not 'clip'"),
    (dict(real_jpeg=90), "real_jpeg without real images"),
    (dict(lpips="/nowhere", metrics="lpips"), "/nowhere"),
    (dict(size=32), "size is at least 64, not 32"),
  ],
)
def test_mistakes_are_one_line_before_anything_is_made(tmp_path, given, said):
  config = imported(**given)
  config.encoders.small = fields_of.encoder("thumbnail")
  config.tests.digits = "embedded:digits:second"
  with pytest.raises(UserError, match=said) as e:
    run(config, tmp_path)
  assert "\n" not in str(e.value) and not (tmp_path / "images").exists()


def test_a_study_without_them_has_no_such_product(tmp_path):
  config = imported()
  del config.metrics["m"]
  assert not [p for p in designed(config, tmp_path).products if p.stage == "measure"]
  file = tmp_path / "plain.py"
  file.write_text("from synthjax.config import *\ndef get_config(arg=''):\n  return study_config()\n")
  assert load_config_file(str(file), "").metrics.to_dict() == {}
