"""Tars that lie about themselves: one line that names the file, before an image is asked for."""

import io
import tarfile

import pytest
from PIL import Image

from synthjax.data.sources import open_source
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime.errors import UserError

LABELS = LabelSpace(("n0",), ("bee",))


def picture(form: str = "PNG") -> bytes:
  buffer = io.BytesIO()
  Image.new("RGB", (8, 8)).save(buffer, form)
  return buffer.getvalue()


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
  """512 bytes of GNU's format, `size` as it stands in its field."""
  head = bytearray(tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT))
  head[0:100] = name.ljust(100, b"\0")
  head[124:136] = size
  head[156:157] = kind
  head[148:156] = b"%06o\0 " % tarfile.calc_chksums(head[:148] + b" " * 8 + head[156:])[0]
  return bytes(head)


def octal(n: int) -> bytes:
  return b"%011o\0" % n


def binary(n: int) -> bytes:
  """Base 256, with its sign."""
  return bytes([0x80 if n >= 0 else 0xFF]) + n.to_bytes(11, "big", signed=n < 0)


def pax(text: bytes) -> bytes:
  return header(b"pax", octal(len(text)), b"x") + text.ljust(-(-len(text) // 512) * 512, b"\0")


BODY = picture().ljust(512, b"\0")
END = bytes(1024)
LIES = {
  "2^80": header(b"a.png", binary(2**80)) + BODY + END,
  "beyond the end": header(b"a.png", octal(10**6)) + BODY + END,
  "negative": header(b"a.png", binary(-512)) + BODY + END,
  "pax of 2^40": header(b"pax", binary(2**40), b"x") + BODY + END,
  "pax of 2^80": header(b"pax", binary(2**80), b"x") + BODY + END,
  "a negative pax": header(b"pax", binary(-1024), b"x") + BODY + END,
  "a size of 2^80 in pax": pax(b"34 size=1208925819614629174706176\n")
  + header(b"a.png", octal(0))
  + BODY
  + END,
  "a negative size in pax": pax(b"13 size=-512\n") + header(b"a.png", octal(0)) + BODY + END,
  "a sparse member": header(b"a.png", octal(len(picture())), b"S") + BODY + END,
  "a thousand headers before one member": pax(b"8 a=bcd\n") * 3000 + header(b"a.png", octal(0)) + END,
  "cut in a header": (header(b"a.png", octal(len(picture()))) + BODY)[:-100],
  "no tar": b"<html>404</html>" * 64,
}


@pytest.mark.parametrize("lie", LIES)
def test_a_tar_that_lies_is_one_line(tmp_path, lie):
  (tmp_path / "0.tar").write_bytes(LIES[lie])
  with pytest.raises(UserError) as e:
    open_source(f"webdataset:{tmp_path}", None)
  assert "0.tar" in str(e.value) and "\n" not in str(e.value) and len(str(e.value)) < 500


def test_names_that_are_no_text(tmp_path):
  """The bytes of a name go into the digest as they are."""
  data = header(b"\xff\xfe.png", octal(len(picture()))) + BODY
  (tmp_path / "0.tar").write_bytes(data + header(b"\xff\xfe.cls", octal(2)) + b"n0".ljust(512, b"\0") + END)
  source = open_source(f"webdataset:{tmp_path}", LABELS)
  assert source.image(0).size == (8, 8) and len(source.digest) == 64
  with pytest.raises(UserError, match="fetch the tar again"):
    (tmp_path / "0.tar").write_bytes(data[:520])
    _ = type(source).digest.func(source)


@pytest.mark.parametrize("cls", ["²", "1" * 900, "-1", "0x0"])
def test_a_class_that_is_no_number_of_a_line(tmp_path, cls):
  data, text = picture(), cls.encode()
  (tmp_path / "classnames.txt").write_text("bee\n")
  with tarfile.open(tmp_path / "0.tar", "w") as tar:
    for name, body in {"a.png": data, "a.cls": text}.items():
      entry = tarfile.TarInfo(name)
      entry.size = len(body)
      tar.addfile(entry, io.BytesIO(body))
  with pytest.raises(UserError, match="is no line of its class names"):
    open_source(f"webdataset:{tmp_path}", LABELS)


@pytest.mark.parametrize("suffix", ["ppm", "pgm", "pnm"])
def test_netpbm(tmp_path, suffix):
  data = picture("PPM")
  with tarfile.open(tmp_path / "0.tar", "w") as tar:
    entry = tarfile.TarInfo(f"a.{suffix}")
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
  assert open_source(f"webdataset:{tmp_path}", None).image(0).size == (8, 8)


def test_what_a_sample_says_of_itself_nests_too_deep(tmp_path):
  with tarfile.open(tmp_path / "0.tar", "w") as tar:
    for name, body in {"a.png": picture(), "a.json": b"[" * 200_000}.items():
      entry = tarfile.TarInfo(name)
      entry.size = len(body)
      tar.addfile(entry, io.BytesIO(body))
  assert open_source(f"webdataset:{tmp_path}", None).about(0) == {}
