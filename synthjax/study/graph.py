"""Which products a config asks for, and what a command makes of them."""

from __future__ import annotations

import dataclasses

from etils import epath
from ml_collections import ConfigDict

from synthjax.benchmark.product import Benchmark
from synthjax.data.sources import check_sources, label_space, open_real, open_source
from synthjax.labels.spaces import LabelSpace
from synthjax.products import learner_identity
from synthjax.products.bring import ImportedSet
from synthjax.products.embed import RealEmbeddings, SetEmbeddings, encoder_of
from synthjax.products.image_set import ImageSet
from synthjax.products.keep import KeepList
from synthjax.products.learn import Learner
from synthjax.products.matrix import Matrix
from synthjax.products.product import Product
from synthjax.products.prompts import PromptList
from synthjax.products.repeats import Second
from synthjax.products.report import Report
from synthjax.products.sample import DrawnSet
from synthjax.products.train import Network
from synthjax.products.tune import Arm
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of

STAGES = (
  "train",
  "prompts",
  "sample",
  "import",
  "embed",
  "keep",
  "tune",
  "learn",
  "report",
  "benchmark",
)  # in order
ON_REQUEST = ("verify", "predict", "export")


@dataclasses.dataclass(frozen=True)
class Study:
  """All products of a config, by kind."""

  networks: list[Network]
  lists: dict[str, PromptList]
  sets: dict[str, ImageSet]
  embeddings: list[SetEmbeddings | RealEmbeddings]
  keeps: list[KeepList]
  arms: list[Arm]
  learners: list[Learner]
  last: list[Product]  # the report, or the benchmark
  labels: LabelSpace | None = None  # of a benchmark or a matrix: none
  studies: dict[str, Study] = dataclasses.field(default_factory=dict)  # of a matrix, which makes nothing else
  notes: tuple[str, ...] = ()  # what is legal and still may be a mistake

  @property
  def titled(self) -> list[tuple[str, Product]]:
    """Each after what it is made from, under its folder below the workdir."""
    of_studies = [(f"{s}/{name}", p) for s, study in self.studies.items() for name, p in study.titled]
    made = (self.networks, self.lists.values(), self.sets.values(), self.embeddings, self.keeps, self.arms)
    own = [product for kind in (*made, self.learners) for product in kind] + self.last
    return of_studies + [(product.name, product) for product in own]

  @property
  def products(self) -> list[Product]:
    return [product for _, product in self.titled]


