"""The workdir of tests/golden/study.py: made, packed into an archive of a few hundred kilobytes, unpacked and
told.

What the archive holds beside the workdir, `pictures/`, is what the study reads: real digits as files, and a
prompt list. The paths of the config are relative, so all of this is for a process whose current folder is the
unpacked archive.
"""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from synthjax import main, study
from synthjax.cli.command_line import load_config_file
from synthjax.disk import checksums, workdir
from synthjax.runtime.stopping import Stop
from synthjax.small_world import digits
from synthjax.store import records

HERE = Path(__file__).parent
STUDY, ARCHIVE, TOLD = HERE / "study.py", HERE / "workdir.tar.xz", HERE / "workdir.txt"
ROOT = "w"  # the workdir, in the archive


def designed(part: str = ""):
  return study.design(load_config_file(str(STUDY), part), workdir.open_workdir(f"{ROOT}/{part}"))


def run(*flags: str, part: str = "") -> int:
  """The command on the whole matrix, or on one of its studies."""
  config = f"{STUDY}:{part}" if part else str(STUDY)
  return main.main(
    [f"--config={config}", f"--workdir={ROOT}/{part}", "--config.runtime.compile_cache=", *flags]
  )


def export() -> int:
  return run(
    "--stages=export", "--config.export.images=LE/CF", "--config.export.format=webdataset", part="tune"
  )


def make() -> None:
  """Everything. Networks become zeros once they are trained: what draws by them must find them as they are
  packed."""
  with Stop() as stop:
    for network in (p for p in designed("learn").products if p.stage == "train"):
      network.make(stop)
      weights = network.folder / "weights"
      for file in sorted(Path(weights).rglob("*.safetensors")):
        data = file.read_bytes()
        header = 8 + int.from_bytes(data[:8], "little")
        file.write_bytes(data[:header] + bytes(len(data) - header))
        checksums.cover(weights / file.relative_to(weights))
  assert run() == 0 and export() == 0


def write_pictures(folder: Path) -> None:
  """What the study reads: real digits as small files, and prompts."""
  for part, half in (("test", "second"), ("theirs", "first")):
    pixels, classes = digits.load(half)
    for k in range(10):
      for i in np.flatnonzero(classes == k)[:2]:
        file = folder / part / str(k) / f"{i}.{'jpg' if part == 'theirs' and k < 2 else 'png'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[i, ::4, ::4, 0]).save(file)
  (folder / "theirs" / "0" / "0.txt").write_text("a nought\n")
  (folder / "prompts.tsv").write_text("".join(f"{k}\ta figure {k}\t{1 + k % 2}\n" for k in range(10)))


# --- what is told of it --------------------------------------------------------------------------


def unfinished() -> list[str]:
  """Products that are not done, and why."""
  seen = [(name, product.status()) for name, product in designed().titled]
  return [
    f"{name} is {s.state}, {s.have} of {s.want} {s.unit}: {s.why or 'no reason is told'}"
    for name, s in seen
    if s.state != "done"
  ]


def told(with_images: bool) -> list[str]:
  """A line a product, a text, a list, a set of rows: all that must be the same wherever it is made.

  Other processors round otherwise. So of pixels each image's mean is told, and of a training its last loss
  and its last gradient's norm: another seed, order of batches or augmentation moves one of them by more than
  a percent.
  """
  titled = designed().titled
  lines = [f"product {name} {p.stage} {_hash_of(p)} {_counts(p)}" for name, p in titled]
  for name, p in titled:
    folder = Path(p.folder)
    if p.stage == "prompts":
      lines.append(f"prompts {name} {_sha(folder / 'prompts.jsonl')}")
    elif p.stage == "keep":
      lines.append(f"kept {name} {_sha(folder / 'ids.txt')}")
    elif p.stage in ("sample", "import") and with_images:
      rows = list(tfds.builder_from_directory(folder).as_data_source("train"))
      texts = ("image_id", "noise_id", "prompt", "prompt_id", "parent_id")
      about = [
        [row[t].decode() for t in texts] + [int(row["label"]), int(row["sample_index"])] for row in rows
      ]
      lines.append(f"ids {name} {records.digest(about)}")
      lines.append(f"stored {name} {rows[0]['image'].shape} {' '.join(sorted(rows[0]))}")
      lines.append(f"means {name} {' '.join(str(round(row['image'].mean())) for row in rows)}")
    elif p.stage in ("tune", "learn") and with_images:
      files = sorted(folder.rglob("metrics.jsonl"))
      last = [json.loads(file.read_text().splitlines()[-1]) for file in files]
      for kind, metric in (("losses", "loss"), ("norms", "grad_norm")) if last else ():
        lines.append(f"{kind} {name} {' '.join(f'{row[metric]:.5f}' for row in last)}")
  for part in ("tune", "learn"):
    rows = [json.loads(line) for line in Path(ROOT, part, "results.jsonl").read_text().splitlines()]
    lines.append(
      f"rows {part} {len(rows)} {records.digest([{k: v for k, v in r.items() if k != 'value'} for r in rows])}"
    )
  return lines


def _counts(product) -> str:
  status = product.status()
  return f"{status.have}/{status.want} {status.unit}"


def _hash_of(product) -> str:
  """Of its record, as it was written and as it is computed now; of a run, its folder."""
  if product.stage in ("tune", "learn"):
    return product.folder.name
  if (record := records.load(product.folder)) is None:
    return "-"
  assert record.hash == json.loads((product.folder / "record.json").read_text())["hash"], product.name
  return record.hash[:16]


def _sha(file: Path) -> str:
  return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


# --- the archive -----------------------------------------------------------------------------------


def pack(folder: Path, archive: Path = ARCHIVE) -> None:
  with tarfile.open(archive, "w:xz", preset=9) as tar:
    for path in sorted(folder.rglob("*")):
      name = path.relative_to(folder)
      is_link = path.is_symlink()
      if (path.is_dir() and not is_link) or _is_left_out(name):
        continue
      member = tarfile.TarInfo(name.as_posix())
      if is_link:
        member.type, member.linkname = tarfile.SYMTYPE, str(path.readlink())
        tar.addfile(member)
      else:
        data = _packed(path, name)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


def _is_left_out(name: Path) -> bool:
  """What only unfinished work goes on from, and the checksums of what is packed as zeros."""
  if {"checkpoints", "best", ".working"} & {*name.parts} or "tfevents" in name.name:
    return True
  return name.parent.name == ".checksums" and _is_blank(name.parent.parent / name.stem)


def _is_blank(name: Path) -> bool:
  """Whether no status reads it."""
  if name.parts[0] != ROOT or "weights" in name.parts:
    return False
  is_shard = "array_record-" in name.name and name.suffix != ".json"
  return is_shard or name.suffix in (".png", ".html", ".safetensors", ".tar")


def _packed(path: Path, name: Path) -> bytes:
  """Blank files are zeros, as long as they were; of features the names are read."""
  data = path.read_bytes()
  if "embeddings" in name.parts and name.suffix == ".npz":
    with np.load(io.BytesIO(data)) as arrays:
      held = dict(arrays)
    buffer = io.BytesIO()
    np.savez(buffer, **held | {"features": np.zeros_like(held["features"])})
    return buffer.getvalue()
  return bytes(len(data)) if _is_blank(name) else data


def unpack(folder: Path, archive: Path = ARCHIVE) -> None:
  with tarfile.open(archive) as tar:
    safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # which 3.11.4 brought
    tar.extractall(folder, **safely)
