"""What the converter is given and cannot write down: a line that names the tensor or the file, and nothing half-written."""

import json
import os
import zipfile

import numpy as np
import pytest

from synthjax.runtime.errors import UserError
from synthjax.weights import read
from synthjax.weights.convert import main
from synthjax.weights.image_networks import read_torch

pytestmark = pytest.mark.parity
BIN = "diffusion_pytorch_model.bin"


def refused(capsys, source, tmp_path, *said, tokenizer=()) -> None:
  """The command, as it is typed."""
  assert main([str(source), "--out", str(tmp_path / "out"), *tokenizer]) == 2
  line = capsys.readouterr().err
  assert line.count("\n") == 1 and all(s in line for s in said), line
  assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


TENSORS = {
  "is sparse": lambda torch: torch.eye(4).to_sparse(),
  "is quantised": lambda torch: torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
  "is on the device 'meta'": lambda torch: torch.empty(4, device="meta"),
  "claims 4,000,000,000 bytes, 16 of which are stored": lambda torch: torch.ones(4)[:1].expand(10**9),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("why", TENSORS)
def test_a_tensor_whose_numbers_are_not_in_the_file(torch, tmp_path, capsys, why):
  (tmp_path / "in").mkdir()
  torch.save({"good": torch.ones(2), "odd": TENSORS[why](torch)}, tmp_path / "in" / BIN)
  refused(capsys, tmp_path / "in", tmp_path, "'odd'", BIN, why)


@pytest.mark.parametrize(
  "index",
  [{"weight_map": ["a"]}, {}, {"weight_map": {"a": 3}}, {"weight_map": {"a": f"/etc/{BIN}"}}]
  + [{"weight_map": {"a": name}} for name in (f"../{BIN}", "diffusion_pytorch_model-00002-of-00002.bin", "")],
)
def test_an_index_that_names_no_files_beside_it(torch, tmp_path, capsys, index):
  (tmp_path / "in").mkdir()
  torch.save({"a": torch.ones(2)}, tmp_path / "in" / BIN)
  torch.save({"a": torch.ones(2)}, tmp_path / BIN)
  (tmp_path / "in" / f"{BIN}.index.json").write_text(json.dumps(index))
  refused(capsys, tmp_path / "in", tmp_path, "index.json")


def test_a_single_file_of_shapes_that_no_network_has(torch, tmp_path, words, capsys):
  first = "model.diffusion_model.input_blocks.0.0.weight"
  torch.save({first: torch.ones(()), "first_stage_model.a": torch.ones(1)}, tmp_path / "a.ckpt")
  refused(capsys, tmp_path / "a.ckpt", tmp_path, "a.ckpt", tokenizer=["--tokenizer", str(words)])


def test_a_source_that_is_no_file(torch, tmp_path, words, capsys):
  os.mkfifo(tmp_path / "a.safetensors")
  refused(capsys, tmp_path / "a.safetensors", tmp_path, "a.safetensors", "a FIFO")
  with zipfile.ZipFile(tmp_path / "a.ckpt", "w") as made:
    made.writestr("a/data.pkl", b"x" * 500)
  data = (tmp_path / "a.ckpt").read_bytes()
  (tmp_path / "a.ckpt").write_bytes(data.replace(b"PK\x01\x02", b"PK\x09\x09"))
  refused(capsys, tmp_path / "a.ckpt", tmp_path, "a.ckpt")


def safetensors(header: dict | bytes, body: bytes = b"", length: int | None = None) -> bytes:
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def claim(shape, dtype="F32", end=16):
  return {"fc.weight": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


@pytest.mark.parametrize(
  "data",
  [
    safetensors(claim([10**9]), bytes(16)),
    safetensors(claim([10**9], end=4 * 10**9), bytes(16)),
    safetensors(claim([2**62, 2**62]), bytes(16)),
    safetensors(claim([-1]), bytes(16)),
    safetensors(claim([4]), bytes(16), length=2**63),
    safetensors(claim([4]), bytes(16), length=10**6),
    safetensors(b"[" * 10**5),
    safetensors(b"\xff" * 100),
    b"",
  ],
)
def test_safetensors_that_lie(torch, tmp_path, words, capsys, data):
  (tmp_path / "model.safetensors").write_bytes(data)
  with pytest.raises(UserError, match=r"model.safetensors is truncated or no safetensors file"):
    read_torch(tmp_path, {"params": {"head": {"kernel": np.zeros((4, 2))}}})
  how = ["--tokenizer", str(words)]
  refused(capsys, tmp_path / "model.safetensors", tmp_path, "model.safetensors", tokenizer=how)


def test_a_fifo_among_weights(torch, tmp_path):
  os.mkfifo(tmp_path / "model.safetensors")
  os.mkfifo(tmp_path / "config.json")
  for action in (
    lambda: read.read_json(tmp_path / "config.json"),
    lambda: read.open_tensors(tmp_path / "model.safetensors"),
    lambda: read.folder_digest(tmp_path, (".",)),
  ):
    with pytest.raises(UserError, match=r"a FIFO|a pipe"):
      action()
