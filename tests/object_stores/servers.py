"""Servers of the three kinds of object store on free ports of this machine; a test of a kind that is not here is skipped.

- `s3`: moto, of the extra `parity`. It honours `If-None-Match: *` and `If-Match`, but looks and writes in two steps: now and
  then, 2 of 100 puts at once have won. So it takes one request at a time here. An ETag is the MD5 of the content, as in S3
  itself: a condition by ETag also holds where an object was replaced and then had its first content again. What S3 may say of
  two conditional writes at once, 409, moto never does.
- `gs`: `gcs.py`. Conditions go by generation.
- `az`: Azurite, Microsoft's emulator, by npm. Each write has an ETag of its own. It is one thread of JavaScript.

    with servers.s3() as server:
      store = server.store()            # or: for name, value in server.environment.items(): monkeypatch.setenv(name, value)
      other = server.fresh().store()    # another bucket of the same server
"""

import base64
import contextlib
import dataclasses
import functools
import hashlib
import hmac
import http.client
import io
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.object_stores import gcs
from tests.object_stores.local_http import HOST

if TYPE_CHECKING:
  from obstore.store import ObjectStore

# What Microsoft's documentation of the emulator says they are, for everybody.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_AZURITE = "3.35.0"


@dataclasses.dataclass(frozen=True)
class Server:
  """`url`: of a bucket that was empty; `environment`: with which `obstore.store.from_url(url)` finds it."""

  scheme: str
  url: str
  port: int
  _environment: Callable[[int], dict[str, str]]
  _create: Callable[[str], None]

  @property
  def environment(self) -> Mapping[str, str]:
    return self._environment(self.port)

  def fresh(self) -> "Server":
    """With another bucket."""
    bucket = f"lab-{uuid.uuid4().hex[:12]}"
    self._create(bucket)
    return dataclasses.replace(self, url=f"{self.scheme}://{bucket}")

  def at(self, port: int) -> "Server":
    """The same, reached by a proxy on this port."""
    return dataclasses.replace(self, port=port)

  def store(
    self, folder: str = "", client: Mapping[str, Any] | None = None, retry: Any = None
  ) -> "ObjectStore":
    """As of the environment, which is so for this moment only. `client`, `retry`: obstore's client_options and retry_config."""
    from obstore.store import from_url

    options: Any = {"allow_http": True, **(client or {})}
    with pytest.MonkeyPatch.context() as patch:
      for name, value in self.environment.items():
        patch.setenv(name, value)
      return from_url(f"{self.url}/{folder}".rstrip("/"), client_options=options, retry_config=retry)


def _server(
  scheme: str, port: int, environment: Callable[[int], dict[str, str]], create: Callable[[str], None]
) -> Server:
  return Server(scheme, "", port, environment, create).fresh()


# --- Amazon -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def s3() -> Iterator[Server]:
  moto = pytest.importorskip("moto.server", reason="needs the extra parity")
  from werkzeug.serving import make_server

  class Quiet(moto.MotoRequestHandler):
    def log_request(self, *args: Any) -> None:
      pass

  app = _one_at_a_time(moto.DomainDispatcherApplication(moto.create_backend_app))
  server = make_server(HOST, 0, app, threaded=True, request_handler=Quiet)
  thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
  thread.start()

  def create(bucket: str) -> None:
    _put(server.port, f"/{bucket}")

  try:
    yield _server("s3", server.port, _amazon, create)
  finally:
    server.shutdown()
    thread.join()
    server.server_close()


def _amazon(port: int) -> dict[str, str]:
  return {
    "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
    "AWS_ALLOW_HTTP": "true",
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
    "AWS_REGION": "us-east-1",
  }


