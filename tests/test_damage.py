"""Whatever becomes of a product's file - a bit, a byte, a digit, the whole - verify names it, and its commands fix it."""

import contextlib
import io
import json
import random
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from synthjax import study
from synthjax.data.sources import open_source
from synthjax.disk import checksums, workdir
from synthjax.disk.checksums import FOLDER
from synthjax.evaluation import results
from synthjax.labels.spaces import load
from synthjax.products.base import Product
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from synthjax.store import records, schema
from synthjax.study.verify import verify

_TEXT = (".json", ".jsonl", ".txt", ".html")


def small_study(folder: Path, weights: Path, networks: bool):
  """Every kind of product once, and enough of each kind of file to swap two."""
  config = fields_of.study_config(labels="digits")
  config.study = "damage"
  config.prompts.LE = fields_of.prompt_list("LE", per_class=4, draws=6)
  config.prompts.B = fields_of.prompt_list("B")
  config.sets.LE = fields_of.image_set("LE")
  config.sets.theirs = fields_of.imported_set(f"folder:{folder / 'theirs'}", images_per_shard=8)
  config.sampling.generator = str(weights)
  config.sampling.update(dict(steps=2, images_per_class=2, images_per_shard=8, per_device_batch=8))
  config.encoders.clip = fields_of.encoder()
  config.filters.CF = fields_of.image_filter("clip", kept_per_class=1, max_rounds=1)
  config.tests.photos = config.tests.again = f"folder:{folder / 'tests'}"
  config.tuning.update(batch=8, epochs=2)
  config.arms["zero-shot"] = fields_of.arm()
  config.arms["LE+CF+CE"] = fields_of.arm("LE/CF")
  config.arms["theirs+SCE"] = fields_of.arm("theirs", loss="SCE")
  config.real.shots = fields_of.real_images("embedded:digits:first", shots=1)
  config.learning.update(model="resnet-mini", size=8, real="shots", batch=8, steps=2, prefetch=1)
  config.learners.few = fields_of.learner()
  if networks:
    config.networks.vae = fields_of.network("autoencode", pictures=60, steps=2, batch=8, warmup=1)
  config.seeds = 2
  config.runtime.update(dict(compile_cache="", unreadable=0.1))
  return config


def photographs(folder: Path) -> Path:
  """Two images of each digit, to test on and to import, and one to import that nothing can read."""
  source, have = open_source("embedded:digits:first", load("digits")), Counter()
  for i, label in enumerate(source.labels.tolist()):
    have[label] += 1
    for of in ("tests", "theirs") if have[label] <= 2 else ():
      file = folder / of / str(label) / f"{have[label]}.png"
      file.parent.mkdir(parents=True, exist_ok=True)
      source.image(i).save(file)
  (folder / "theirs" / "7" / "3.png").write_bytes(b"no image")
  return folder


class Made:
  """A finished study, and what lies there."""

  def __init__(self, tmp: Path, weights: Path):
    self._images, self._weights = photographs(tmp / "photographs"), weights
    self._finish(tmp / "w", networks=False)

  def with_networks(self, root: Path) -> "Made":
    """A copy that has networks too."""
    copy = Made.__new__(Made)
    copy._images, copy._weights = self._images, self._weights
    shutil.copytree(self.root, root, symlinks=True)
    copy._finish(root, networks=True)
    return copy

  def _finish(self, root: Path, networks: bool) -> None:
    self.config, self.root = small_study(self._images, self._weights, networks), root
    validation.check(self.config)
    self.run()
    self.files = [p for p in sorted(self.root.rglob("*")) if p.is_file() and self._is_meant(p)]
    self.owners = [(name, Path(product.folder)) for name, product in self.products().items()]

  def run(self, *stages: str) -> None:
    study.run(Command(self.config, str(self.root), line="...", stages=stages))

  def products(self) -> dict[str, Product]:
    return dict(study.design(self.config, epath.Path(self.root)).titled)

  def _is_meant(self, path: Path) -> bool:
    return path.parent.name != FOLDER and not path.is_symlink()

  def owner(self, path: Path) -> str:
    """Of results.jsonl: the report."""
    return next((name for name, folder in self.owners if folder in path.parents), "report")

  def kinds(self) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in self.files:
      found.setdefault(kind_of(path.relative_to(self.root)), []).append(path)
    return found

  def said_of(self, path: Path) -> str:
    """What verify says of the product that has this file, from nothing that this process knows of it."""
    name, said = self.owner(path), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
      try:
        verify([(name, self.products()[name])], [])
      except UserError as e:
        return f"{said.getvalue()}{e}"
    return ""


