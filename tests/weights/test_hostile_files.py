"""Nothing that a file of weights holds is run, and an archive's tensors stay inside their storage."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from synthjax.runtime.errors import UserError
from synthjax.weights import archive
from synthjax.weights.convert import main

pytestmark = pytest.mark.parity


class Boom:
  def __init__(self, file):
    self.file = file

  def __reduce__(self):
    return os.system, (f"touch {self.file}",)


def zipped(file, pickled, **more):
  with zipfile.ZipFile(file, "w") as opened:
    for name, body in {"data.pkl": pickled, "constants.pkl": b"", **more}.items():
      opened.writestr(f"archive/{name}", body)
  return file


def a_pickle(tmp_path, ran):
  (tmp_path / "model.ckpt").write_bytes(pickle.dumps({"state_dict": Boom(ran)}, 2))
  return tmp_path / "model.ckpt"


def a_zip_of_pytorchs(tmp_path, ran):
  import torch

  torch.save({"state_dict": Boom(ran)}, tmp_path / "model.ckpt")
  return tmp_path / "model.ckpt"


def a_folder(tmp_path, ran):
  (tmp_path / "folder" / "unet").mkdir(parents=True)
  (tmp_path / "folder/unet/diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Boom(ran), 2))
  return tmp_path / "folder"


def an_archive(tmp_path, ran):
  return zipped(tmp_path / "model.pt", pickle.dumps(Boom(ran), 2))


def an_archive_by_stack_global(tmp_path, ran):
  return zipped(tmp_path / "model.pt", pickle.dumps(Boom(ran), 5))


def an_archive_with_a_class_of_its_own(tmp_path, ran):
  """`__torch__` names containers; a module of that name is never imported."""
  (tmp_path / "__torch__.py").write_text(f"open({str(ran)!r}, 'w')\ndef M(): pass\n")
  return zipped(tmp_path / "model.pt", b"\x80\x02c__torch__\nM\n)\x81}(X\x01\x00\x00\x00acos\nsystem\nub.")


@pytest.mark.parametrize(
  "make",
  [
    a_pickle,
    a_zip_of_pytorchs,
    a_folder,
    an_archive,
    an_archive_by_stack_global,
    an_archive_with_a_class_of_its_own,
  ],
)
def test_nothing_that_a_file_holds_is_run(torch, tmp_path, words, make, capsys, monkeypatch):
  monkeypatch.syspath_prepend(str(tmp_path))
  ran = tmp_path / "ran"
  source = make(tmp_path, ran)
  assert main([str(source), "--out", str(tmp_path / "out"), "--tokenizer", str(words)]) == 2
  said = capsys.readouterr().err
  assert "nothing of it was run" in said and said.count("\n") == 1 and "system" in said
  assert not ran.exists() and not (tmp_path / "out").exists()
  assert sorted(p.name for p in tmp_path.glob(".*")) == []  # no draft is left


def test_an_archive_that_reaches_out_of_its_storage(torch, tmp_path):
  class Out:
    def __init__(self, shape, stride, count):
      self.how = shape, stride, count

  storage = object()

  def tensor(offset, shape, stride, count=4):
    body = io.BytesIO()

    class Pickler(pickle.Pickler):
      def persistent_id(self, value):
        return ("storage", torch.FloatStorage, "0", "cpu", count) if value is storage else None

      def reducer_override(self, value):
        if isinstance(value, Out):
          return torch._utils._rebuild_tensor_v2, (storage, offset, shape, stride, False, None)
        return NotImplemented

    Pickler(body, 2).dump(Out(shape, stride, count))
    return zipped(tmp_path / "a.pt", body.getvalue(), **{"data/0": np.arange(4, dtype=np.float32).tobytes()})

  np.testing.assert_array_equal(archive.read_archive(tensor(0, (2, 2), (1, 2)))[""], [[0, 2], [1, 3]])
  for offset, shape, stride, count in (
    (1, (2, 2), (1, 2), 4),
    (0, (2,), (-1,), 4),
    (0, (5,), (1,), 5),
    (-1, (1,), (1,), 4),
  ):
    with pytest.raises(UserError, match="which no file of tensors needs"):
      archive.read_archive(tensor(offset, shape, stride, count))
