"""No feature class that a TFDS folder names is imported: its module could do anything."""

import json
import sys

import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import read_only_builder

from synthjax import study
from synthjax.data import tfds_features, tfds_source
from synthjax.data.sources import open_source
from synthjax.labels import spaces
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from tests.data import tfds_files

CORE = "tensorflow_datasets.core.features."


@pytest.fixture
def mark(tmp_path, monkeypatch):
  """A module on the path that leaves a mark when it is imported."""
  (tmp_path / "path").mkdir()
  (tmp_path / "path/stranger.py").write_text(
    f"import pathlib\npathlib.Path({str(tmp_path / 'mark')!r}).write_text('was here')\n"
  )
  monkeypatch.syspath_prepend(str(tmp_path / "path"))
  yield tmp_path / "mark"
  sys.modules.pop("stranger", None)


def hostile(body: dict, name: str) -> dict:
  """A feature of that class, in each way that TFDS looks for one."""
  odd = {"pythonClassName": name, "jsonFeature": {"json": "{}"}}
  nested = {
    "pythonClassName": f"{CORE}sequence_feature.Sequence",
    "sequence": {"feature": odd, "length": "2"},
  }
  legacy = {"type": f"{CORE}features_dict.FeaturesDict", "content": {"x": {"type": name, "content": {}}}}
  with_features = {"pythonClassName": f"{CORE}features_dict.FeaturesDict"}
  text = json.dumps({"x": {"type": name, "content": {}}})
  proto = json.dumps({"features": {"x": {"python_class_name": name, "json_feature": {"json": "{}"}}}})
  return {
    "top": odd,
    "snake": {"python_class_name": name, "json_feature": {"json": "{}"}},
    "beside": body | {"featuresDict": {"features": body["featuresDict"]["features"] | {"x": odd}}},
    "nested": with_features | {"featuresDict": {"features": {"x": nested}}},
    "legacy": legacy,
    "json": with_features | {"jsonFeature": {"json": text}},
    "proto": legacy | {"content": proto, "proto_cls": "tensorflow_datasets.FeaturesDict"},
  }


WAYS = ("top", "snake", "beside", "nested", "legacy", "json", "proto", "info")


@pytest.fixture
def cifar(tmp_path, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
  monkeypatch.setattr(tfds_source, "_CACHE", str(tmp_path / "cache"))
  tfds_files.write(tmp_path / "tfds", "cifar10", n=10)
  (folder,) = (file.parent for file in (tmp_path / "tfds").rglob("features.json"))
  return folder


def poison(folder, way: str, name: str = "stranger.Feature"):
  """Returns the file that names the class."""
  file, info = folder / "features.json", folder / "dataset_info.json"
  body = json.loads(file.read_text())
  if way == "info":
    info.write_text(json.dumps(json.loads(info.read_text()) | {"features": hostile(body, name)["beside"]}))
    return info
  file.write_text(json.dumps(hostile(body, name)[way]))
  return file


@pytest.mark.parametrize("way", WAYS)
def test_a_data_set_of_tfds_imports_nothing(cifar, mark, way):
  file = poison(cifar, way)
  with pytest.raises(UserError) as e:
    open_source("tfds:cifar10", spaces.load("cifar10"))
  assert not mark.exists() and "\n" not in str(e.value)
  assert f"source 'tfds:cifar10': {file} names the feature class 'stranger.Feature'" in str(e.value)


@pytest.mark.parametrize("way", WAYS)
def test_tfds_itself_imports_each_of_these(cifar, mark, way):
  """Else the test above says nothing."""
  poison(cifar, way)
  with pytest.raises(Exception):  # noqa: B017  the module holds no such class
    read_only_builder.builder_from_directory(cifar)
  assert mark.exists()


@pytest.mark.parametrize("way", ("beside", "info"))
def test_an_image_set_of_somebody_else_imports_nothing_under_plan_either(tmp_path, mark, way):
  config = fields_of.study_config(labels="digits")
  config.sets.B = fields_of.imported_set("embedded:digits:first")
  config.runtime.compile_cache = ""
  validation.check(config)
  study.run(Command(config, str(tmp_path / "w")))
  source = f"synthjax:{tmp_path}/w/images/B"
  assert len(open_source(source, spaces.load("digits"))) == 898
  file = poison(tmp_path / "w/images/B", way)
  other = fields_of.study_config(labels="digits")
  other.tests.theirs = source
  other.learners.one = fields_of.learner()
  other.real.few = fields_of.real_images("embedded:digits:first", shots=1)
  other.learning.update(model="resnet-mini", size=8, batch=8, real="few", steps=1)
  for plan in (True, False):
    with pytest.raises(UserError, match=f"{file} names the feature class 'stranger.Feature'"):
      study.run(Command(other, str(tmp_path / "v"), plan=plan))
  assert not mark.exists()


def test_what_is_known_is_what_tfds_has():
  assert set(tfds.features.FeatureConnector._registered_features) > tfds_features.KNOWN


@pytest.mark.parametrize("file", ["features.json", "dataset_info.json"])
def test_a_file_that_is_no_json_is_one_line(cifar, file):
  (cifar / file).write_text("{")
  with pytest.raises(UserError, match=f"{file} is not readable JSON"):
    open_source("tfds:cifar10", spaces.load("cifar10"))
