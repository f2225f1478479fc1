"""`--stages predict`: the classifier that was measured names images, and what cannot be read is said."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthjax import study, validation
from synthjax.command import Command
from synthjax.embedded import digits as real
from synthjax.errors import UserError
from synthjax.training import head


def run(config, workdir: Path, *stages: str) -> None:
  validation.check(config)
  study.run(Command(config, str(workdir), stages=stages))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
  folder = tmp_path_factory.mktemp("pictures")
  for i, image in enumerate(real.load("first")[0][:30]):
    (folder / str(i % 3)).mkdir(exist_ok=True)
    Image.fromarray(image).save(folder / str(i % 3) / f"{i:03d}.png")
  (folder / "=broken.jpg").write_bytes(b"no image")
  return folder


def test_the_csv_holds_every_file_and_what_the_measured_classifier_says(digits, tmp_path, pictures, capsys):
  config, workdir = digits(), tmp_path / "w"
  run(config, workdir)
  config.predict.update(images=f"folder:{pictures}", arm="LE+CE", seed=1)
  run(config, workdir, "predict")
  err = capsys.readouterr().err
  assert "broken.jpg" in err and err.count("cannot be read") == 1
  with (workdir / "predictions.csv").open(newline="") as file:
    rows = {row["file"]: row for row in csv.DictReader(file)}
  assert len(rows) == 31 and rows["'=broken.jpg"]["class_id"] == ""
  arm = next(
    a for a in study.design(config, study.workdir.open_workdir(str(workdir))).arms if a.arm == "LE+CE"
  )
  stored = np.load(workdir / "embeddings/digits/clip/all.npz")["features"][:30]
  wanted = head.read(arm.classifier_folder(1)).logits(stored).argmax(axis=1)
  assert [int(rows[f"{i % 3}/{i:03d}.png"]["class_id"]) for i in range(30)] == wanted.tolist()
  assert all(0 < float(r["probability"]) <= 1 for r in rows.values() if r["class_id"])
  assert rows["0/000.png"]["class_name"].startswith("digit ")


@pytest.mark.parametrize(
  "fields, said",
  [
    (dict(), "predict needs images"),
    (dict(images="folder:/no/such"), "there is no such folder"),
    (dict(arm="LE+CEE"), "config.predict.arm 'LE+CEE' (did you mean 'LE+CE'?)"),
    (dict(arm="LE+CE"), "arm LE+CE is not trained yet"),
    (dict(arm="LE+CE", seed=2), "arm LE+CE has seeds 0 to 1"),
    (dict(arm="folder:/no/such"), "classifier: /no/such/classifier.json is missing"),
    (dict(output="/no/such/out.csv"), "its folder does not exist"),
  ],
)
def test_mistakes_are_one_line(digits, tmp_path, pictures, fields, said):
  config = digits()
  config.predict.update({"images": f"folder:{pictures}"} | fields if fields else {})
  with pytest.raises(UserError) as e:
    run(config, tmp_path / "w", "predict")
  assert said in str(e.value)
