"""A further kind of product is one class and one entry in a table: planned, made by several processes, shown and verified."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from synthjax import study
from synthjax.disk import checksums, workdir
from synthjax.products.base import DONE, MISSING, Product, Status
from synthjax.products.image_set import ImageSet
from synthjax.products.report import Report
from synthjax.spec import config as fields_of
from synthjax.spec.command import Command
from synthjax.store import records
from synthjax.study import graph, kinds


class Brightness(Product):
  """Mean grey value by class of an image set, as `brightness/<set>/brightness.json`."""

  stage = "brightness"

  def __init__(self, runtime, root, image_set: ImageSet):
    name = image_set.set_name
    self.name, self._folder, self._runtime = f"brightness/{name}", root / "brightness" / name, runtime
    self._set, self.inputs, self._file = image_set, (image_set,), self._folder / "brightness.json"

  @classmethod
  def wanted(cls, spec):
    return ((name,) for name in spec.sets)

  @classmethod
  def declare(cls, study, *key):
    return cls(study.spec.runtime, study.root, study.get(ImageSet, *key))

  def _record(self):
    inputs = {self._set.name: self._set.identity_hash()}
    return records.Record(self.name, {}, inputs=inputs)

  def _status(self):
    if self._set.status().state != DONE:
      return Status(MISSING, unit="classes")
    records.compare(self.folder, self._record())
    n = len(self._set.labels)
    return Status(DONE, n, n, "classes") if self._file.exists() else Status(MISSING, 0, n, "classes")

  def make(self, stop):
    if self._set.status().state != DONE:
      return False
    with self.claimed("brightness", stop) as owner:
      if owner is None:
        return False
      records.settle(self.folder, self._record())
      grey = {}
      for row in self._set.first(self._set.asked):
        picture = Image.open(io.BytesIO(row["image"])).convert("L")
        grey.setdefault(self._set.labels.ids[row["label"]], []).append(np.asarray(picture).mean())
      found = {c: float(np.mean(values)) for c, values in grey.items()}
      checksums.publish(self._file, workdir.to_json(found))
    return True


@pytest.fixture
def config(monkeypatch):
  place = kinds.KINDS.index(next(k for k in kinds.KINDS if k.stage == "report"))
  monkeypatch.setattr(
    graph, "KINDS", (*kinds.KINDS[:place], Brightness, *kinds.KINDS[place:])
  )  # the line in the table
  config = fields_of.study_config(labels="digits")
  config.sets.real = fields_of.imported_set("embedded:digits:first", images_per_class=3)
  return config


def run(config, root, **flags):
  study.run(Command(config, str(root), **flags))


def test_it_is_planned_made_shown_and_verified(config, tmp_path, capfd):
  run(config, tmp_path, plan=True)
  assert "brightness/real" in capfd.readouterr().out
  report = study.design(config, workdir.open_workdir(str(tmp_path))).get(Report)
  report.render(refresh_seconds=5)
  assert "brightness/real" in report.page.read_text()  # its progress, while the study runs
  run(config, tmp_path)
  found = json.loads((tmp_path / "brightness/real/brightness.json").read_text())
  assert len(found) == 10 and all(0 < value < 255 for value in found.values())
  capfd.readouterr()
  run(config, tmp_path, plan=True)
  assert "nothing is missing" in capfd.readouterr().out
  run(config, tmp_path, stages=("verify",))
  assert "brightness/real: every file is as written" in capfd.readouterr().out


def test_what_it_is_made_from_may_not_change_under_it(config, tmp_path):
  run(config, tmp_path)
  file = tmp_path / "brightness/real/brightness.json"
  file.write_text("{}")
  (fault,) = next(
    p for p in study.design(config, workdir.open_workdir(str(tmp_path))).products if p.stage == "brightness"
  ).faults()
  assert "brightness.json" in fault
