"""The published files of Inception and LPIPS become folders that are read as the same networks."""

import numpy as np
import pytest

from synthjax.runtime.errors import UserError
from synthjax.weights import metric_networks
from synthjax.weights.convert import convert, main
from tests.models.test_metric_networks import SHAPES, tensor

pytestmark = pytest.mark.parity


def published(torch, file, network, keep=lambda name: True):
  """As PyTorch saves a state dict."""
  tensors = {n: torch.tensor(tensor(n, s)) for n, s in SHAPES[network].items() if keep(n)}
  torch.save(tensors, file)
  return tensors


def is_lin(name: str) -> bool:
  return name.startswith("lin") and not name.startswith("lins")


def backbone(torch, file, network):
  """torchvision's file, whose classifier lies beside."""
  found = {
    "features." + name.split(".", 2)[2]: torch.tensor(tensor(name, shape))
    for name, shape in SHAPES[network].items()
    if name.startswith("net.")
  }
  torch.save(found | {"classifier.6.bias": torch.zeros(1000)}, file)
  return file


@pytest.mark.parametrize("network", ["alex", pytest.param("vgg", marks=pytest.mark.slow)])
def test_channels_and_torchvision_s_network_are_read_as_both_in_one(torch, tmp_path, network):
  published(torch, tmp_path / "whole.pth", f"lpips_{network}")
  published(torch, tmp_path / "lins.pth", f"lpips_{network}", is_lin)
  convert(tmp_path / "whole.pth", tmp_path / "whole")
  assert main([str(tmp_path / "lins.pth"), "--out", str(tmp_path / "two")]) == 2
  beside = backbone(torch, tmp_path / "torchvision.pth", f"lpips_{network}")
  convert(tmp_path / "lins.pth", tmp_path / "two", backbone=beside)
  whole, two = (metric_networks.read_lpips(tmp_path / f, network)["params"] for f in ("whole", "two"))
  assert whole.keys() == two.keys()
  for name, own in whole.items():
    for leaf, value in own.items() if isinstance(own, dict) else [("", own)]:
      np.testing.assert_array_equal(value, two[name][leaf] if leaf else two[name])
  assert [p.name for p in (tmp_path / "two").iterdir()] == [metric_networks.FILE]


def test_mistakes_are_one_line(torch, tmp_path, capsys):
  published(torch, tmp_path / "lins.pth", "lpips_alex", is_lin)
  line = [str(tmp_path / "lins.pth"), "--out", str(tmp_path / "out")]
  for more, why in (
    ([], "--backbone FILE takes torchvision's network"),
    (["--backbone", str(tmp_path / "gone")], "is no file; check its path"),
    (["--backbone", str(tmp_path / "lins.pth")], "holds neither torchvision's AlexNet nor its VGG-16"),
    (["--backbone", str(backbone(torch, tmp_path / "vgg.pth", "lpips_vgg"))], "is vgg, which these weights"),
  ):
    assert main([*line, *more]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert why in said and not (tmp_path / "out").exists()


@pytest.mark.slow  # 24 million weights
def test_inception_s_file_is_read(torch, tmp_path):
  tensors = published(torch, tmp_path / "inception.pth", "inception")
  tensors |= {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
  torch.save(tensors, tmp_path / "inception.pth")
  convert(tmp_path / "inception.pth", tmp_path / "out")
  found = metric_networks.read_inception(tmp_path / "out")["params"]["Conv2d_1a_3x3"]["conv"]["kernel"]
  theirs = tensors["Conv2d_1a_3x3.conv.weight"].numpy().transpose(2, 3, 1, 0)
  np.testing.assert_array_equal(found, theirs)


def test_what_is_run_by_a_pickle_is_not(torch, tmp_path):
  class Evil:
    def __reduce__(self):
      return (open, (str(tmp_path / "was run"), "w"))

  torch.save({"lin0.model.1.weight": torch.zeros(1), "x": Evil()}, tmp_path / "evil.pth")
  with pytest.raises(UserError, match="holds more than tensors"):
    convert(tmp_path / "evil.pth", tmp_path / "out")
  assert not (tmp_path / "was run").exists()
