"""At run time there is no PyTorch: every module is imported, and a study drawn, where `import torch` fails."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
# What reads what PyTorch wrote, and what times it beside us: both on request alone.
_OF_TORCH = ("synthjax.weights.convert", "synthjax.benchmark.pytorch")

_PROGRAM = """
import importlib, pkgutil, sys
from importlib.machinery import PathFinder

class NoTorch:
  # What an environment without them answers.
  find_distributions = staticmethod(PathFinder.find_distributions)

  def find_spec(self, name, path=None, target=None):
    gone = name.split(".")[0] in ("torch", "tensorflow", "torchvision")
    return None if gone else PathFinder.find_spec(name, path, target)

sys.meta_path = [NoTorch() if finder is PathFinder else finder for finder in sys.meta_path]
import synthjax
for module in pkgutil.walk_packages(synthjax.__path__, "synthjax."):
  if module.name not in OF_TORCH:
    importlib.import_module(module.name)
from synthjax.main import main
code = main(ARGV)
assert not {"torch", "tensorflow"} & sys.modules.keys()
sys.exit(code)
"""


def test_without_torch(small, tmp_path):
  config = tmp_path / "study.py"
  (tmp_path / "config.yaml").write_text(small(tmp_path, images_per_class=1).to_yaml())
  config.write_text(
    "import yaml\nfrom ml_collections import ConfigDict\n"
    f"def get_config(arg=''):\n  return ConfigDict(yaml.unsafe_load(open({str(tmp_path / 'config.yaml')!r})))\n"
  )
  argv = ["--config", str(config), "--workdir", str(tmp_path / "W")]
  argv.append("--config.runtime.compile_cache=")
  program = _PROGRAM.replace("OF_TORCH", repr(_OF_TORCH)).replace("ARGV", repr(argv))
  done = subprocess.run(
    [sys.executable, "-c", program],
    env=os.environ | {"PYTHONPATH": str(ROOT)},
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "W/images/B/manifest.json").exists()
