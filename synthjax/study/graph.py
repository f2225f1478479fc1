"""Which products a config asks for, and what a command makes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from etils import epath

from synthjax.benchmark.product import Benchmark
from synthjax.data.sources import check_sources, label_space, open_real, open_source
from synthjax.encoders.encoder import encoder_of
from synthjax.labels.spaces import LabelSpace
from synthjax.products.bring import ImportedSet
from synthjax.products.derived_page import DerivedPage
from synthjax.products.embed import RealEmbeddings, SetEmbeddings
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
from synthjax.spec.config import Config
from synthjax.spec.fields import OF_NETWORKS
from synthjax.spec.fields import Network as NetworkSpec
from synthjax.spec.references import ImagesRef
from synthjax.spec.study import DrawnSet as DrawnSetSpec
from synthjax.spec.study import StudySpec, resolve
from synthjax.study import notes

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

  spec: StudySpec
  networks: list[Network]
  lists: dict[str, PromptList]
  sets: dict[str, ImageSet]
  embeddings: list[SetEmbeddings | RealEmbeddings]
  keeps: list[KeepList]
  arms: list[Arm]
  learners: list[Learner]
  benchmark: Benchmark | None = None
  page: DerivedPage | None = None  # the report, or the matrix
  labels: LabelSpace | None = None  # of a benchmark or a matrix: none
  studies: dict[str, Study] = dataclasses.field(default_factory=dict)  # of a matrix, which makes nothing else
  notes: tuple[str, ...] = ()  # what is legal and still may be a mistake

  @property
  def titled(self) -> list[tuple[str, Product]]:
    """Each after what it is made from, under its folder below the workdir."""
    of_studies = [(f"{s}/{name}", p) for s, study in self.studies.items() for name, p in study.titled]
    made = (self.networks, self.lists.values(), self.sets.values(), self.embeddings, self.keeps, self.arms)
    last = filter(None, (self.benchmark, self.page))
    own: list[Product] = [*(product for kind in (*made, self.learners) for product in kind), *last]
    return of_studies + [(product.name, product) for product in own]

  @property
  def products(self) -> list[Product]:
    return [product for _, product in self.titled]

  @property
  def each(self) -> list[Study]:
    """Of a matrix its studies, then it; else this one alone."""
    return [*self.studies.values(), self]


def design(config: Config, root: epath.Path, command: str = "") -> Study:
  """Everything the config asks for, and no more: a filter or an encoder that no arm uses makes nothing."""
  return _design(resolve(config), root, command)


def _design(config: StudySpec, root: epath.Path, command: str) -> Study:
  if config.benchmark.rounds:
    return Study(config, [], {}, {}, [], [], [], [], benchmark=Benchmark(config, root))
  if config.studies:
    return _design_matrix(config, root, command)
  labels = label_space(config.labels)
  networks: dict[str, Network] = {}
  for name in _in_order(config.networks):
    networks[name] = Network(config, root, name, labels, networks)
  of_list = {name: label_space(own.labels) if own.labels else labels for name, own in config.prompts.items()}
  lists = {name: PromptList(config, root, name, of_list[name]) for name in config.prompts}
  of_set = {
    name: of_list[own.prompts] if isinstance(own, DrawnSetSpec) else labels
    for name, own in config.sets.items()
  }
  sets: dict[str, ImageSet] = {
    name: DrawnSet(config, root, name, of_set[name], lists[own.prompts], networks.get(own.network))
    if isinstance(own, DrawnSetSpec)
    else ImportedSet(config, root, name, labels)
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
      source = sources[name] if name in sources else open_real(config.real[name], labels)
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
    encoder, set_name, rule = own.encoder, own.images.set, own.images.filter
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
        *(real(of, encoder) if of else None for of in (own.real, own.validation)),
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
  if (exported := ImagesRef.parse(config.export.images)).filter:
    kept(exported.set, exported.filter)
  learners: dict[str, Learner] = {}
  for name in _begun_first(config):
    own = config.learners[name]
    set_name, rule = own.images.set, own.images.filter
    learners[name] = Learner(
      config,
      root,
      name,
      of_set.get(set_name, labels),
      labels,
      sources,
      sets.get(set_name),
      kept(set_name, rule) if rule else None,
      learners.get(own.begins_with),
    )
  made = [*reals.values(), *embeddings.values()], list(keeps.values())
  study = Study(
    config,
    list(networks.values()),
    lists,
    sets,
    *made,
    arms,
    list(learners.values()),
    labels=labels,
    notes=(*labels.notes(), *notes.learners(config)),
  )
  if not (sets or arms or learners):  # networks and prompt lists alone: there is nothing to look at
    return study
  return dataclasses.replace(study, page=Report(config, root, labels, study.products, command))


def _design_matrix(config: StudySpec, root: epath.Path, command: str) -> Study:
  """The studies one after the other, each below the workdir as if it had been run there alone, and their table."""
  studies = {}
  for name, own in config.studies.items():
    try:
      studies[name] = _design(own, root / name, command)
    except UserError as e:
      raise UserError(f"study {name}: {e}") from None
  notes = tuple(f"{name}: {note}" for name, study in studies.items() for note in study.notes)
  matrix = Matrix(config, root, {name: study.arms for name, study in studies.items()}, command)
  return Study(config, [], {}, {}, [], [], [], [], page=matrix, studies=studies, notes=notes)


def _in_order(networks: Mapping[str, NetworkSpec]) -> list[str]:
  """A network comes after those that it works on or begins with."""
  order = list(networks)
  for name in networks:
    for other in (getattr(networks[name], field) for field in OF_NETWORKS):
      if other in order and order.index(other) > order.index(name):
        order.remove(other)
        order.insert(order.index(name), other)
  return order


def _begun_first(config: StudySpec) -> list[str]:
  """Learners, each after the one that it begins with."""
  order: list[str] = []

  def add(name: str) -> None:
    if before := config.learners[name].begins_with:
      add(before)
    if name not in order:
      order.append(name)

  for name in config.learners:
    add(name)
  return order
