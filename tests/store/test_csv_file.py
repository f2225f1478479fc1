"""No cell of a CSV is a formula where a spreadsheet opens it, and numbers stay numbers."""

import csv
import io

import pytest

from synthjax.store import csv_file


def read(data: bytes) -> list[list[str]]:
  return list(csv.reader(io.StringIO(data.decode(errors="surrogateescape"), newline="")))


@pytest.mark.parametrize(
  "text", ["=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")', "-1.png", "+inf x"]
)
def test_a_text_that_would_be_a_formula_is_none(text):
  assert read(csv_file.to_bytes(["a", "b"], [[text, 1]])) == [["a", "b"], [f"'{text}", "1"]]


@pytest.mark.parametrize("value", [-1, -0.5, "-0.1234", "+3", "-1e-05", "-inf", "a=b", "ant", "0-1", ""])
def test_numbers_and_plain_texts_stay_as_they_are(value):
  assert read(csv_file.to_bytes(["a"], [[value, "x"]]))[1][0] == str(value)


def test_names_of_files_keep_their_bytes():
  assert csv_file.to_bytes(["file"], [["a\udcff.png"]]) == b"file\na\xff.png\n"
  assert csv_file.to_bytes(["file"], [["a"]], line_end="\r\n") == b"file\r\na\r\n"
