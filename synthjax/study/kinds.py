"""The kinds of products, in the order in which a study makes them: of one kind after the other, each after its inputs."""

from __future__ import annotations

from synthjax.benchmark.bookkeeping import Bookkeeping
from synthjax.benchmark.product import Benchmark
from synthjax.products.arm import Arm
from synthjax.products.asked_list import AskedList
from synthjax.products.base import Product
from synthjax.products.captioned_list import CaptionedList
from synthjax.products.features import RealEmbeddings, SetEmbeddings
from synthjax.products.imported_set import ImportedSet
from synthjax.products.keep_list import KeepList
from synthjax.products.learner import Learner
from synthjax.products.matrix import Matrix
from synthjax.products.meanings_list import MeaningsList
from synthjax.products.mixed_list import MixedList
from synthjax.products.network import Network
from synthjax.products.prompt_list import PromptList
from synthjax.products.report import Report
from synthjax.products.sampled_set import SampledSet
from synthjax.products.scaling import Scaling
from synthjax.products.set_metrics import SetMetrics

KINDS: tuple[type[Product], ...] = (
  Network,
  PromptList,
  MeaningsList,
  CaptionedList,
  AskedList,
  MixedList,
  SampledSet,
  ImportedSet,
  RealEmbeddings,
  SetEmbeddings,
  KeepList,
  SetMetrics,
  Arm,
  Learner,
  Report,
  Scaling,
  Matrix,
  Benchmark,
  Bookkeeping,
)
STAGES = tuple(dict.fromkeys(kind.stage for kind in KINDS))
ON_REQUEST = ("verify", "predict", "export")
