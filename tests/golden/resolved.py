"""What each shipped config resolves to: its fields, its products, and what of their identities is known from
the start.

Three kinds of files lie in tests/golden/configs, so that a review sees a change once:

    defaults.json    every field's default, and which fields make up an identity
    <config>.json    what differs from these: fields of the config, and identities of products; a line each
    hashes.txt       by config, a line a product: its stage, and the hash of its identity and its inputs, or of a run. A line that
                     changes is a product that every user makes again

Unknown before images are there, or networks are trained, is the identity of all that is made from them. Those
have no hash here; those of tests/golden/study.py are in its archive. Weights and images that do not ship have
stand-ins: `stand_in`.
"""

import contextlib
import hashlib
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from synthjax import study
from synthjax.cli.command_line import load_config_file
from synthjax.disk import workdir
from synthjax.labels import spaces
from synthjax.spec import config as fields_of
from synthjax.store import records

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "configs"
DEFAULTS, HASHES = "defaults.json", "hashes.txt"
# Halves of what another one asks for, and other numbers of steps or draws, say nothing new.
CONFIGS = (
  "benchmark", "benchmark:gpu", "cifar100_transfer", "cifar100_transfer:resnet50", "cifar100_transfer:resnet50-imagenet",
  "cifar100_transfer:deit-s", "cifar100_transfer:deit-s-imagenet", "diversify", "embedded_world", "embedded_world:trial", "few_shot:digits",
  "few_shot:digits,1", "few_shot:eurosat,1", "pretrain_transfer", "quickstart", "quickstart:curve", "real_and_synthetic",
  "real_and_synthetic:600", "scaling", "scaling:classes", "zero_shot", "zero_shot_matrix",
)  # fmt: skip
WITHOUT = ("scaling_imagenet",)  # its captions are asked of a server
HASHES_ALONE = ("few_shot:digits",)  # five times the products of `digits,1`
# The defaults of what bears a name in a config, by where it stands.
_NAMED = {
  "prompts": fields_of.prompt_list(""),
  "sets": fields_of.image_set(""),
  "real": fields_of.real_images(""),
  "networks": fields_of.network(""),
  "encoders": fields_of.encoder(""),
  "filters": fields_of.image_filter(""),
  "metrics": fields_of.set_metrics(""),
  "arms": fields_of.arm(),
  "learners": fields_of.learner(),
  "scaling": fields_of.grid(),
  "tests": None,
  "benchmark.sampling": fields_of.sampling_case(""),
  "benchmark.encoding": fields_of.encoding_case(""),
  "benchmark.training": fields_of.training_case(""),
}
# Where the defaults of an identity's fields stand, by the stage of the product.
_OF_STAGE = {
  "train": "networks",
  "prompts": "prompts",
  "sample": "sampling",
  "keep": "filters",
  "tune": "tuning",
}
_OF_STAGE |= {"embed": "encoders", "learn": "learning", "measure": "metrics"}
# What an identity says where a field is empty, by the same place: a writer by its name.
_STANDS_FOR = {"prompts": {"writer": "grammar"}}


def file_of(config: str) -> str:
  return config.replace(":", ".").replace(",", "-") + ".json"


def defaults() -> dict[str, Any]:
  """Every field of every group, as nobody sets it."""
  whole = _plain(fields_of.study_config().to_dict())
  for name, group in _NAMED.items():
    *above, last = name.split(".")
    place = whole
    for part in above:
      place = place[part]
    place[last] = _plain(group.to_dict()) if group else {}
  return whole


def flat_defaults() -> dict[str, Any]:
  """A line a field."""
  found: dict[str, Any] = {}

  def walk(node: dict[str, Any], path: str) -> None:
    for name, value in node.items():
      if isinstance(value, dict):
        walk(value, f"{path}{name}.")
      else:
        found[f"{path}{name}"] = value

  walk(defaults(), "")
  return {"fields": found}


# --- the fields of a config ----------------------------------------------------------------------


def fields(config) -> dict[str, Any]:
  """What differs from the defaults: a line a field, and a line for each that bears a name.

  Of a matrix, what its other studies have otherwise than the first.
  """
  own, whole = _plain(config.to_dict()), defaults()
  studies = {name: _differing(one, whole) for name, one in own.pop("studies").items()}
  found, first = _differing(own, whole), next(iter(studies.values()), {})
  for name, one in studies.items():
    told = one if one is first else {k: v for k, v in one.items() if k not in first or v != first[k]}
    told |= {k: "absent" for k in first if k not in one}
    found |= {f"studies.{name}.{k}": v for k, v in told.items()}
  return found