def _one_at_a_time(app: Callable[..., Any]) -> Callable[..., Any]:
  """The body is read before, so that a client which stops in the middle holds up no other, and puts nothing."""
  lock = threading.Lock()

  def one(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    size = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(size)
    if len(body) < size:
      start_response("400 Bad Request", [])
      return []
    with lock:
      return list(app(environ | {"wsgi.input": io.BytesIO(body)}, start_response))

  return one


# --- Google -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def gs(page: int = 1000, smallest_part: int = 5 << 20) -> Iterator[Server]:
  with gcs.serve(page, smallest_part) as (port, store):
    yield _server("gs", port, _google, store.create_bucket)


def _google(port: int) -> dict[str, str]:
  """Not GOOGLE_SKIP_SIGNATURE: obstore 0.12.1 asks for credentials all the same where it writes."""
  account = {"gcs_base_url": f"http://{HOST}:{port}", "disable_oauth": True}
  account |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
  return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account), "GOOGLE_ALLOW_HTTP": "true"}


# --- Microsoft ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def az() -> Iterator[Server]:
  program = _azurite()
  if isinstance(program, str):
    pytest.skip(program)
  flags = ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent"]
  command = ["node", str(program), *flags, "--blobHost", HOST, "--blobPort", "0"]
  with (
    tempfile.TemporaryDirectory() as folder,
    subprocess.Popen(
      command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process,
  ):
    assert process.stdout
    try:
      lines: list[str] = []
      for line in process.stdout:
        lines.append(line)
        if found := re.search(r"listens on .*:(\d+)", line):
          break
      else:
        pytest.fail(f"Azurite ended: {' '.join(lines)[-500:]}")
      port = int(found[1])
      yield _server("az", port, _azure, functools.partial(_create_container, port))
    finally:
      process.kill()


def _azure(port: int) -> dict[str, str]:
  """As the emulator, not by AZURE_STORAGE_ENDPOINT: Azurite passes over startFrom, a listing's offset, so obstore does it."""
  return {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": f"http://{HOST}:{port}"}


def _create_container(port: int, container: str) -> None:
  """Signed, since obstore cannot make one:
  https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key."""
  headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
  signed = "PUT" + 12 * "\n" + "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
  signed += f"/{_ACCOUNT}/{_ACCOUNT}/{container}\nrestype:container"
  mac = hmac.new(base64.b64decode(_KEY), signed.encode(), hashlib.sha256).digest()
  headers["Authorization"] = f"SharedKey {_ACCOUNT}:{base64.b64encode(mac).decode()}"
  _put(port, f"/{_ACCOUNT}/{container}?restype=container", headers)


@functools.cache
def _azurite() -> Path | str:
  """Its program, or why there is none. Made once by npm, in the folder that SYNTHJAX_AZURITE names, else in the user's cache."""
  if not shutil.which("node"):
    return "needs node, to run Azurite"
  cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
  folder = Path(os.environ.get("SYNTHJAX_AZURITE") or cache / "synthjax-tests" / f"azurite-{_AZURITE}")
  program = folder / "node_modules/azurite/dist/src/blob/main.js"
  if program.is_file():
    return program
  npm = shutil.which("npm")
  if not (
    npm and (os.environ.get("CI") or "SYNTHJAX_AZURITE" in os.environ)
  ):  # 186 MB are not fetched unasked
    return "needs Azurite: set SYNTHJAX_AZURITE to a folder for it, and have npm"
  folder.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
    flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0", "--fetch-timeout=60000"]
    try:
      subprocess.run(
        [npm, "install", f"azurite@{_AZURITE}", *flags],
        cwd=draft,
        check=True,
        capture_output=True,
        timeout=300,
      )
    except subprocess.SubprocessError as e:
      words = (getattr(e, "stderr", None) or b"").decode(errors="replace") or str(e)
      return f"needs Azurite, and `npm install azurite@{_AZURITE}` failed: {words.splitlines()[0]}"
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(OSError):  # another worker was faster
      (Path(draft) / "node_modules").rename(folder / "node_modules")
  return program


def _put(port: int, target: str, headers: Mapping[str, str] | None = None) -> None:
  with contextlib.closing(http.client.HTTPConnection(HOST, port)) as server:
    server.request("PUT", target, headers={"Content-Length": "0", **(headers or {})})
    answer = server.getresponse()
    assert answer.status < 300, answer.read()


SERVERS = {"s3": s3, "gs": gs, "az": az}