def kind_of(path: Path) -> str:
  """By its place: what differs in names and numbers alone is one kind."""
  parts = [re.sub(r"[0-9a-f]{8,}|\d+", "N", part) for part in path.parts]
  if parts[0] in ("prompts", "images", "embeddings", "runs"):
    parts[1] = "*"
  return "/".join(parts[:1] + parts[1:])


# --- damages -----------------------------------------------------------------------------------------


def flipped(data: bytes, rng: random.Random) -> bytes:
  place = rng.randrange(len(data))
  return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def cut(data: bytes, rng: random.Random) -> bytes:
  return data[:-1]


def emptied(data: bytes, rng: random.Random) -> bytes:
  return b""


def digit_changed(data: bytes, rng: random.Random) -> bytes:
  places = [m.start() for m in re.finditer(rb"[0-9]", data)]
  place = rng.choice(places)
  other = str((int(data[place : place + 1]) + 1) % 10).encode()
  return data[:place] + other + data[place + 1 :]


def recounted(data: bytes, rng: random.Random) -> bytes:
  """A result in which one more example went right."""
  arrays = dict(np.load(io.BytesIO(data)))
  arrays["counts"][0] += 1
  buffer = io.BytesIO()
  np.savez_compressed(buffer, **arrays)
  return buffer.getvalue()


Damage = Callable[[bytes, random.Random], bytes]


def damages(path: Path, siblings: list[Path]) -> Iterator[tuple[str, dict[Path, bytes | None]]]:
  """(name, what its files hold afterwards); None: the file is gone."""
  data, rng = path.read_bytes(), random.Random(path.name)
  if data:
    for make in (flipped, flipped, cut, emptied):
      yield make.__name__, {path: make(data, rng)}
  if path.suffix in _TEXT and re.search(rb"[0-9]", data):
    yield "digit changed", {path: digit_changed(data, rng)}
  if path.parent.name == "tests":
    yield "recounted", {path: recounted(data, rng)}
  if other := next((o for o in siblings if o.read_bytes() != data), None):
    yield "swapped", {path: other.read_bytes(), other: data}
  yield "deleted", {path: None}


@contextlib.contextmanager
def damaged(after: dict[Path, bytes | None]) -> Iterator[None]:
  before = {path: path.read_bytes() for path in after}
  try:
    for path, data in after.items():
      path.unlink() if data is None else path.write_bytes(data)
    yield
  finally:
    for path, data in before.items():
      path.write_bytes(data)


def sweep(made: Made, each: int, only: Callable[[int], bool] = lambda i: True) -> tuple[Counter, list[str]]:
  """Damages the first `each` files of every kind; (how many of each sort of damage, those of which nothing is said)."""
  tried, silent = Counter(), []
  numbered = (
    (path, name, after)
    for kind, paths in made.kinds().items()
    for path in paths[:each]
    for name, after in damages(path, [p for p in paths if p != path])
  )
  for i, (path, name, after) in enumerate(numbered):
    if not only(i):
      continue
    with damaged(after):
      said = made.said_of(path)
    tried[name] += 1
    if not any(touched.name in said for touched in after):
      silent.append(f"{name}: {path.relative_to(made.root)} ({said.strip()[:100] or 'no word'})")
  return tried, silent


# --- tests -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory, weights) -> Made:
  return Made(tmp_path_factory.mktemp("damage"), weights)


def test_nothing_is_said_of_what_is_whole(made, capsys):
  made.run("verify")
  out = capsys.readouterr().out
  assert "nothing wrong" in out and "missing" not in out
  without = [line for line in out.splitlines() if "without a checksum" in line]
  assert [line.split(":")[0] for line in without if not line.startswith(("keep/", "verify", "runs/"))] == []
  assert len({kind.split("/")[0] for kind in made.kinds()}) == 7  # six folders, and the results


def test_damages_of_every_kind_of_file_are_named(made):
  tried, silent = sweep(made, each=1, only=lambda i: i % 3 == 0)
  print(f"\n{tried.total()} damages: {dict(tried)}; silent: {len(silent)}")
  assert tried.total() >= 50 and not silent


@pytest.mark.slow
def test_no_damage_is_silent(made, tmp_path):
  made = made.with_networks(tmp_path / "w")
  tried, silent = sweep(made, each=2)
  print(
    f"\n{tried.total()} damages of {len(made.kinds())} kinds of files: {dict(tried)}; silent: {len(silent)}"
  )
  assert tried.total() >= 300 and not silent


