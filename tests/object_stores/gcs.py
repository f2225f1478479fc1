"""The part of Google Cloud Storage's XML API that obstore uses, in memory, from Google's documentation of it.

https://cloud.google.com/storage/docs/xml-api/reference-methods and .../docs/request-preconditions. What a workdir may rest on:

- `x-goog-if-generation-match` holds a put, a copy or a delete to a generation, 0 to none; else 412. If-Match and If-None-Match
  are for reading only: a put passes over them, here as there.
- A generation is never used again, not of a name that was deleted either.
- A put is seen at once and as a whole, by listings too.

What is not here: signatures, versions that are not live, and Google's limit of about one write a second to one name, beyond
which the real one answers 429 (the proxy can), an error that obstore does not retry.
"""

import base64
import contextlib
import dataclasses
import hashlib
import itertools
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from email.utils import formatdate
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.object_stores.local_http import Handler, LocalServer

_KEPT = ("Content-Type", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language")
_STATUS = {
  "MethodNotAllowed": 405,
  "BucketAlreadyExists": 409,
  "PreconditionFailed": 412,
  "InvalidRange": 416,
}
_STATUS |= dict.fromkeys(("NoSuchBucket", "NoSuchKey", "NoSuchUpload"), 404)
_STATUS |= dict.fromkeys(("EntityTooSmall", "InvalidPart", "InvalidPartOrder"), 400)


class Refused(Exception):
  """With a code of `_STATUS`."""


@dataclasses.dataclass(frozen=True)
class Blob:
  data: bytes
  generation: int
  headers: dict[str, str]
  etag: str
  modified: float = dataclasses.field(default_factory=time.time)

  @property
  def about(self) -> dict[str, str]:
    return self.headers | {
      "ETag": self.etag,
      "Last-Modified": formatdate(self.modified, usegmt=True),
      "x-goog-generation": str(self.generation),
      "x-goog-metageneration": "1",
    }

  @property
  def iso(self) -> str:
    moment = time.gmtime(self.modified)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{int(self.modified % 1 * 1000):03d}Z"


@dataclasses.dataclass
class _Upload:
  bucket: str
  name: str
  headers: dict[str, str]
  parts: dict[int, bytes] = dataclasses.field(default_factory=dict)


def etag_of(data: bytes) -> str:
  return f'"{hashlib.md5(data).hexdigest()}"'


class Store:
  """Every method holds the lock, so each is one moment for all clients."""

  def __init__(self, page: int = 1000, smallest_part: int = 5 << 20):
    """`page`: how many a listing shows at a time; `smallest_part`: of an upload, but for its last."""
    self.page, self.smallest_part = page, smallest_part
    self.buckets: dict[str, dict[str, Blob]] = {}
    self.uploads: dict[str, _Upload] = {}
    self._lock = threading.RLock()
    self._generations = itertools.count(time.time_ns() // 1000)

  def create_bucket(self, bucket: str) -> None:
    with self._lock:
      if bucket in self.buckets:
        raise Refused("BucketAlreadyExists")
      self.buckets[bucket] = {}

  def get(self, bucket: str, name: str) -> Blob:
    with self._lock:
      if (blob := self._blobs(bucket).get(name)) is None:
        raise Refused("NoSuchKey")
      return blob

  def put(
    self, bucket: str, name: str, data: bytes, headers: dict[str, str], if_generation: str | None
  ) -> Blob:
    with self._lock:
      self._check_generation(bucket, name, if_generation)
      blob = Blob(data, next(self._generations), headers, etag_of(data))
      self.buckets[bucket][name] = blob
      return blob

  def copy(self, source: str, bucket: str, name: str, if_generation: str | None) -> Blob:
    from_bucket, _, from_name = urllib.parse.unquote(source.lstrip("/")).partition("/")
    with self._lock:
      blob = self.get(from_bucket, from_name)
      return self.put(bucket, name, blob.data, blob.headers, if_generation)

  def delete(self, bucket: str, name: str, if_generation: str | None) -> None:
    with self._lock:
      self._check_generation(bucket, name, if_generation)
      self.get(bucket, name)
      del self.buckets[bucket][name]

  def listing(self, bucket: str, query: dict[str, str]) -> str:
    """In the order of the names' bytes; what shares a name up to the delimiter is one entry of the page."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    after = base64.b64decode(query.get("continuation-token", "")).decode() or query.get("start-after", "")
    limit = min(int(query.get("max-keys", self.page)), self.page)
    with self._lock:
      blobs = sorted(self._blobs(bucket).items(), key=lambda item: item[0].encode())
    entries: dict[str, str] = {}
    last, more = "", False
    for name, blob in blobs:
      if not name.startswith(prefix):
        continue
      head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
      entry = prefix + head + delimiter if found else name
      if entry.encode() <= after.encode() or entry in entries:
        continue
      if len(entries) == limit:
        more = True
        break
      last = entry
      if found:
        entries[entry] = f"<CommonPrefixes><Prefix>{escape(entry)}</Prefix></CommonPrefixes>"
      else:
        entries[entry] = (
          f"<Contents><Key>{escape(name)}</Key><Generation>{blob.generation}</Generation>"
          f"<LastModified>{blob.iso}</LastModified><ETag>{escape(blob.etag)}</ETag><Size>{len(blob.data)}</Size></Contents>"
        )
    token = base64.b64encode(last.encode()).decode()
    following = f"<NextContinuationToken>{token}</NextContinuationToken>" if more else ""
    return (
      f"<ListBucketResult><Name>{escape(bucket)}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(entries)}</KeyCount>"
      f"<IsTruncated>{str(more).lower()}</IsTruncated>{following}{''.join(entries.values())}</ListBucketResult>"
    )

  def begin(self, bucket: str, name: str, headers: dict[str, str]) -> str:
    with self._lock:
      self._blobs(bucket)
      upload = f"upload{next(self._generations)}"
      self.uploads[upload] = _Upload(bucket, name, headers)
      return upload

  def put_part(self, upload: str, number: int, data: bytes) -> str:
    with self._lock:
      self._upload(upload).parts[number] = data
      return etag_of(data)

  def finish(self, upload: str, listed: list[tuple[int, str]]) -> Blob:
    """Of the parts that the client lists, in their order; nothing is seen of them before."""
    with self._lock:
      one = self._upload(upload)
      numbers = [number for number, _ in listed]
      if numbers != sorted(set(numbers)):
        raise Refused("InvalidPartOrder")
      tags = {n: etag_of(part).strip('"') for n, part in one.parts.items()}
      if not listed or any(tags.get(n) != tag.strip('"') for n, tag in listed):
        raise Refused("InvalidPart")
      if any(len(one.parts[n]) < self.smallest_part for n in numbers[:-1]):
        raise Refused("EntityTooSmall")
      blob = self.put(one.bucket, one.name, b"".join(one.parts[n] for n in numbers), one.headers, None)
      del self.uploads[upload]
      return blob

  def abort(self, upload: str) -> None:
    with self._lock:
      self._upload(upload)
      del self.uploads[upload]

  def _blobs(self, bucket: str) -> dict[str, Blob]:
    if bucket not in self.buckets:
      raise Refused("NoSuchBucket")
    return self.buckets[bucket]

  def _upload(self, upload: str) -> _Upload:
    if upload not in self.uploads:
      raise Refused("NoSuchUpload")
    return self.uploads[upload]

  def _check_generation(self, bucket: str, name: str, if_generation: str | None) -> None:
    blob = self._blobs(bucket).get(name)
    if if_generation is not None and int(if_generation) != (blob.generation if blob else 0):
      raise Refused("PreconditionFailed")


class _Handler(Handler):
  store: Store

  def _answer(self) -> None:
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
    bucket, _, name = (urllib.parse.unquote(part) for part in url.path.lstrip("/").partition("/"))
    body = self.body()
    try:
      if name:
        self._object(bucket, name, query, body)
      elif self.command == "GET":
        self._send(200, {}, self.store.listing(bucket, query).encode())
      elif self.command == "PUT":
        self.store.create_bucket(bucket)
        self._send(200)
      else:
        raise Refused("MethodNotAllowed")
    except Refused as e:
      self._send(_STATUS[str(e)], {}, f"<Error><Code>{e}</Code><Message>{e}</Message></Error>".encode())

  do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

  def _object(self, bucket: str, name: str, query: dict[str, str], body: bytes) -> None:
    if_generation, upload = self.headers.get("x-goog-if-generation-match"), query.get("uploadId")
    kept = {
      k: v for k, v in self.headers.items() if k.title() in _KEPT or k.lower().startswith("x-goog-meta-")
    }
    match self.command:
      case "GET" | "HEAD":
        self._read(self.store.get(bucket, name), query)
      case "PUT" if upload:
        self._send(200, {"ETag": self.store.put_part(upload, int(query["partNumber"]), body)})
      case "PUT" if source := self.headers.get("x-goog-copy-source"):
        blob = self.store.copy(source, bucket, name, if_generation)
        text = f"<CopyObjectResult><ETag>{blob.etag}</ETag><LastModified>{blob.iso}</LastModified></CopyObjectResult>"
        self._send(200, {"x-goog-generation": str(blob.generation)}, text.encode())
      case "PUT":
        blob = self.store.put(bucket, name, body, kept, if_generation)
        self._send(200, {"ETag": blob.etag, "x-goog-generation": str(blob.generation)})
      case "POST" if "uploads" in query:
        upload = self.store.begin(bucket, name, kept)
        text = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        self._send(200, {}, text.encode())
      case "POST" if upload:
        parts = ElementTree.fromstring(body).findall("Part")
        listed = [(int(p.findtext("PartNumber", "0")), p.findtext("ETag", "")) for p in parts]
        blob = self.store.finish(upload, listed)
        text = (
          f"<CompleteMultipartUploadResult><ETag>{escape(blob.etag)}</ETag></CompleteMultipartUploadResult>"
        )
        self._send(200, {"x-goog-generation": str(blob.generation)}, text.encode())
      case "DELETE":
        self.store.abort(upload) if upload else self.store.delete(bucket, name, if_generation)
        self._send(204)
      case _:
        raise Refused("MethodNotAllowed")

  def _read(self, blob: Blob, query: dict[str, str]) -> None:
    if query.get("generation", str(blob.generation)) != str(blob.generation):
      raise Refused("NoSuchKey")
    if self.headers.get("If-Match", blob.etag) not in (blob.etag, "*"):
      raise Refused("PreconditionFailed")
    if self.headers.get("If-None-Match") in (blob.etag, "*"):
      return self._send(304, {"ETag": blob.etag})
    size = len(blob.data)
    if not (found := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))):
      return self._send(200, blob.about, blob.data)
    first, last = found.groups()
    start = int(first) if first else max(size - int(last or 0), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= stop:
      raise Refused("InvalidRange")
    self._send(206, blob.about | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}, blob.data[start:stop])

  def _send(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
    self.send_response(status)
    for key, value in (headers or {}).items():
      self.send_header(key, value)
    if status not in (204, 304):
      self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    if self.command != "HEAD" and status not in (204, 304):
      self.wfile.write(body)


@contextlib.contextmanager
def serve(page: int = 1000, smallest_part: int = 5 << 20) -> Iterator[tuple[int, Store]]:
  """The port, and what is behind it."""
  store = Store(page, smallest_part)
  server = LocalServer(type("Handler", (_Handler,), {"store": store}))
  with server.running():
    yield server.port, store
