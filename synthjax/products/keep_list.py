"""Stage keep: what a filter keeps of an image set, as `keep/<set>/<filter>-<encoder>`; it draws more where too few stay.

    ids.txt         image ids that stay, in plan order
    pairs.csv       of rules unlike and real: what was left out, and the image that speaks against it; pairs.png shows some
    scores.npz      of every image looked at: id, label, score, whether it stays
    summary.json    by class: drawn, passed, kept, and how many of these only fill the quota up

They are published as one thing (store/kept.py). A filter sees the first images of each class, whoever had them drawn:
at first as many as the set is asked for, then, with a quota, more by rounds for the classes that fall short. How many a
round adds follows from the scores of those before it alone; what is not drawn yet is asked for. So other filters, other
quotas tried in between, and kills change nothing about a list.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, TypeVar

import numpy as np
from etils import epath

from synthjax.disk import snapshot
from synthjax.disk.checksums import Fault
from synthjax.encoders.encoder import Encoder
from synthjax.filters import verification
from synthjax.filters.choose import Choice
from synthjax.filters.filtering import Filtering
from synthjax.filters.registry import RULES
from synthjax.filters.rule import Memory, NeedsMemory, View
from synthjax.filters.scored_images import ScoredImages
from synthjax.filters.scoring import Scoring
from synthjax.pages import contact_sheet, scores
from synthjax.pages import inputs as pages
from synthjax.pages.inputs import About, Asked, Counts
from synthjax.products.base import DONE, MISSING, STALE, Product, Status, Study, status_or_refusal
from synthjax.products.features import RealEmbeddings, SetEmbeddings
from synthjax.products.image_set import ImageSet
from synthjax.runtime import devices, residents
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec.group import Kind
from synthjax.spec.references import ImagesRef
from synthjax.spec.study import StudySpec
from synthjax.store import kept as lists
from synthjax.store import kept_dataset, records
from synthjax.store.claims import Owner
from synthjax.store.kept import CLAIM as _CLAIM
from synthjax.store.kept import PAIRS_SHEET, Kept
from synthjax.store.plan import Plan

_OLDER_RULE = (
  "an older release chose among other images, since those sampled for other filters or quotas counted too; "
  "the list is made again"
)
_LARGE = 1e9  # bytes that are worth a word
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Encoded:
  """What an encoder of a filter makes of the set, and of the images that the filter compares it with."""

  encoder: Encoder
  embeddings: SetEmbeddings
  against: RealEmbeddings | None = None


class KeepList(Product):
  stage, uses = "keep", (residents.GENERATOR, residents.ENCODER)

  def __init__(
    self, config: StudySpec, root: epath.Path, name: str, image_set: ImageSet, encoded: Sequence[Encoded]
  ):
    set_name, first = image_set.set_name, encoded[0]
    self.filter, self.set_name, self.encoder_name = name, set_name, first.encoder.name
    self.encoder_names = [one.encoder.name for one in encoded]
    self.name = f"keep/{set_name}/{name}-{self.encoder_name}"
    self._folder = root / "keep" / set_name / f"{name}-{self.encoder_name}"
    products = (p for one in encoded for p in (one.embeddings, one.against) if p is not None)
    self.inputs = (image_set, *products)
    self._set, self._labels, self._runtime = image_set, first.encoder.labels, config.runtime
    self._embeddings, self._encoders = [one.embeddings for one in encoded], [one.encoder for one in encoded]
    self._fields = config.filters[name]
    self._rule = RULES[self._fields.rule](self._fields, [View(one.encoder, one.against) for one in encoded])
    self.rule, self.quota = self._fields.rule, self._fields.kept_per_class
    self._last_older: tuple[tuple[Any, ...], bool] | None = None

  @classmethod
  def wanted(cls, spec: StudySpec) -> Iterable[tuple[str, ...]]:
    """Arms and learners ask for theirs."""
    exported = ImagesRef.parse(spec.export.images)
    return [(exported.set, exported.filter)] if exported.filter else []

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    set_name, name = key
    own, image_set = study.spec.filters[name], study.get(ImageSet, set_name)
    encoded = [
      Encoded(
        study.encoder(encoder),
        study.get(SetEmbeddings, set_name, encoder),
        study.get(RealEmbeddings, own.against, encoder) if own.against else None,
      )
      for encoder in RULES.find(own.rule, f"config.filters.{name}.rule").encoders(own)
    ]
    return cls(study.spec, study.root, name, image_set, encoded)

  def check(self) -> None:
    for encoder in self._encoders:
      encoder.check()  # now, and not after a night of sampling

  def check_devices(self) -> None:
    if (
      devices.platform() != "cpu" and status_or_refusal(self).state != DONE
    ):  # to ask costs the devices a compilation
      self._needed_memory()

  def _needed_memory(self) -> tuple[int, Memory]:
    """(the most images that it may see, what scoring them takes), refused where a device has less."""
    seen = max(self._set.asked, self._filtering.most if self._set.draws_more else 0) * len(self._labels)
    if not isinstance(self._rule, NeedsMemory) or any(True for e in self._encoders for _ in e.to_fetch()):
      return seen, Memory(0, 0)  # little, or not known before weights are there
    needed = self._rule.memory(seen)
    limit = devices.memory_limit(self._runtime.device_memory_gb)
    if needed.device > limit:
      raise UserError(
        f"{self.name}: rule {self.rule} needs {needed.device / 1e9:.1f} GB of each device, and there are {limit / 1e9:.1f} GB; "
        "raise config.runtime.device_memory_gb, or run stage keep on CPUs (JAX_PLATFORMS=cpu)"
      )
    return seen, needed

  def _memory(self) -> str:
    seen, needed = self._needed_memory()
    if max(needed.host, needed.device) < _LARGE:
      return ""
    free, of_devices = devices.host_memory_free(), ""
    if needed.device:
      of_devices = f" and {needed.device / 1e9:.1f} GB of each device's"
    fits = "" if needed.host <= free else f"; only {free / 1e9:.1f} GB of the host's are free now"
    return f"needs {needed.host / 1e9:.1f} GB of the host's{of_devices} for at most {seen:,} images{fits}"

  def _record(self, growth: dict[str, Any] | None = None) -> records.Record:
    inputs = {self._set.name: self._set.identity_hash()}
    return records.Record(
      self.name, self._rule.identity() | RULES.identity(self.rule), growth=growth or {}, inputs=inputs
    )

  @property
  def _asks_as(self) -> str:
    """What the images that are drawn for this filter are marked by; a quota follows."""
    return f"{self.filter}-{self.encoder_name} "

  @property
  def _basis(self) -> dict[str, Any]:
    """What the list on disk must have been made for."""
    growth = self._fields.of_kind(Kind.GROWTH)
    return growth | {"images_per_class": self._set.asked}

  @property
  def _filtering(self) -> Filtering:
    return Filtering(self._rule, self._fields, len(self._labels), self._set.asked, self._set.draws_more)

  def _chosen(self, scores: np.ndarray, labels: np.ndarray) -> Choice:
    return self._filtering.choose(scores, labels)

  # --- what is there -----------------------------------------------------------------------------

  def _read(self, what: Callable[[Kept], _T]) -> _T:
    return lists.read(self.folder, self.name, what)

  def _is_written(self, kept: Kept) -> bool:
    """The data set of its own, where one is wanted."""
    return not self._fields.write or kept_dataset.is_written(self.folder, kept)

  def _status(self) -> Status:
    found = self._status_of_list()
    return found if found.state == DONE else dataclasses.replace(found, memory=self._memory)

  def _status_without(self) -> Status:
    return Status(MISSING, 0, self.quota * len(self._labels))

  def _status_of_list(self) -> Status:
    want = self.quota * len(self._labels)
    drawn = self._set.status()
    if drawn.have == 0:
      return Status(MISSING, 0, want)
    records.compare(self.folder, self._record())
    if lists.held(self.folder) is None:
      return Status(MISSING, 0, want)
    kept, summary = self._read(lambda kept: (kept, kept.summary()))
    n = sum(row["kept"] for row in summary["classes"])
    if not self._is_for_config(summary):
      return Status(STALE, n, max(want, n))
    if not self._is_by_prefix(kept):
      return Status(STALE, n, max(want, n), why=_OLDER_RULE)
    if self._set.need(max(row["drawn"] for row in summary["classes"])):
      drawn = self._set.status()
    done = drawn.state == DONE and self._is_written(kept)
    return Status(DONE if done else STALE, n, n if done else max(want, n))

  def _is_for_config(self, summary: dict[str, Any]) -> bool:
    return {k: v for k, v in summary["basis"].items() if k != "drawn_for_it"} == self._basis

  def _is_by_prefix(self, kept: Kept) -> bool:
    """Whether a list is what the first images of each class give; that of an older release need not be."""
    if kept.name:
      return True
    plan, _ = self._set.requested()
    key = kept.summary(), plan.segments
    if self._last_older is None or self._last_older[0] != key:
      self._last_older = key, self._filtering.is_replayed(kept.arrays(), plan, self._asks_as)
    return self._last_older[1]

  # --- making it ---------------------------------------------------------------------------------

  def make(self, stop: Stop) -> bool:
    if self.status().state == DONE:
      lists.show(self.folder)
      return True
    scoring = Scoring(self._rule)
    while all(needed.make(stop) for needed in self.inputs):
      stop.check()
      records.settle(self.folder, self._record())
      with self.claimed(_CLAIM, stop) as owner:
        if owner is None:
          return False
        if self.status().state == DONE or self._choose(owner, scoring):  # another may have just finished it
          return True
    return False

  def _choose(self, owner: Owner, scoring: Scoring) -> bool:
    """True: the list is published. False: more images have been asked for, by this process or another; or the claim is lost."""
    plan, needed = self._set.requested()  # one look: another process may be adding a round
    if not all(embeddings.has(needed) for embeddings in self._embeddings):
      return False  # it has: those images come first
    embedded = [embeddings.embedded(needed) for embeddings in self._embeddings]
    reach, scored = self._filtering.score(self._set.folder, embedded, scoring)
    if scored is None:
      self._ask(plan, reach[-1])
      return False
    return self._publish(owner, scored, len(reach) - 1)

  def _ask(self, plan: Plan, reach: np.ndarray) -> None:
    """For the images of each class up to there that no one has asked for yet."""
    planned = np.sum([segment.counts for segment in plan.segments], axis=0)
    more = np.maximum(reach - planned, 0)
    if not more.any():  # they are planned, and were not needed until now
      self._set.need(int(reach.max()))
      return
    if devices.is_main_process():
      print(f"{self.name}: round {len(plan.segments)} samples {more.sum()} more images", file=sys.stderr)
    self._set.top_up(more.tolist(), len(plan.segments), f"{self._asks_as}{self.quota} a class")

  def _publish(self, owner: Owner, scored: ScoredImages, rounds: int) -> bool:
    """False: another process has taken over, and nothing of this one's work holds."""
    summary = {"basis": self._basis, "threshold": self._rule.threshold, "rounds": rounds}
    summary |= scored.summary(self._labels.ids)
    files = scored.files(summary)
    if scored.evidence:
      files[PAIRS_SHEET] = contact_sheet.render(scored.evidence.sheet(), self.name)
    name = lists.lay_down(self.folder, files)
    if not owner.holds(_CLAIM):
      return False
    lists.publish(self.folder, self._record(self._basis), name)
    lists.sweep(self.folder)
    lists.show(self.folder)
    kept = Kept(self.folder / lists.LISTS / name, name)
    if self._fields.write and owner.holds(_CLAIM):
      name, places = f"{self.set_name}_{self.filter}", scored.staying().tolist()
      kept_dataset.write(self.folder, kept, name, self._set.folder, places, self._labels.ids)
    if devices.is_main_process():
      for line in scored.lines(self.name, summary, self._rule.found(summary), self.quota):
        print(line, file=sys.stderr)
    return lists.held(self.folder) == kept

  def faults(self) -> list[Fault]:
    """Every byte is read, and all of it held against the scores and the set's plan."""
    expected = verification.Expected(
      class_ids=self._labels.ids,
      plan=lambda: self._set.requested()[0],
      choose=lambda summary: self._chosen if self._is_for_config(summary) else None,
      written=lambda kept: kept.ids() if self._fields.write and self._is_written(kept) else None,
    )
    return verification.faults(self.name, self.folder, expected)

  # --- for others --------------------------------------------------------------------------------

  def summary(self) -> dict[str, Any] | None:
    def read() -> dict[str, Any] | None:
      return self._read(Kept.summary) if lists.held(self.folder) else None

    return snapshot.once((self, "summary"), read)

  @property
  def version(self) -> str:
    """Another list has another one."""

    def read() -> str:
      return self._read(lambda kept: kept.name or records.digest(kept.summary()))

    return snapshot.once((self, "version"), read)

  def ids(self) -> Sequence[str]:
    """Of the images that stay, in plan order; only of a list that was made for this config."""

    def read(kept: Kept) -> Sequence[str]:
      if not self._is_for_config(kept.summary()) or not self._is_by_prefix(kept):
        raise UserError(
          f"{self.name} has just been replaced by a process with another config; give each config its own --workdir, or run again"
        )
      return kept.ids()

    return self._read(read)

  def load(self) -> dict[str, np.ndarray]:
    """ids, labels, scores, stays: of every image that was looked at, in plan order."""
    return self._read(Kept.arrays)

  def pairs_sheet(self) -> bytes:
    """What did not stay, beside what speaks against it, as a PNG; empty where there is none."""
    summary = self.summary() or {}
    return self._read(Kept.sheet) if any(map(summary.get, self._rule.counted)) else b""

  @property
  def how(self) -> str:
    quota, summary = f", {self.quota} a class" if self.quota else "", self.summary()
    found = self._rule.found(summary) if summary else ""
    return "; ".join(filter(None, [f"{self._rule.how}{quota}", found, self._rule.limits]))

  def about(self, asked: Asked | None = None) -> About:
    unread = pages.Keep(self.set_name, self.filter, self.encoder_name, self._rule.score_means)
    summary = self.summary() if asked else None
    if asked is None or summary is None:
      return About(keep=unread)
    classes = tuple(Counts(row["id"], *(row[c] for c in Counts._fields[1:])) for row in summary["classes"])
    read = dataclasses.replace(
      unread,
      how=self.how,
      classes=classes,
      rounds=summary["rounds"],
      scored=scores.of_images(self.load(), classes, asked.scores) if asked.scores else {},
      pairs=self.pairs_sheet() if asked.pairs else b"",
    )
    return About(keep=read)
