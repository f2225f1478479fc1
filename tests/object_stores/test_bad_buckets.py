"""What is wrong with a bucket is one line, before any work, and a store that dies meanwhile one that says how to go on."""

import socket

import pytest

from synthjax import main
from synthjax.disk import objects
from tests.object_stores import proxy
from tests.object_stores.servers import SERVERS


@pytest.fixture(scope="module", params=SERVERS)
def server(request):
  with SERVERS[request.param]() as server:
    yield server


@pytest.fixture
def said(monkeypatch, capsys):
  """The exit code and what a study says whose workdir is there."""

  def run(server, url: str) -> tuple[int, str]:
    for name, value in server.environment.items():
      monkeypatch.setenv(name, value)
    objects._connection.cache_clear()
    code = main.main(
      ["--config=configs/quickstart.py", f"--workdir={url}", "--config.runtime.compile_cache="]
    )
    return code, capsys.readouterr().err

  yield run
  objects._connection.cache_clear()


def assert_one_line(code: int, text: str, url: str) -> None:
  assert code == 2 and len(text.splitlines()) == 1, text
  assert (
    text.startswith(f"synthjax: workdir {url}: ")
    and "give another --workdir, or see to the bucket's name" in text
  )


def test_a_bucket_that_is_not_there(server, said):
  url = f"{server.scheme}://nobodys-bucket/w"
  assert_one_line(*said(server, url), url)


def test_nobody_answers(server, said):
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  assert_one_line(*said(server.at(port), f"{server.url}/w"), f"{server.url}/w")


def test_a_store_that_fails_for_long_ends_in_a_line_that_says_how_to_go_on(server, monkeypatch, said):
  """Of a workdir that was opened: exit code 75, with which launchers start again."""
  monkeypatch.setattr(objects, "_WAITS", (0.01, 0.01))
  monkeypatch.setattr(objects, "_PATIENT", objects._IMPATIENT)
  with proxy.before(server.port) as between:
    between.misbehave("503", 10_000, of="put", name="record.json")
    code, text = said(server.at(between.port), f"{server.fresh().url}/w")
  assert code == 75 and len(text.splitlines()) <= 3, text
  assert text.splitlines()[-1].startswith("synthjax: ") and text.endswith(
    "run the same command again to go on\n"
  )