def design(config: ConfigDict, root: epath.Path, command: str = "") -> Study:
  """Everything the config asks for, and no more: a filter or an encoder that no arm uses makes nothing."""
  if config.benchmark.rounds:
    return Study([], {}, {}, [], [], [], [], [Benchmark(config, root)])
  if config.studies:
    return _design_matrix(config, root, command)
  labels = label_space(config.labels)
  networks: dict[str, Network] = {}
  for name in _in_order(config.networks):
    networks[name] = Network(config, root, name, labels, networks)
  of_list = {name: label_space(own.labels) if own.labels else labels for name, own in config.prompts.items()}
  lists = {name: PromptList(config, root, name, of_list[name]) for name in config.prompts}
  of_set = {
    name: labels if fields_of.is_imported(config, name) else of_list[own.prompts]
    for name, own in config.sets.items()
  }
  by_name = {network.name: network for network in networks.values()}
  sets: dict[str, ImageSet] = {
    name: ImportedSet(config, root, name, labels)
    if fields_of.is_imported(config, name)
    else DrawnSet(
      config,
      root,
      name,
      of_set[name],
      lists[own.prompts],
      by_name.get(fields_of.set_fields(config, name)["generator"].replace("network:", "networks/")),
    )
    for name, own in config.sets.items()
  }
  check_sources(config, labels, of_set)
  encoders = {name: encoder_of(config, root, name, labels) for name in config.encoders}
  sources = (
    {name: open_source(config.tests[name], labels) for name in config.tests}
    if config.arms or config.learners or "/" in config.export.images
    else {}
  )
  embeddings: dict[tuple[str, str], SetEmbeddings] = {}
  reals: dict[tuple[str, str], RealEmbeddings] = {}
  keeps: dict[tuple[str, str], KeepList] = {}

  def embedded(set_name: str, encoder: str) -> SetEmbeddings:
    if (set_name, encoder) not in embeddings:
      embeddings[set_name, encoder] = SetEmbeddings(config, root, sets[set_name], encoders[encoder])
    return embeddings[set_name, encoder]

  def real(name: str, encoder: str) -> RealEmbeddings:
    """Of a test, or of real images to learn from."""
    if (name, encoder) not in reals:
      source = sources[name] if name in sources else open_real(config, name, labels)
      reals[name, encoder] = RealEmbeddings(config, root, name, source, encoders[encoder])
    return reals[name, encoder]

  def kept(set_name: str, rule: str) -> KeepList:
    if (set_name, rule) not in keeps:
      judge, against = config.filters[rule].encoder, config.filters[rule].against
      second = config.filters[rule].second_encoder
      keeps[set_name, rule] = KeepList(
        config,
        root,
        rule,
        sets[set_name],
        embedded(set_name, judge),
        encoders[judge],
        real(against, judge) if against else None,
        Second(encoders[second], embedded(set_name, second), real(against, second) if against else None)
        if second
        else None,
      )
    return keeps[set_name, rule]

  def tested(encoder: str) -> dict[str, RealEmbeddings]:
    return {name: real(name, encoder) for name in config.tests}

  arms = []
  for name, own in config.arms.items():
    fields, (set_name, _, rule) = fields_of.arm_fields(config, name), own.images.partition("/")
    encoder = fields["encoder"]
    arms.append(
      Arm(
        config,
        root,
        name,
        encoders[encoder],
        tested(encoder),
        sets.get(set_name),
        embedded(set_name, encoder) if set_name else None,
        kept(set_name, rule) if rule else None,
        *(real(fields[f], encoder) if fields[f] else None for f in ("real", "validation")),
      )
    )
  if arms and len(labels) < 2:
    raise UserError(f"config.labels has {len(labels)} class; a classifier needs two")
  for name in dict.fromkeys(
    [e for k in keeps.values() for e in k.encoder_names] + [a.encoder_name for a in arms]
  ):
    encoders[name].check()  # now, and not after a night of sampling
  for one in arms:
    one.check()
  set_name, _, rule = config.export.images.partition("/")
  if rule:
    kept(set_name, rule)
  learners: dict[str, Learner] = {}
  for name in _begun_first(config):
    set_name, _, rule = config.learners[name].images.partition("/")
    begin = fields_of.learner_fields(config, name)["init"].partition("learner:")[2]
    learners[name] = Learner(
      config,
      root,
      name,
      of_set.get(set_name, labels),
      labels,
      sources,
      sets.get(set_name),
      kept(set_name, rule) if rule else None,
      learners.get(begin),
    )
  made = [*reals.values(), *embeddings.values()], list(keeps.values())
  study = Study(
    list(networks.values()),
    lists,
    sets,
    *made,
    arms,
    list(learners.values()),
    [],
    labels,
    notes=(*labels.notes(), *learner_identity.notes(config)),
  )
  if arms or any(learner.tests for learner in learners.values()):
    study.last.append(Report(config, root, labels, study.products, command))
  return study


def _design_matrix(config: ConfigDict, root: epath.Path, command: str) -> Study:
  """The studies one after the other, each below the workdir as if it had been run there alone, and their table."""
  studies = {}
  for name, own in config.studies.items():
    try:
      studies[name] = design(own, root / name, command)
    except UserError as e:
      raise UserError(f"study {name}: {e}") from None
  notes = tuple(f"{name}: {note}" for name, study in studies.items() for note in study.notes)
  matrix = Matrix(config, root, {name: study.arms for name, study in studies.items()}, command)
  return Study([], {}, {}, [], [], [], [], [matrix], studies=studies, notes=notes)


def _in_order(networks: ConfigDict) -> list[str]:
  """A network comes after those that it works on or begins with."""
  order = list(networks)
  for name in networks:
    for other in (networks[name][field] for field in fields_of.OF_NETWORKS):
      if other in order and order.index(other) > order.index(name):
        order.remove(other)
        order.insert(order.index(name), other)
  return order


def _begun_first(config: ConfigDict) -> list[str]:
  """Learners, each after the one that it begins with."""
  order: list[str] = []

  def add(name: str) -> None:
    scheme, _, before = fields_of.learner_fields(config, name)["init"].partition(":")
    if scheme == "learner":
      add(before)
    if name not in order:
      order.append(name)

  for name in config.learners:
    add(name)
  return order
