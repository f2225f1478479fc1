"""Where the weights of a reference lie: a folder, `embedded:NAME`, or `org/name[@revision]` of the hub.

A branch or a tag moves, so it is resolved once and the commit is recorded in the study's workdir, as `weights/*.json`:
of several processes the first one's commit is everybody's, and a re-run asks nobody. At first only the small files
are fetched (JSON, and the tokenizers' and chats' files); a network's tensors follow when they are read, from files whose hash the
hub lists, so that the checkpoint's digest is known before. Pickles are never fetched.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from etils import epath
from huggingface_hub import HfApi, constants, errors, hf_hub_download
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import (
  get_session,  # pyright: ignore[reportPrivateImportUsage]
  logging,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from synthjax.disk import checksums, faults, workdir
from synthjax.runtime import absence, progress
from synthjax.runtime.errors import NotHere, UserError
from synthjax.small_world import weights as embedded
from synthjax.weights import read

RECORDS = "weights"
_HUB = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w./-]*))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
# At the root or one folder deep: no checkpoint that we read lies deeper, and no such name leads out of its folder.
_FILE = re.compile(r"(\w[\w-]*/)?\w[\w.-]*", re.ASCII)
_TEXT = (".json", ".txt", "spiece.model", ".jinja")
_SMALL = 32e6  # bytes; a tokenizer has two million
_SECONDS = 15.0  # until a silent hub counts as out of reach


@dataclasses.dataclass(frozen=True)
class _Pin:
  """What a reference stands for in this study."""

  reference: str
  commit: str
  files: dict[str, dict[str, Any]]  # name -> size, sha256 (null where the hub lists none); {} = not known yet

  @property
  def repo(self) -> str:
    return self.reference.split("@")[0]

  @property
  def store(self) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=self.repo, repo_type="model")

  @property
  def snapshot(self) -> Path:
    return self.store / "snapshots" / self.commit


def locate(reference: str, root: epath.Path) -> Path:
  """The folder of a reference, for whoever reads weights. `root` is the study's workdir."""
  if not (match := _of_hub(reference)):
    folder = embedded.folder(reference)
    if folder.is_file():
      raise UserError(
        f"weights: {folder} is a single file; `{read.CONVERTER} {folder} --out FOLDER` makes a folder of it"
      )
    return folder
  absence.check(reference)
  return _fetched(reference, match["repo"], match["revision"] or "main", root, constants.HF_HUB_CACHE)


def pinned(reference: str, root: epath.Path) -> str:
  """The reference as it goes into records: of the hub's, `org/name@commit`, which says the same everywhere."""
  if not (match := _of_hub(reference)):
    return reference
  return f"{match['repo']}@{locate(reference, root).name}"


@dataclasses.dataclass(frozen=True)
class ToFetch:
  """A reference of the hub, and how much of it is still to be fetched."""

  reference: str
  bytes: int  # 0 = not known before the hub is asked


def to_fetch(reference: str, root: epath.Path, networks: Mapping[str, Sequence[str]]) -> list[ToFetch]:
  """What is missing on this machine of the networks' tensors, by folder: of several stems the first that is there counts.

  Nobody is asked: it is known of what the workdir has a record of, or the cache."""
  if not (match := _of_hub(reference)):
    return []
  file = _record_of(reference, match["repo"], root)
  pin = _recorded(file, reference) if file.exists() else _cached(reference, match["revision"] or "main")
  if pin is None or not pin.files:
    return [] if pin and pin.snapshot.is_dir() else [ToFetch(reference, 0)]
  wanted = [
    os.path.join(part, name) for part, stems in networks.items() for name in _tensors(pin, part, stems)
  ]
  left = sum(pin.files[name]["size"] for name in wanted if not (pin.snapshot / name).exists())
  return [ToFetch(reference, left)] if left else []


