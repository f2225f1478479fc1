"""A study that draws, embeds, filters, tunes and learns, and what of it must be the same wherever and however often it is made."""

import hashlib
import json
from pathlib import Path

CONFIG = """
from synthjax.config import arm, encoder, image_filter, image_set, learner, network, prompt_list, study_config

def get_config(arg=""):
  config = study_config(labels="digits")
  config.prompts.LE = prompt_list("LE", per_class=4, draws=6)
  config.sets.LE = image_set("LE")
  config.sampling.update(dict(generator={weights!r}, images_per_class=6, images_per_shard=8, steps=2))
  config.runtime.update(dict(heartbeat_seconds=0.5, stale_seconds=4.0, save_seconds=0.2))
  if arg == "draw":
    return config
  config.encoders.clip = encoder()
  config.filters.CF = image_filter("clip", kept_per_class=4, max_rounds=2)
  config.tests.digits = "embedded:digits:first"
  config.tuning.update(dict(batch=16, epochs=20))
  config.learning.update(dict(model="resnet-mini", size=8, batch=20, steps=30))
  config.learners.own = learner("LE")
  config.arms["zero-shot"] = arm()
  config.arms["LE+CF+SCE"] = arm("LE/CF", loss="SCE")
  config.seeds = 2
  return config
"""
# Other processes draw at other speeds, and die: of these files, nothing else is said than that they are there.
IMAGES = 60  # that are drawn first
TIMES = (
  "/sessions/",
  "/timing.json",
  "events.out",
  ".checksums/",
  "mirror.json",
  "checkpoints",
  "/best",
  "record.json",
)


_undisturbed: dict[str, dict[str, str]] = {}


def config_file(folder: Path, weights: Path) -> str:
  path = folder / "study.py"
  path.write_text(CONFIG.format(weights=str(weights)))
  return str(path)


def undisturbed(forked, file: str, arg: str, tmp_path: Path) -> dict[str, str]:
  """Hashes of what it makes on a disk."""
  if arg not in _undisturbed:
    finish(forked(f"--config={file}:{arg}", f"--workdir={tmp_path / arg}", "--distributed=off"))
    _undisturbed[arg] = made_on_disk(tmp_path / arg)
  return _undisturbed[arg]


def made_on_disk(workdir: Path) -> dict[str, str]:
  paths = [p for p in workdir.rglob("*") if p.is_file() and not p.is_symlink()]
  return {name: sha(p.read_bytes()) for p in paths if is_same(name := str(p.relative_to(workdir)))}


def is_same(name: str) -> bool:
  return (
    not any(part in f"/{name}" for part in TIMES)
    and not name.startswith("report/")
    and ".working" not in name
  )


def sha(data: bytes) -> str:
  return hashlib.sha256(data).hexdigest()


def finish(process, code: int = 0) -> str:
  out, err = process.communicate(timeout=240)
  assert process.returncode == code, err[-3000:]
  return out + err


def names(server) -> list[str]:
  import obstore

  return sorted(meta["path"] for page in obstore.list(server.store("w")) for meta in page)


def made(server) -> dict[str, str]:
  import obstore

  store = server.store("w")
  return {name: sha(bytes(obstore.get(store, name).bytes())) for name in names(server) if is_same(name)}


def assert_equal(found: dict[str, str], wanted: dict[str, str]) -> None:
  assert [n for n in wanted if "array_record" in n] and sorted(found) == sorted(wanted)
  assert [name for name in wanted if found[name] != wanted[name]] == []


def assert_whole(server, wanted: dict[str, str]) -> None:
  """The same as on a disk, and nothing left of the dead."""
  assert_equal(made(server), wanted)
  assert [name for name in names(server) if "/.working/" in name or name.startswith(".probe")] == []


def drawn(server) -> int:
  """Images, by all processes, those that were dropped too."""
  import obstore

  store = server.store("w")
  sessions = [n for n in names(server) if n.startswith("images/LE/sessions/") and n.endswith(".json")]
  return sum(json.loads(bytes(obstore.get(store, n).bytes()))["images"] for n in sessions)
