"""The workdir of tests/golden/study.py: made, packed into an archive of a few hundred kilobytes, unpacked and told.

What the archive holds beside the workdir, `pictures/`, is what the study reads: real digits as files, and a prompt list.
The paths of the config are relative, so all of this is for a process whose current folder is the unpacked archive.
"""

import io
import json
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from synthjax import checksums, main, study, workdir
from synthjax.command import load_config_file
from synthjax.stopping import Stop

HERE = Path(__file__).parent
STUDY, ARCHIVE = HERE / "study.py", HERE / "workdir.tar.xz"
ROOT = "w"  # the workdir, in the archive
EXPORTED = ("LE/CF", "webdataset")
# What no status reads becomes as many zeros: in the archive they take no room.
_BLANK = (".png", ".html", ".safetensors", ".tar", ".npz", ".parquet")
_READ = ("scores.npz",)
_LEFT_OUT = ("checkpoints", "best")  # what only unfinished work goes on from


def designed():
  return study.design(load_config_file(str(STUDY)), workdir.open_workdir(ROOT))


def run(*flags: str, part: str = "") -> int:
  """The command on the whole matrix, or on one of its studies."""
  config, root = (f"{STUDY}:{part}", f"{ROOT}/{part}") if part else (str(STUDY), ROOT)
  return main.main([f"--config={config}", f"--workdir={root}", "--config.runtime.compile_cache=", *flags])


def export() -> int:
  images, form = EXPORTED
  return run("--stages=export", f"--config.export.images={images}", f"--config.export.format={form}", part="tune")


def make() -> None:
  """Everything. Networks become zeros once they are trained: what draws by them must find them as they are packed."""
  config = load_config_file(str(STUDY), "learn")
  networks = [p for p in study.design(config, workdir.open_workdir(f"{ROOT}/learn")).products if p.stage == "train"]
  with Stop() as stop:
    for network in networks:
      network.make(stop)
      for file in sorted(Path(network.folder / "weights").rglob("*.safetensors")):
        header = 8 + struct.unpack("<Q", file.read_bytes()[:8])[0]
        file.write_bytes(file.read_bytes()[:header] + bytes(file.stat().st_size - header))
        checksums.cover(network.folder / "weights" / file.relative_to(Path(network.folder / "weights")))
  assert run() == 0 and export() == 0


def pictures(folder: Path) -> None:
  """What the study reads, from scikit-learn's digits that ship with synthjax."""
  from synthjax.data.sources import open_source
  from synthjax.labels import spaces

  labels = spaces.load("digits")
  for part, split, first, n in (("test", "second", 0, 3), ("theirs", "first", 3, 1)):
    source, seen = open_source(f"embedded:digits:{split}", labels), dict.fromkeys(labels.ids, 0)
    for i, k in enumerate(source.labels):
      number = seen[labels.ids[k]]
      seen[labels.ids[k]] += 1
      if first <= number < first + n:
        form = "jpg" if part == "theirs" and k % 2 else "png"
        file = folder / part / labels.ids[k] / f"{number}.{form}"
        file.parent.mkdir(parents=True, exist_ok=True)
        source.image(i).convert("RGB").save(file)
  (folder / "theirs" / "0" / "3.txt").write_text("a nought\n")
  lines = [f"{c}\ta digit {name}\t{1 + k % 2}\n" for k, (c, name) in enumerate(zip(labels.ids, labels.names))]
  (folder / "prompts.tsv").write_text("".join(lines))


def pack(folder: Path, archive: Path = ARCHIVE) -> None:
  with tarfile.open(archive, "w:xz", preset=9) as tar:
    for path in sorted(folder.rglob("*")):
      name = path.relative_to(folder)
      if path.is_dir() and not path.is_symlink() or {*_LEFT_OUT} & {*name.parts} or "tfevents" in path.name:
        continue
      info = tarfile.TarInfo(name.as_posix())
      if path.is_symlink():
        info.type, info.linkname = tarfile.SYMTYPE, str(path.readlink())
        tar.addfile(info)
        continue
      data = _packed(path, name)
      info.size = len(data)
      tar.addfile(info, io.BytesIO(data))


def _packed(path: Path, name: Path) -> bytes:
  data = path.read_bytes()
  return data


def unpack(folder: Path, archive: Path = ARCHIVE) -> None:
  with tarfile.open(archive) as tar:
    tar.extractall(folder, filter="data")