def _tensors(pin: _Pin, part: str, stems: Sequence[str]) -> list[str]:
  """The files that weights.read chooses: whole before in parts, in 16 bits where these alone lie there."""
  names = [os.path.basename(name) for name in pin.files if os.path.dirname(name) == part]
  for stem, variant in ((stem, variant) for stem in stems for variant in ("", ".fp16")):
    if (whole := f"{stem}{variant}.safetensors") in names:
      return [whole]
    kind, place = re.escape(variant), r"-\d+-of-\d+"
    pattern = re.compile(rf"{re.escape(stem)}({kind}{place}|{place}{kind})\.safetensors")
    if parts := [name for name in names if pattern.fullmatch(name)]:
      return parts
  return []


def _of_hub(reference: str) -> re.Match[str] | None:
  match = _HUB.fullmatch(reference)
  if not match or ".." in reference or "--" in match["repo"] or Path(reference).exists():
    return None
  return match


@functools.lru_cache(maxsize=64)  # a study asks for its folder again and again
def _fetched(reference: str, repo: str, revision: str, root: epath.Path, cache: str) -> Path:
  try:
    pin = _pin(reference, repo, revision, root)
    for name, about in pin.files.items():
      if _is_small(name, about):
        _download(pin, name)
      elif about["sha256"] and name.endswith(".safetensors"):
        file = pin.snapshot / name
        read.promise(file, read.Promise(about["sha256"], functools.partial(_fetch, pin, name)))
  except (OSError, ValueError) as e:  # all of the hub's own errors are of these
    raise _user_error(reference, revision, e) from e
  _refuse_pickles(pin)
  return pin.snapshot


def _is_small(name: str, about: dict[str, Any]) -> bool:
  """What is fetched at once. Tensors that the hub keeps no hash of are small."""
  ending = _TEXT if about["sha256"] else (*_TEXT, ".safetensors")
  return name.endswith(ending) and about["size"] < _SMALL


def _pin(reference: str, repo: str, revision: str, root: epath.Path) -> _Pin:
  file, pin = _record_of(reference, repo, root), None
  if file.exists():
    pin = _recorded(file, reference)
    if pin.files:
      return pin
  asked = pin.commit if pin else revision
  try:
    found = _listed(reference, repo, asked)
  except (OSError, ValueError) as e:
    if not _is_unreachable(e) or not (found := _cached(reference, asked)):
      raise
    print(f"weights: the hub cannot be reached; {reference} is read from {found.store}", file=sys.stderr)
  if pin:
    return found  # what the commit holds is asked again until the hub has answered
  file.parent.mkdir(parents=True, exist_ok=True)  # of a matrix, the study may have no folder yet
  if checksums.publish(file, workdir.to_json(dataclasses.asdict(found))):
    if found.commit != revision:
      print(f"weights: {repo}@{revision} is commit {found.commit} from now on: {file}", file=sys.stderr)
    return found
  return _recorded(file, reference)  # another process was quicker, and the branch may have moved between


def _record_of(reference: str, repo: str, root: epath.Path) -> epath.Path:
  digest = hashlib.sha256(reference.encode()).hexdigest()[:8]
  return root / RECORDS / f"{repo.replace('/', '--')}-{digest}.json"


def _recorded(file: epath.Path, reference: str) -> _Pin:
  body = checksums.read_json(file, "weights")
  try:
    pin = _Pin(**body)
    if pin.reference == reference and _COMMIT.fullmatch(pin.commit):
      return pin
  except TypeError:
    pass
  raise UserError(f"weights: {file} is no record of {reference}; remove it and run again")


def _listed(reference: str, repo: str, revision: str) -> _Pin:
  """As the hub has it."""
  info = HfApi(endpoint=constants.ENDPOINT).model_info(
    repo, revision=revision, files_metadata=True, timeout=_SECONDS
  )
  commit = info.sha or ""
  if not _COMMIT.fullmatch(commit):
    raise UserError(f"weights: the hub names no commit of {reference}; run again, or give a commit")
  files = {
    f.rfilename: {"size": f.size or 0, "sha256": f.lfs.sha256 if f.lfs else None}
    for f in info.siblings or ()
    if _FILE.fullmatch(f.rfilename)
  }
  return _Pin(reference, commit, files)


