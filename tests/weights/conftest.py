"""What tests of weights share."""

import pytest


@pytest.fixture
def words(tmp_path):
  """A tokenizer's files."""
  folder = tmp_path / "words"
  folder.mkdir()
  (folder / "vocab.json").write_text("{}")
  (folder / "merges.txt").write_text("#version: 0.2\n")
  return folder
