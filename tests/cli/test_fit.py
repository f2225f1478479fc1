"""`synthjax fit`: its table, its JSON, its mistakes."""

import json
import subprocess
import sys

import numpy as np
import pytest

from synthjax.cli import commands
from synthjax.cli.completion import FIT_FLAGS
from synthjax.cli.fit import _parser
from synthjax.runtime.errors import UserError

PUBLISHED = "images,top1\n.32,39.334\n.654,42.514\n1.3,44.116\n2.6,45.006\n10,45.614\n13,45.628\n"


@pytest.fixture
def published(tmp_path):
  path = tmp_path / "published.csv"
  path.write_text(PUBLISHED)
  return path


def test_a_table_of_laws_with_intervals(published, tmp_path):
  out = tmp_path / "laws.json"
  said = commands.look_up(["fit", str(published), "--x=images", "--y", "error", "--json", str(out)])
  assert said.startswith(
    "error (1 - top1 / 100) against images\n\nall rows: 6 sizes, 1 seed, Huber's delta 0.001"
  )
  assert "k 0.9473 (0.90" in said and "c 0.5414 (0.5406 to 0.5423)" in said
  assert "power is rejected against floor: F test" in said
  assert "6 sizes are too few for law broken" in said
  (curve,) = json.loads(out.read_text())["curves"]
  power, floor = curve["laws"]
  assert curve["best"] == "floor" and floor["floor_identified"] and power["floor_identified"] is None
  assert floor["parameters"]["k"]["low"] < floor["parameters"]["k"]["value"] == pytest.approx(0.947, abs=1e-3)


def test_a_floor_that_is_none_is_said_so_and_curves_go_by_arm(tmp_path):
  rng, path = np.random.default_rng(0), tmp_path / "rows.jsonl"
  rows = [
    {"arm": arm, "images_per_class": n, "seed": s, "loss": a * n**-0.3 * float(np.exp(0.01 * rng.normal()))}
    for arm, a in (("real", 1.0), ("LE", 2.0))
    for n in (10, 30, 100, 300, 1000)
    for s in range(5)
  ]
  path.write_text("\n".join(map(json.dumps, rows)))
  said = commands.look_up(["fit", str(path), "--law=floor"])
  assert said.count("the floor c is not identified") == 2 and "bootstrap over seeds" in said
  assert "arm=real: 5 sizes, 5 seeds" in said and "arm=LE" in said
  out = tmp_path / "rates.json"
  rates = commands.look_up(["fit", str(path), "--law=power", "--against", "arm=real", "--json", str(out)])
  (line,) = [line for line in rates.splitlines() if line.startswith("  100 images: ")]
  (written,) = json.loads(out.read_text())["against"]
  (at,) = [rate for rate in written["rates"] if rate["reference_images"] == pytest.approx(100)]
  assert (written["curve"], written["reference"], written["crossing"]) == ("arm=LE", "arm=real", None)
  assert f"{at['per_image']['value']:.4g} ({at['per_image']['low']:.4g} to" in line
  assert "of arm=LE" in line and 9 < float(line.split(" (")[1].split(", ")[1]) < 11.5  # 2^(1 / .3) = 10.08
  with pytest.raises(UserError, match=r"--against=real: no such curve was fitted \(did you mean 'arm=real'"):
    commands.look_up(["fit", str(path), "--law=power", "--against=real"])
  only = commands.look_up(["fit", str(path), "--law=power", "--where", "arm=LE", "--range=30:"])
  assert "arm=LE: 4 sizes" in only and "arm=real" not in only and "30 to 1000" in only


@pytest.mark.parametrize(
  "words, message",
  [
    ((), "the following arguments are required: FILE; see --help"),
    (("--law=cubic",), "invalid choice: 'cubic'"),
    (("--x=image",), r"no column 'image' \(did you mean 'images'"),
    (("--x=images", "--y=error", "--law=broken"), "too few for law broken"),
    (("--x=images", "--y=error", "--range=1:5"), "nothing can be fitted; .* too few"),
    (("--x=images", "--y=error", "--range=5:1"), "neither auto nor all nor LOW:HIGH"),
    (("--x=images", "--y=error", "--range=100:"), "no size lies in --range=100:"),
    (("--x=images", "--y=error", "--level=90"), "--level is 90"),
    (("--x=images", "--y=error", "--delta=0"), "delta is 0"),
    (("--x=images", "--law=joint"), "law joint and the column of N belong together"),
    (("--x=images", "--where=arm"), "--where=arm is not COLUMN=VALUE"),
    (
      ("--x=images", "--y=error", "--json=none/laws.json"),
      "--json=none/laws.json cannot be written: its folder is not there",
    ),
  ],
)
def test_a_mistake_is_one_line(published, words, message):
  with pytest.raises(UserError, match=message):
    commands.look_up(["fit", *([str(published)] if words else []), *words])


def test_a_mistake_exits_with_2(tmp_path):
  ran = subprocess.run(
    [sys.executable, "-c", "from synthjax.main import script; script()", "fit", str(tmp_path / "none.csv")],
    capture_output=True,
    text=True,
  )
  assert ran.returncode == 2
  assert ran.stderr == f"synthjax: table {tmp_path / 'none.csv'} does not exist; fix its path\n"


def test_the_shell_completes_every_flag():
  flags = {
    option for action in _parser()._actions for option in action.option_strings if option.startswith("--")
  }
  assert flags == {flag.rstrip("=") for flag in FIT_FLAGS}