def _cached(reference: str, revision: str) -> _Pin | None:
  """What was fetched before, perhaps by another program: all that a machine without a network has."""
  pin = _Pin(reference, revision, {})
  if not _COMMIT.fullmatch(revision):
    branch = pin.store / "refs" / revision
    pin = dataclasses.replace(pin, commit=branch.read_text().strip() if branch.is_file() else "-")
  return pin if pin.snapshot.is_dir() else None


def _download(pin: _Pin, name: str) -> Path:
  """From the hub to the cache; no network is touched where it lies there."""
  logging.set_verbosity_error()  # of its retries; what came of them is one line
  if not sys.stderr.isatty() or progress.is_shown():
    disable_progress_bars()
  return Path(
    hf_hub_download(pin.repo, name, revision=pin.commit, endpoint=constants.ENDPOINT, etag_timeout=_SECONDS)
  )


def _fetch(pin: _Pin, name: str) -> None:
  """One file of tensors, checked against the hash that the hub lists."""
  about = pin.files[name]
  print(f"weights: fetching {name} of {pin.reference}, {about['size'] / 1e9:.2f} GB", file=sys.stderr)
  try:
    file = _download(pin, name)
    with file.open("rb") as stream:
      intact = hashlib.file_digest(stream, "sha256").hexdigest() == about["sha256"]
  except (OSError, ValueError) as e:
    raise _user_error(pin.reference, pin.commit, e) from e
  if not intact:
    file.resolve().unlink()
    raise UserError(f"weights: {name} of {pin.reference} arrived damaged and was removed; run again")


def _refuse_pickles(pin: _Pin) -> None:
  """A network that is there as a pickle alone is refused now, and not when its tensors are read."""
  folders: dict[str, set[str]] = {}
  for name in pin.files:
    folders.setdefault(os.path.dirname(name), set()).add(os.path.basename(name))
  for folder in ("text_encoder", "text_encoder_2", "unet", "vae", *([""] if "unet" not in folders else [])):
    there = folders.get(folder, set())
    pickles = sorted(n for n in there if n.endswith(read.PICKLES))
    if pickles and not any(n.endswith(".safetensors") for n in there):
      raise UserError(
        f"weights: {pin.reference} has {os.path.join(folder, pickles[0])}, a pickle, and no safetensors: it is not fetched; download it yourself and convert it with `{read.CONVERTER}`"
      )


def is_reachable(seconds: float) -> bool:
  """Whether the hub answers at all."""
  try:
    get_session().head(constants.ENDPOINT, timeout=seconds)
  except (OSError, ValueError):  # as above
    return False
  return True


def _is_unreachable(error: Exception) -> bool:
  """No answer, or that of a hub that is down; as opposed to a refusal."""
  if isinstance(error, errors.LocalEntryNotFoundError | ConnectionError):
    return True
  if isinstance(error, errors.HfHubHTTPError):
    return error.response is not None and error.response.status_code >= 500
  return isinstance(error, OSError) and not error.errno


def _user_error(reference: str, revision: str, error: Exception) -> UserError:
  cache = epath.Path(constants.HF_HUB_CACHE)
  if isinstance(error, errors.GatedRepoError):  # before the next, whose child it is
    return UserError(
      f"weights: {reference} is gated; accept its licence on its page at the hub, then log in with `hf auth login`"
    )
  if isinstance(error, errors.RepositoryNotFoundError):
    return UserError(
      f"weights: {reference} is no folder here and no public repository of the hub; fix the name, or log in with `hf auth login` if it is private"
    )
  if isinstance(error, errors.RevisionNotFoundError):
    return UserError(f"weights: {reference}: the hub's repository has no revision {revision!r}")
  if _is_unreachable(error):
    return NotHere(
      f"weights: {reference} is no folder here, the hub cannot be reached, and it is not in the cache {cache}; fetch it where there is a network",
      reference,
      "no folder here, and the hub cannot be reached",
      "weights",
    )
  if full := faults.no_room(error, cache):
    return full
  if isinstance(error, OSError) and error.errno:
    return UserError(
      f"weights: {reference}: {error.filename or cache}: {error.strerror}; HF_HOME says where the hub's files go"
    )
  return UserError(
    f"weights: the hub did not give {reference} ({' '.join(str(error).split())[:160]}); run again later"
  )
