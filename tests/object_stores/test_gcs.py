"""The server of Google's API is our own, so what Google documents is asked of it, mostly without obstore."""

import contextlib
import functools
import http.client
import random
from collections.abc import Callable, Iterator

import pytest

from tests.object_stores import gcs, servers
from tests.object_stores.local_http import HOST

obstore = pytest.importorskip("obstore", reason="needs the extra buckets")
from obstore import exceptions  # noqa: E402


@pytest.fixture
def google() -> Iterator[tuple[servers.Server, Callable]]:
  """And how to ask it without obstore."""
  with servers.gs(page=7, smallest_part=10) as one:
    yield one, functools.partial(ask, one.port, one.url.partition("://")[2])


def ask(port: int, bucket: str, method: str, target: str, body: bytes = b"", **headers: str):
  with contextlib.closing(http.client.HTTPConnection(HOST, port)) as connection:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, f"/{bucket}/{target}", body, named)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def test_pages_end_anywhere(google):
  """Against the rule in one line; of names that fall into few folders, and of prefixes that are no folder."""
  names = random.Random(2).sample(
    [f"{a}{b}/{c}{d}" for a in "xé" for b in "ab" for c in "abz" for d in range(12)], 80
  )
  server, asking = google
  store = server.store()
  for name in names:
    obstore.put(store, name, b"")
  for offset in (None, "xa/a4", "xa"):
    found = [m["path"] for page in obstore.list(store, offset=offset) for m in page]
    assert found == sorted((n for n in names if n > (offset or "")), key=str.encode)
  top = obstore.list_with_delimiter(store)
  assert (sorted(top["common_prefixes"]), top["objects"]) == (sorted({n[:2] for n in names}), [])
  text = asking("GET", "?list-type=2&prefix=xa/a&max-keys=3")[2].decode()
  assert (
    text.count("<Key>xa/a") == text.count("<Key>") == min(3, sum(n.startswith("xa/a") for n in names)) > 0
  )


def test_a_generation_is_never_used_again(google):
  server, asking = google
  store, seen = server.store(), []
  for _ in range(20):
    seen.append(int(obstore.put(store, "a", b"same", mode="create")["version"]))
    obstore.delete(store, "a")
  assert seen == sorted(set(seen))
  status, headers, _ = asking("PUT", "a", b"1", If_None_Match="*")
  assert status == 200
  status, headers, _ = asking("PUT", "a", b"2", If_None_Match="*")  # Google passes over this one too
  now = headers["x-goog-generation"]
  assert (status, asking("GET", "a")[2]) == (200, b"2")
  assert asking("DELETE", "a", x_goog_if_generation_match=str(seen[0]))[0] == 412
  assert (
    asking("PUT", "b", x_goog_copy_source=f"{server.url[5:]}/a", x_goog_if_generation_match="1")[0] == 412
  )
  with pytest.raises(exceptions.AlreadyExistsError):
    obstore.copy(store, "a", "a", overwrite=False)
  assert asking("DELETE", "a", x_goog_if_generation_match=now)[0] == 204
  assert asking("GET", "a")[0] == asking("DELETE", "a")[0] == 404


RANGES = {
  "0-0": b"0",
  "3-": b"3456789",
  "-2": b"89",
  "8-99": b"89",
  "-99": b"0123456789",
  "10-": b"",
  "5-4": b"",
  "-0": b"",
}


@pytest.mark.parametrize(("wanted", "got"), RANGES.items())
def test_ranges(google, wanted, got):
  _, asking = google
  asking("PUT", "a", b"0123456789")
  status, headers, body = asking("GET", "a", Range=f"bytes={wanted}")
  if got:
    start = int(chr(got[0]))
    assert (status, body) == (206, got)
    assert headers["Content-Range"] == f"bytes {start}-{start + len(got) - 1}/10"
  else:
    assert status == 416


def test_an_upload_in_parts_appears_whole_or_not_at_all(google):
  _, asking = google

  def begin() -> str:
    return asking("POST", "a?uploads")[2].decode().partition("<UploadId>")[2].partition("<")[0]

  def finish(upload: str, tags: list[str]):
    parts = "".join(
      f"<Part><PartNumber>{i}</PartNumber><ETag>{tag}</ETag></Part>" for i, tag in enumerate(tags, 1)
    )
    xml = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    return asking("POST", f"a?uploadId={upload}", xml)

  upload = begin()
  tags = [asking("PUT", f"a?partNumber={i}&uploadId={upload}", b"x" * 10)[1]["ETag"] for i in (1, 2)]
  assert asking("GET", "a")[0] == 404
  assert b"<Code>InvalidPart<" in finish(upload, [*tags, gcs.etag_of(b"")])[2]
  assert finish(upload, tags)[0] == 200 and asking("GET", "a")[2] == b"x" * 20
  assert b"<Code>NoSuchUpload<" in finish(upload, tags)[2]
  upload = begin()
  tags = [asking("PUT", f"a?partNumber={i}&uploadId={upload}", b"y" * 9)[1]["ETag"] for i in (1, 2)]
  assert b"<Code>EntityTooSmall<" in finish(upload, tags)[2]
  assert asking("DELETE", f"a?uploadId={upload}")[0] == 204 and asking("GET", "a")[2] == b"x" * 20