def _differing(node: dict[str, Any], default: dict[str, Any], path: str = "") -> dict[str, Any]:
  found: dict[str, Any] = {}
  for name, value in node.items():
    where = path + name
    if where in _NAMED:
      for of, own in value.items():
        found[f"{where}.{of}"] = _without(own, default[name]) if isinstance(own, dict) else own
    elif isinstance(value, dict):
      found |= _differing(value, default[name], f"{where}.")
    elif value != default[name]:
      found[where] = value
  return found


def _without(own: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
  return {k: v for k, v in own.items() if k not in default or v != default[k]}


# --- its products --------------------------------------------------------------------------------


def stand_in(config) -> list[str]:
  """Puts something in the place of what does not ship, and says of what."""
  said = []
  for own in config.studies.values() or [config]:
    made = f"webdataset:{own.labels}"
    for prompts in own.prompts.values():
      if prompts.writer.startswith("t5:"):
        said.append(f"a sentence a class for {prompts.writer}")
        prompts.writer = f"file:{_write_sentences(prompts.labels or own.labels)}"
    if own.sampling.generator and not own.sampling.generator.startswith("embedded:"):
      said.append(f"embedded:generator for {own.sampling.generator}")
      own.sampling.generator = "embedded:generator"
    for encoder in own.encoders.values():
      if not encoder.weights.startswith("embedded:"):
        said.append(f"thumbnail for {encoder.weights}")
        encoder.weights = "thumbnail"
    for name, reference in own.tests.items():
      if not reference.startswith("embedded:"):
        said.append(f"made-up images for {reference}")
        own.tests[name] = made
    for real in own.real.values():
      if not real.source.startswith("embedded:"):
        said.append(f"made-up images for {real.source}")
        real.source = made
    if any(text.startswith("made-up") for text in said):
      _write_images(
        Path(own.labels),
        spaces.load(own.labels).ids,
        32 if any(real.shots for real in own.real.values()) else 1,
      )
    for learner in own.learners.values():
      if (learner.init or "").startswith("folder:"):
        said.append(f"nothing for {learner.init}")
        learner.init = ""
  return list(dict.fromkeys(said))


def _write_sentences(labels: str) -> Path:
  """Of each class, in the place of a T5's: what random weights write may change with the versions of libraries."""
  file, space = Path(f"{labels}.tsv"), spaces.load(labels)
  file.write_text("".join(f"{i}\t{n} in the rain\n" for i, n in zip(space.ids, space.names, strict=True)))
  return file


def _write_images(folder: Path, class_ids: Sequence[str], n: int) -> None:
  """So many of each class, of a byte each: nothing here reads them."""
  if folder.exists():
    return
  folder.mkdir()
  (folder / "classids.txt").write_text("\n".join(class_ids))
  with tarfile.open(folder / "images.tar", "w") as tar:
    for i in range(n * len(class_ids)):
      for ending, data in (("png", b"-"), ("cls", str(i % len(class_ids)).encode())):
        member = tarfile.TarInfo(f"{i}.{ending}")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


def products(config) -> tuple[dict[str, Any], list[str]]:
  """By its place in the workdir: stage, and where they are known identity, inputs and hash; and what had
  stand-ins."""
  found = {}
  with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # a path may enter an identity
    said = stand_in(config)
    for name, product in study.design(config, workdir.open_workdir("w")).titled:
      identity, inputs, hashed = _known(product)
      found[name] = {"stage": product.stage, "hash": hashed}
      if identity is not None:
        found[name] |= {"identity": _plain(identity), "inputs": sorted(inputs)}
  return found, said


def _known(product) -> tuple[dict[str, Any] | None, dict[str, str], str]:
  """(identity, inputs, hash), without making images or networks. The one place that knows where products keep
  these."""
  if product.stage == "prompts" and not _reads_images(product):
    product.make(None)  # it costs nothing, and what is made from it reads it
    record = records.load(product.folder)
  elif (
    product.stage in ("prompts", "report", "benchmark")
    or _waits(product)
    or (product.stage == "sample" and _reads_images(product))
  ):
    return None, {}, "-"
  elif product.stage in ("tune", "learn"):
    return product.identity, {}, product.folder.name
  else:
    record = product._record() if callable(product._record) else product._record
  return record.identity, record.inputs, record.hash[:12]


def _reads_images(product) -> bool:
  """Whether an encoder chooses what a list says, or what it is made from."""
  return any(p.stage == "embed" or _reads_images(p) for p in product.inputs)


def _waits(product) -> bool:
  """Whether a network's weights enter its identity, or of a run the images of a set, or another's."""
  if product.stage in ("tune", "learn") and any(
    p.stage in ("sample", "import", "keep", "learn") for p in product.inputs
  ):
    return True
  return any(p.stage == "train" or _waits(p) for p in product.inputs)


def base(all_products: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
  """By kind, the fields that every identity has."""
  found: dict[str, set[str]] = {}
  for product in all_products:
    if "identity" in product:
      keys, kind = set(product["identity"]), _kind(product)
      found[kind] = found[kind] & keys if kind in found else keys
  return {kind: sorted(keys) for kind, keys in sorted(found.items())}


def _kind(product: dict[str, Any]) -> str:
  """Whose identities have the same fields, but for young ones."""
  stage, identity = product["stage"], product["identity"]
  of = {"prompts": "strategy", "keep": "rule", "train": "task"}.get(stage)
  if of:
    return f"{stage} {identity[of]}"
  if stage == "embed":
    return "embed real" if "images" in identity else "embed"
  return "tune, zero-shot" if stage == "tune" and "loss" not in identity else stage


def identities(
  all_products: dict[str, Any], known: dict[str, Any], base: dict[str, list[str]]
) -> dict[str, dict[str, Any]]:
  """Without what every one of its kind has at its default, and with long values cut to their hash."""
  found = {}
  for name, product in all_products.items():
    if (
      "identity" in product and _kind(product) != "embed"
    ):  # of a set's features, which say no more than the set's
      identity, always = product["identity"], base.get(_kind(product), [])
      group = _OF_STAGE[product["stage"]]
      default = known[group] | _STANDS_FOR.get(group, {})
      usual = {k for k in always if k in default and k in identity and identity[k] == default[k]}
      found[name] = {k: _short(v) for k, v in sorted(identity.items()) if k not in usual}
      found[name] |= {k: "absent" for k in always if k not in identity}
      if product["inputs"]:
        found[name]["made from"] = ", ".join(product["inputs"])
  return found


def _short(value: Any) -> Any:
  text = json.dumps(value, ensure_ascii=False, sort_keys=True)
  if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
    return f"{value[:12]}..."
  if len(text) <= 40:
    return value
  what = f"{len(value)} of" if isinstance(value, list | dict) else f"{len(text)} characters of"
  return f"{what} sha256 {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _plain(value: Any) -> Any:
  """As JSON has it: tuples are lists."""
  return json.loads(json.dumps(value))


# --- files ---------------------------------------------------------------------------------------


def resolve(config: str) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
  """(fields, products, what had stand-ins) of a config named as on the command line, without its folder."""
  path, _, arg = config.partition(":")
  resolved = load_config_file(str(ROOT / "configs" / f"{path}.py"), arg)
  return (fields(resolved), *products(resolved))


def body(
  config: str, fields: dict[str, Any], products: dict[str, Any], said: list[str], known, base
) -> dict[str, Any]:
  """Of a config's file."""
  found = {"config": config} | ({"stand-ins": said} if said else {}) | {"fields": fields}
  return found | {"identities": identities(products, known, base)}


def hashes(products: dict[str, Any]) -> dict[str, str]:
  """Stage and hash, by the product's name."""
  return {name: f"{product['stage']} {product['hash']}" for name, product in products.items()}


def read_hashes() -> dict[str, dict[str, str]]:
  """By config."""
  found: dict[str, dict[str, str]] = {}
  for line in (FOLDER / HASHES).read_text().splitlines():
    name, _, value = line.strip().partition(" ")
    if line.startswith(" "):
      found[list(found)[-1]][name] = value
    else:
      found[line] = {}
  return found


def to_text(body: dict[str, Any]) -> str:
  """JSON with a line an entry of each part, so that a change is a line."""

  def part(value: Any) -> str:
    if not isinstance(value, dict) or not value:
      return json.dumps(value, ensure_ascii=False)
    rows = [f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in value.items()]
    return "{\n" + ",\n".join(rows) + "\n}"

  return "{\n" + ",\n".join(f"{json.dumps(k)}: {part(v)}" for k, v in body.items()) + "\n}\n"


def write() -> None:
  """All files anew."""
  FOLDER.mkdir(exist_ok=True)
  for file in FOLDER.iterdir():
    file.unlink()
  known, resolved = defaults(), {config: resolve(config) for config in CONFIGS}
  always = base(product for _, products, _ in resolved.values() for product in products.values())
  (FOLDER / DEFAULTS).write_text(
    to_text(flat_defaults() | {"identities": {k: " ".join(v) for k, v in always.items()}})
  )
  lines = []
  for config, (_, products, _) in resolved.items():
    lines += [config, *(f" {name} {value}" for name, value in hashes(products).items())]
  (FOLDER / HASHES).write_text("\n".join(lines) + "\n")
  for config, parts in resolved.items():
    if config not in HASHES_ALONE:
      (FOLDER / file_of(config)).write_text(to_text(body(config, *parts, known, always)))