@pytest.mark.slow
def test_the_commands_that_verify_names_and_the_study_again_make_all_of_it_whole(made, tmp_path, capsys):
  made = made.with_networks(tmp_path / "w")
  before = {path: path.read_bytes() for path in made.files}
  for paths in made.kinds().values():  # one of each kind, all at once
    if "segments" not in str(paths[0]) and paths[0].read_bytes():
      paths[0].write_bytes(flipped(paths[0].read_bytes(), random.Random(0)))
  for _ in range(4):  # what could not be opened before is seen now
    try:
      made.run("verify")
      break
    except UserError as e:
      for command in re.findall(r"rm -f.*?(?=;|$)", str(e)):
        subprocess.run(command, shell=True, check=True)
      made.run()
  made.run("verify")
  again = {path for path, data in before.items() if path.exists() and path.read_bytes() == data}
  lost = {kind_of(p.relative_to(made.root)) for p in before if not p.exists()}
  print(f"\n{len(again)} of {len(before)} files are as before; not there any more: {sorted(lost)}")
  assert json.loads((made.root / "results.jsonl").read_text().splitlines()[0])
  assert (made.root / "results.jsonl") in again


@pytest.mark.parametrize("name", ["manifest.json", "features.json", "dataset_info.json", "label.labels.txt"])
def test_metadata_of_a_set_are_written_again(made, name, capsys):
  file = made.root / "images/LE" / name
  data = file.read_bytes()
  file.unlink()
  study.run(Command(made.config, str(made.root), plan=True))
  assert re.search(r"images/LE +stale", capsys.readouterr().out)
  made.run("sample")
  assert file.read_bytes() == data
  file.write_bytes(data.replace(b"1", b"2", 1) if b"1" in data else data[:-1])
  made.run("sample")
  assert file.read_bytes() == data and f"{name} is damaged" in capsys.readouterr().err


def test_features_of_another_shard_are_refused_when_they_are_used(made):
  first, second = (made.root / f"embeddings/LE/clip/0000{i}.npz" for i in range(2))
  embeddings = made.products()["embeddings/LE/clip"]
  (labels, ids), whole = embeddings.names(2), embeddings.embedded(2).at(np.arange(16))
  assert labels.tolist() == whole.labels.tolist() and list(ids) == whole.ids.tolist() and len(whole) == 16
  with damaged({first: second.read_bytes(), second: first.read_bytes()}):
    embeddings = made.products()["embeddings/LE/clip"]
    assert embeddings.names(2)[1] == ids  # the plan's, whatever lies there
    with pytest.raises(UserError, match=r"00000\.npz (holds features of other images|is damaged).*run again"):
      embeddings.embedded(2).at(np.arange(16))


def test_a_result_in_which_a_digit_was_changed_is_refused_when_it_is_read(made):
  file = sorted(made.root.glob("runs/*/tests/*.npz"))[0]
  said = pytest.raises(UserError, match=r"result: .*\.npz is damaged.*remove it and run again")
  with damaged({file: recounted(file.read_bytes(), random.Random(0))}), said:
    made.run("report")


def shards_of(made: Made) -> list[Path]:
  return [path for path in made.files if path.match("images/LE/train.array_record-*")]


def test_an_image_that_is_read_alone_is_the_planned_one(made):
  """A shard that lies where another belongs, of the same length and with its facts, is whole in itself."""
  first, second = shards_of(made)[:2]
  image_set, source = made.products()["images/LE"], open_source(f"synthjax:{made.root}/images/LE", None)
  assert image_set.as_source().encoded(3) == source.encoded(3)
  example = source._examples[3]
  with pytest.raises(
    UserError, match=f"image {source.keys[10]} is not where it was: {source.keys[3]} is there instead"
  ):
    schema.parse_image(example, source.keys[10])
  facts = [path.parent / "shards" / f"{path.name}.json" for path in (first, second)]
  pairs = [(first, second), (second, first), tuple(facts), tuple(facts[::-1])]
  with damaged({to: of.read_bytes() for to, of in pairs}):
    with pytest.raises(UserError, match="images/LE: shard 0 does not hold the images that were planned"):
      made.products()["images/LE"].as_source().encoded(3)
    with pytest.raises(
      UserError, match=r"array_record-00000.*is (not the shard that the manifest lists|damaged)"
    ):
      open_source(f"synthjax:{made.root}/images/LE", None)
    assert "00000" in made.said_of(first) and "00001" in made.said_of(second)


def test_a_set_of_another_workdir_is_read_as_it_was_written(made):
  file = made.root / "images/LE/label.labels.txt"
  with (
    damaged({file: file.read_bytes().replace(b"1", b"8")}),
    pytest.raises(UserError, match=r"labels\.txt is damaged"),
  ):
    open_source(f"synthjax:{made.root}/images/LE", None)


