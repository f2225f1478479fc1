"""Checkpoints of the hub, from a server on this machine that speaks its protocol."""

import hashlib
import http.server
import json
import os
import pickle
import re
import shutil
import threading
import types

import huggingface_hub
import pytest
from etils import epath

from synthjax.runtime.errors import UserError
from synthjax.weights import hub, read

REPO = "studio/tiny-diffusion"
FIRST, SECOND = "1" * 40, "2" * 40
_LFS = (".safetensors", ".bin", ".ckpt", ".model")


class Hub:
  """Repositories that a test changes as it goes, and the requests that came."""

  def __init__(self):
    self.commits: dict[str, dict[str, bytes]] = {}
    self.branches = {"main": FIRST}
    self.requests: list[str] = []
    self.gated = self.down = self.damaged = False
    hub = self

    class Handler(http.server.BaseHTTPRequestHandler):
      def log_message(self, *args):
        pass

      def do_GET(self):
        self._answer(with_body=True)

      def do_HEAD(self):
        self._answer(with_body=False)

      def _answer(self, with_body: bool):
        path = self.path.split("?")[0]
        hub.requests.append(f"{self.command} {path}")
        status, headers, body = hub.answer(path)
        self.send_response(status)
        for key, value in headers.items():
          self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
          self.wfile.write(body)

    self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    self.url = f"http://127.0.0.1:{self._server.server_port}"
    threading.Thread(target=self._server.serve_forever, daemon=True).start()

  def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
    if self.down:
      return 503, {}, b""
    if api := re.fullmatch(rf"/api/models/{REPO}/revision/(.+)", path):
      commit = self.branches.get(api[1], api[1])
      if commit not in self.commits:
        return 404, {"X-Error-Code": "RevisionNotFound"}, b""
      siblings = [self._sibling(name, body) for name, body in self.commits[commit].items()]
      return 200, {}, json.dumps({"id": REPO, "sha": commit, "siblings": siblings}).encode()
    if file := re.fullmatch(rf"/{REPO}/resolve/(\w+)/(.+)", path):
      if self.gated:
        return 403, {"X-Error-Code": "GatedRepo"}, b""
      body = self.commits[file[1]][file[2]]
      own = {"X-Repo-Commit": file[1], "ETag": f'"{hashlib.sha1(body).hexdigest()}"'}
      if not file[2].endswith(_LFS):
        return 200, own, body
      sha = hashlib.sha256(body).hexdigest()
      linked = {"X-Linked-ETag": f'"{sha}"', "X-Linked-Size": str(len(body))}
      return 302, own | linked | {"Location": f"{self.url}/cdn/{file[1]}/{file[2]}"}, b""
    if file := re.fullmatch(r"/cdn/(\w+)/(.+)", path):
      body = self.commits[file[1]][file[2]]
      return 200, {}, bytes(reversed(body)) if self.damaged else body
    return 401, {"X-Error-Code": "RepoNotFound"}, b""

  @staticmethod
  def _sibling(name: str, body: bytes) -> dict:
    about = {"rfilename": name, "size": len(body), "blobId": hashlib.sha1(body).hexdigest()}
    if name.endswith(_LFS):
      about["lfs"] = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 134}
    return about

  def asked_for(self, ending: str) -> list[str]:
    return [r for r in self.requests if r.endswith(ending)]

  def close(self):
    self._server.shutdown()
    self._server.server_close()


class Boom:
  def __reduce__(self):
    return os.system, ("touch /tmp/never",)


@pytest.fixture
def remote(weights, tmp_path, monkeypatch):
  """The tiny generator as a repository, with what such repositories carry along."""
  server = Hub()
  files = {str(p.relative_to(weights)): p.read_bytes() for p in weights.rglob("*") if p.is_file()}
  unet = "unet/diffusion_pytorch_model"
  files |= {
    f"{unet}.bin": pickle.dumps(Boom()),
    f"{unet}.fp16.safetensors": b"half the size",
    "safety_checker/model.safetensors": b"not asked for",
    "v1-5-pruned.ckpt": pickle.dumps(Boom()),
    "v1-5-pruned.safetensors": b"all in one file",
    "model_index.json": b"{}",
    "README.md": b"# tiny",
    "../../out.json": b"{}",
  }
  server.commits[FIRST] = files
  server.commits[SECOND] = files | {"scheduler/scheduler_config.json": b'{"moved": true}'}
  ask(monkeypatch, server.url)
  # Seconds between its tries.
  monkeypatch.setattr(huggingface_hub.utils._http, "time", types.SimpleNamespace(sleep=lambda s: None))
  monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
  yield server
  server.close()


