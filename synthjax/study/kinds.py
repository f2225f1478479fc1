"""The kinds of products, in the order in which a study makes them: of one kind after the other, each after its inputs."""

from __future__ import annotations

from synthjax.benchmark.product import Benchmark
from synthjax.products.base import Product
from synthjax.products.drawn_set import DrawnSet
from synthjax.products.features import RealEmbeddings, SetEmbeddings
from synthjax.products.imported_set import ImportedSet
from synthjax.products.keep import KeepList
from synthjax.products.learn import Learner
from synthjax.products.matrix import Matrix
from synthjax.products.prompt_list import PromptList
from synthjax.products.report import Report
from synthjax.products.train import Network
from synthjax.products.tune import Arm

KINDS: tuple[type[Product], ...] = (
  Network,
  PromptList,
  DrawnSet,
  ImportedSet,
  RealEmbeddings,
  SetEmbeddings,
  KeepList,
  Arm,
  Learner,
  Report,
  Matrix,
  Benchmark,
)
STAGES = tuple(  # in order
  dict.fromkeys(kind.stage for kind in KINDS)
)
ON_REQUEST = ("verify", "predict", "export")