def test_keys_swapped_in_an_index_are_noticed_before_a_wrong_image_is_imported(made):
  """Also where the index has no checksum: an image's id is the hash of its file."""
  folder = epath.Path(made.root / "images/theirs")
  lines = (folder / "index.jsonl").read_bytes().splitlines()
  rows = [json.loads(line) for line in lines]
  rows[0]["key"], rows[1]["key"] = rows[1]["key"], rows[0]["key"]
  shard, swapped = made.root / "images/theirs/train.array_record-00000", records.to_lines(rows)
  before = (folder / "index.jsonl").read_bytes()
  with (
    damaged({Path(folder / "index.jsonl"): swapped}),
    pytest.raises(UserError, match=r"index\.jsonl is damaged"),
  ):
    made.run("import")
  with damaged({shard: None}):
    checksums.replace(folder / "index.jsonl", swapped)
    with pytest.raises(
      UserError, match=r"is not the image [0-9a-f]{32} that .*index\.jsonl says it is; put it back"
    ):
      made.run("import")
    checksums.replace(folder / "index.jsonl", before)


def test_a_segment_that_is_gone_is_not_taken_for_corrupt_shards(made):
  first = made.root / "images/LE/segments/00000.json"
  assert first.with_name("00001.json").exists()
  with (
    damaged({first: None}),
    pytest.raises(UserError, match="segments has gaps in its numbers; put the missing"),
  ):
    made.run("sample")


def test_a_workdir_of_an_older_release_is_done_and_its_files_are_counted(made, tmp_path, capsys):
  old = Made.__new__(Made)
  old.config, old.root = made.config, tmp_path / "old"
  shutil.copytree(made.root, old.root, ignore=shutil.ignore_patterns(FOLDER))
  for file in old.root.glob("runs/*/tests/*.npz"):
    stem = epath.Path(file.with_suffix(""))
    tally = results.read(stem, 20)
    file.with_suffix(".json" if "." in stem.name else "").write_bytes(workdir.to_json(tally.to_json()))
    file.unlink()
  study.run(Command(old.config, str(old.root), plan=True))
  assert "nothing is missing" in capsys.readouterr().out
  old.run("verify")
  out = capsys.readouterr().out
  assert "nothing wrong" in out and re.search(
    r"prompts/LE: no damage found; 2 files, .*, 2 without a checksum", out
  )
  assert re.search(r"images/LE: every shard is as planned; \d+ files", out) and "missing" not in out
  tests = sorted(old.root.glob("runs/*/tests/*.json"))
  tests[0].write_text(tests[0].read_text().replace("2", "1", 1))
  features = sorted(old.root.glob("embeddings/LE/clip/*.npz"))[:2]
  data = [file.read_bytes() for file in features]
  features[0].write_bytes(data[1]), features[1].write_bytes(data[0])
  with pytest.raises(UserError, match=r"files to redo; run this and then the study again: rm -f") as e:
    old.run("verify")
  assert all(file.name in str(e.value) for file in (tests[0], *features))


def test_what_is_missing_or_refused_is_named(made, tmp_path, capsys, monkeypatch):
  with pytest.raises(UserError, match="there is nothing to verify; run the study first"):
    study.run(Command(made.config, str(tmp_path / "none"), stages=("verify",)))
  study.run(Command(made.config, str(tmp_path / "begun"), stages=("prompts",)))
  study.run(Command(made.config, str(tmp_path / "begun"), stages=("verify",)))
  out = capsys.readouterr().out
  assert "prompts/LE: every file is as written" in out and "\nimages/LE: missing\n" in out
  assert re.search(r"runs/LE\+CF\+CE: (missing|cannot be read without)", out)

  def refuse(*_):
    raise records.Corrected("prompts were cleaned otherwise")

  monkeypatch.setattr(records, "compare", refuse)
  study.run(Command(made.config, str(tmp_path / "begun"), stages=("verify",)))
  assert "prompts/LE: refused: prompts were cleaned otherwise" in capsys.readouterr().out


def test_images_that_could_not_be_read_are_missed(made, tmp_path):
  """The list of them is as much a part of the features as these are."""
  config = fields_of.study_config(labels="digits")
  config.encoders.clip, config.arms["zero-shot"] = fields_of.encoder(), fields_of.arm()
  config.tests.photos = made.config.sets.theirs.source
  config.runtime.update(dict(compile_cache="", unreadable=0.1))
  some = Made.__new__(Made)
  some.config, some.root = config, tmp_path / "w"
  some.run()
  lost = some.root / "embeddings/photos/clip/left_out.json"
  lost.unlink()
  with pytest.raises(UserError, match=r"1 files to redo.*all\.npz .*left_out\.json"):
    some.run("verify")
  (lost.parent / FOLDER).rename(tmp_path / "aside")  # as of an older release
  with pytest.raises(UserError, match=r"1 files to redo.*all\.npz"):
    some.run("verify")
