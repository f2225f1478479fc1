"""Encoders x data sets x {zero-shot, tuned on set X}, beside the numbers of He et al. (2023, Tables 1 and 2).

    python -m synthjax.main --config configs/zero_shot_matrix.py --workdir runs/zero_shot
    python -m synthjax.main --config configs/zero_shot_matrix.py:cifar10,eurosat --workdir runs/zero_shot

The paper's 17 data sets, or those named; each is configs/zero_shot.py's study in a folder of its own, which may as well
have been run alone, before or elsewhere. Cells that are there stay; copies of the command, on one host or many with a
disk in common, share what is missing. `matrix.csv` and `report/index.html` grow cell by cell.

Weights and test images: as in configs/zero_shot.py; weights are fetched once for all studies. `--stages prompts` first has
all sentences written before the generator is read: otherwise the two take turns in memory, study by study. `--plan`
says in seconds which test images are not there. What all studies have in common is set once, as
--config.sampling.images_per_class=800 or --config.prompts.LE.writer=t5:FOLDER; what one has, as
--config.studies.eurosat.tests.eurosat=folder:PATH or --config.studies.eurosat.prompts.LE.writer=file:PATH.

Not run at full size here. One H100, by estimate: 4,000 images of each of the 17 sets' 4,356 classes take 42 days at the
4.8 images/s that configs/benchmark.py aims at; 200 of each (--config.sampling.images_per_class=100
--config.filters.CF.kept_per_class=80) 2.1 days, and as many hosts as share the disk divide that.
"""

import importlib.util
from pathlib import Path

from synthjax.config import matrix


def get_config(arg: str = ""):
  zero_shot = _beside("zero_shot.py")
  names = arg.split(",") if arg else zero_shot.DATASETS
  return matrix({name: zero_shot.get_config(name) for name in names})


def _beside(name: str):
  """A config is a file, not a module of a package."""
  spec = importlib.util.spec_from_file_location(Path(name).stem, Path(__file__).parent / name)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module