NOBODY = "http://127.0.0.1:9"


def ask(monkeypatch, url):
  monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
  template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
  monkeypatch.setattr(huggingface_hub.file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def new_process():
  """What a process knows is gone."""
  hub._fetched.cache_clear()
  read._promised.clear()


@pytest.fixture(autouse=True)
def forget():
  new_process()
  yield
  new_process()


def workdir(tmp_path, name="W"):
  root = epath.Path(tmp_path / name)
  root.mkdir(exist_ok=True)
  return root


PARTS = ("text_encoder", "unet", "vae", "tokenizer", "scheduler")
STEM = "diffusion_pytorch_model"


def test_a_branch_is_resolved_once(remote, tmp_path, capsys):
  root = workdir(tmp_path)
  folder = hub.locate(f"{REPO}@main", root)
  assert folder.name == FIRST and f"{REPO}@main is commit {FIRST}" in capsys.readouterr().err
  assert hub.pinned(f"{REPO}@main", root) == f"{REPO}@{FIRST}"
  remote.branches["main"] = SECOND
  new_process()
  assert hub.locate(f"{REPO}@main", root) == folder
  assert hub.locate(f"{REPO}@main", workdir(tmp_path, "W2")).name == SECOND
  assert capsys.readouterr().err.count(" is commit ") == 1
  assert hub.locate(f"{REPO}@{FIRST}", workdir(tmp_path, "W3")) == folder
  assert hub.locate(REPO, epath.Path(tmp_path / "matrix" / "study")).name == SECOND  # no folder yet


def test_of_two_processes_the_first_ones_commit_is_everybodys(remote, tmp_path, monkeypatch):
  root, publish = workdir(tmp_path), hub.workdir.publish_bytes

  def late(file, data):
    body = json.loads(data) | {"commit": SECOND}
    assert publish(file, json.dumps(body).encode())
    return publish(file, data)

  monkeypatch.setattr(hub.workdir, "publish_bytes", late)
  assert hub.locate(REPO, root).name == SECOND


def test_only_what_is_read_is_fetched_and_only_when_it_is(remote, weights, tmp_path):
  folder = hub.locate(REPO, workdir(tmp_path))
  assert not remote.asked_for(".safetensors")
  assert read.folder_digest(folder, PARTS) == read.folder_digest(weights, PARTS)  # known before it is here
  assert read.tensor_files(folder / "unet", STEM) == [folder / "unet" / f"{STEM}.safetensors"]
  fetched = {r.split(f"{FIRST}/")[1] for r in remote.asked_for(".safetensors")}
  assert fetched == {f"unet/{STEM}.safetensors"}
  assert not [r for r in remote.requests if r.endswith((".bin", ".ckpt", ".md", "out.json"))]
  new_process()
  assert read.folder_digest(folder, ("unet",)) == read.folder_digest(weights, ("unet",))


def test_what_another_program_fetched_beside_it_does_not_change_the_digest(remote, weights, tmp_path):
  folder = hub.locate(REPO, workdir(tmp_path))
  read.tensor_files(folder / "unet", STEM)
  (folder / "unet" / f"{STEM}.fp16.safetensors").write_bytes(b"half the size")
  assert read.folder_digest(folder, PARTS) == read.folder_digest(weights, PARTS)


def test_a_repository_of_parts_and_one_in_16_bits(remote, tmp_path):
  files = remote.commits[FIRST]
  body = files.pop(f"vae/{STEM}.safetensors")
  files[f"vae/{STEM}.fp16.safetensors"] = body
  part = f"{STEM}-00001-of-00001.safetensors"
  files[f"unet/{part}"] = files.pop(f"unet/{STEM}.safetensors")
  files[f"unet/{STEM}.safetensors.index.json"] = json.dumps({"weight_map": {"a": part}}).encode()
  folder = hub.locate(REPO, workdir(tmp_path))
  assert [f.name for f in read.tensor_files(folder / "vae", STEM)] == [f"{STEM}.fp16.safetensors"]
  assert [f.name for f in read.tensor_files(folder / "unet", STEM)] == [part]
  assert (folder / "unet" / part).exists()


def test_of_a_language_model_tokenizer_and_template_are_fetched_at_once(remote, tmp_path):
  small = {"config.json": b"{}", "spiece.model": b"pieces", "chat_template.jinja": b"{{ messages }}"}
  remote.commits[FIRST] = small | {"model.safetensors": b"x" * 9, "other.model": b"?", "readme.md": b""}
  folder = hub.locate(REPO, workdir(tmp_path))
  assert {p.name: p.read_bytes() for p in folder.iterdir()} == small
  digest = read.folder_digest(folder, (".",), ("model",), ("spiece.model", "chat_template.jinja"))
  assert digest != read.folder_digest(folder, (".",), ("model",), ("spiece.model",))


NETWORKS = {"text_encoder": ("model",), "unet": (STEM,), "vae": (STEM,)}


def test_what_is_still_to_be_fetched_is_known_without_asking(remote, weights, tmp_path):
  root = workdir(tmp_path)
  sizes = {part: next((weights / part).glob("*.safetensors")).stat().st_size for part in NETWORKS}
  assert hub.to_fetch(REPO, root, NETWORKS) == [hub.ToFetch(REPO, 0)] and not remote.requests
  folder = hub.locate(REPO, root)
  asked = len(remote.requests)
  assert hub.to_fetch(REPO, root, NETWORKS) == [hub.ToFetch(REPO, sum(sizes.values()))]
  assert len(remote.requests) == asked
  read.tensor_files(folder / "unet", STEM)
  assert hub.to_fetch(REPO, root, NETWORKS) == [hub.ToFetch(REPO, sizes["vae"] + sizes["text_encoder"])]
  for part in ("vae", "text_encoder"):
    read.tensor_files(folder / part, "model" if part == "text_encoder" else STEM)
  assert hub.to_fetch(REPO, root, NETWORKS) == []
  assert (
    hub.to_fetch("embedded:generator", root, NETWORKS) == hub.to_fetch(str(weights), root, NETWORKS) == []
  )


def test_of_parts_and_of_variants_those_count_that_are_read(remote, tmp_path):
  parts = {f"unet/{STEM}-0000{i}-of-00002.safetensors": b"x" * 100 * i for i in (1, 2)}
  listed = {
    **parts,
    "vae/" + STEM + ".fp16.safetensors": b"y" * 10,
    "text_encoder/model.safetensors": b"z",
    "text_encoder/model.fp16.safetensors": b"zz" * 1000,
  }
  remote.commits[FIRST] = listed
  root = workdir(tmp_path)
  hub.locate(REPO, root)
  assert hub.to_fetch(REPO, root, NETWORKS) == [hub.ToFetch(REPO, 100 + 200 + 10 + 1)]
  assert hub.to_fetch(REPO, root, {"": ("model", "open_clip_model")}) == []


def test_without_a_network(remote, tmp_path, monkeypatch):
  root = workdir(tmp_path)
  folder = hub.locate(REPO, root)
  read.tensor_files(folder / "vae", STEM)
  ask(monkeypatch, NOBODY)
  new_process()
  seen = len(remote.requests)
  assert hub.locate(REPO, root) == folder and read.tensor_files(folder / "vae", STEM)
  assert len(remote.requests) == seen
  with pytest.raises(UserError, match="the hub cannot be reached, and it is not in the cache"):
    read.tensor_files(folder / "unet", STEM)
  with pytest.raises(UserError, match="is no folder here, the hub cannot be reached"):
    hub.locate(REPO, workdir(tmp_path, "W2"))
  # A commit that lies in the cache is good enough, and so is a branch as another program left it there.
  assert hub.locate(f"{REPO}@{FIRST}", workdir(tmp_path, "W3")) == folder
  (folder.parent.parent / "refs").mkdir()
  (folder.parent.parent / "refs" / "main").write_text(FIRST)
  assert hub.locate(REPO, workdir(tmp_path, "W4")) == folder


def test_a_hub_that_is_down_is_asked_again_for_what_it_lists(remote, tmp_path):
  first = hub.locate(REPO, workdir(tmp_path))
  new_process()
  remote.down, root = True, workdir(tmp_path, "W2")
  assert hub.locate(f"{REPO}@{FIRST}", root) == first
  new_process()
  remote.down = False
  hub.locate(f"{REPO}@{FIRST}", root)
  assert read.tensor_files(first / "unet", STEM)


@pytest.mark.parametrize(
  ("reference", "said"),
  [
    ("studio/none", "is no folder here and no public repository of the hub"),
    (f"{REPO}@v9", "has no revision 'v9'"),
    (REPO, "is gated; accept its licence"),
  ],
)
def test_what_the_hub_refuses_is_one_line(remote, tmp_path, reference, said):
  remote.gated = True
  with pytest.raises(UserError) as e:
    hub.locate(reference, workdir(tmp_path))
  assert said in str(e.value) and "\n" not in str(e.value)
  assert not list(workdir(tmp_path).glob("weights/*")) or reference == REPO


def test_pickles_alone_are_refused_unseen(remote, tmp_path):
  del (
    remote.commits[FIRST][f"unet/{STEM}.safetensors"],
    remote.commits[FIRST][f"unet/{STEM}.fp16.safetensors"],
  )
  with pytest.raises(
    UserError, match=rf"unet/{STEM}\.bin, a pickle, and no safetensors.*synthjax\.weights\.convert"
  ):
    hub.locate(REPO, workdir(tmp_path))
  assert not remote.asked_for(".bin")


def test_a_file_that_arrives_damaged_is_removed(remote, tmp_path):
  folder = hub.locate(REPO, workdir(tmp_path))
  remote.damaged = True
  with pytest.raises(UserError, match="arrived damaged and was removed"):
    read.tensor_files(folder / "vae", STEM)
  remote.damaged = False
  assert read.tensor_files(folder / "vae", STEM)[0].exists()


def test_a_full_disk_is_one_line(remote, tmp_path, monkeypatch):
  folder = hub.locate(REPO, workdir(tmp_path))

  def full(*args, **kwargs):
    raise OSError(28, os.strerror(28), "blob")

  monkeypatch.setattr(hub, "hf_hub_download", full)
  with pytest.raises(UserError, match=r"the disk of .* is full"):
    read.tensor_files(folder / "vae", STEM)


def test_what_exists_is_a_folder(remote, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "studio" / "tiny-diffusion").mkdir(parents=True)
  assert not hub.locate(REPO, workdir(tmp_path)).is_absolute()
  for reference in ("/no/such", "./no/such", "~/no/such", "such", "a/b/c", "../a", "a/../b"):
    assert hub.locate(reference, workdir(tmp_path)).name == reference.split("/")[-1]
  assert hub.locate("embedded:clip", workdir(tmp_path)).is_dir()
  assert not remote.requests
  single = tmp_path / "v1-5.ckpt"
  single.write_bytes(pickle.dumps(Boom()))
  with pytest.raises(UserError, match=r"is a single file; `python -m synthjax\.weights\.convert"):
    hub.locate(str(single), workdir(tmp_path))


@pytest.mark.slow
def test_a_study_from_the_hub(remote, command, tmp_path):
  """--plan fetches no weights, the study draws the same images as from the folder, and again without a network."""
  labels = tmp_path / "labels.yaml"
  labels.write_text("classes: {a: ant, b: bee}\n")
  config = tmp_path / "study.py"
  config.write_text(
    "from synthjax import config as fields\n"
    "def get_config(arg=''):\n"
    f"  config = fields.study_config(labels={str(labels)!r})\n"
    "  config.prompts.B = fields.prompt_list('B')\n"
    "  config.sets.B = fields.image_set('B')\n"
    f"  config.sampling.update(generator={REPO!r}, steps=2, images_per_class=2, per_device_batch=2)\n"
    "  return config\n"
  )
  env = {"HF_ENDPOINT": remote.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": ""}
  root = tmp_path / "W"

  def run(*args, said=0, env=env):
    process = command("--config", str(config), "--workdir", str(root), *args, env=env)
    out, err = process.communicate(timeout=300)
    assert process.returncode == said, err
    return out + err

  assert "1 of 2 to make" not in run("--plan") and not remote.asked_for(".safetensors")
  run()
  record = json.loads((root / "images/B/record.json").read_text())
  assert record["runtime"]["generator"] == f"{REPO}@{FIRST}"
  remote.branches["main"] = SECOND
  off = env | {"HF_ENDPOINT": NOBODY}
  assert "nothing is missing" in run("--plan", env=off)
  shutil.rmtree(root / "images")
  run(env=off)
  assert json.loads((root / "images/B/record.json").read_text())["identity"] == record["identity"]
