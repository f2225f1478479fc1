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

import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from etils import epath

from synthjax.data.selection import rank
from synthjax.disk import checksums, workdir
from synthjax.disk.checksums import Fault
from synthjax.encoders.encoder import Encoder, Thumbnails
from synthjax.filters import unlike
from synthjax.filters.choose import Choice, choose, prefix, replayed, visible
from synthjax.filters.clip import own_class_probability
from synthjax.filters.real import passing
from synthjax.pages.inputs import About, Asked, Described
from synthjax.products import keep_about, keep_faults, keep_files, repeats, strays
from synthjax.products.embed import RealEmbeddings, SetEmbeddings
from synthjax.products.image_set import ImageSet
from synthjax.products.keep_files import Evidence, Judged
from synthjax.products.product import DONE, MISSING, STALE, Product, Status, owner_of
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec.group import Kind
from synthjax.spec.study import StudySpec
from synthjax.store import export, records
from synthjax.store import kept as lists
from synthjax.store.claims import Owner
from synthjax.store.features import Features
from synthjax.store.kept import CLAIM as _CLAIM
from synthjax.store.kept import PAIRS, Kept
from synthjax.store.plan import Plan

DATASET = "dataset"
_BASIS = "kept_from.json"
_OLDER_RULE = (
  "an older release chose among other images: what other filters or quotas had drawn counted, or moved what was seen; "
  "the list is made again"
)
_Read = TypeVar("_Read")


class KeepList(Described):
  stage = "keep"

  def __init__(
    self,
    config: StudySpec,
    root: epath.Path,
    name: str,
    image_set: ImageSet,
    embeddings: SetEmbeddings,
    encoder: Encoder,
    against: RealEmbeddings | None = None,
    second: repeats.Second | None = None,
  ):
    set_name = image_set.name.removeprefix("images/")
    self.filter, self.set_name, self.encoder_name = name, set_name, encoder.name
    self.name = f"keep/{set_name}/{name}-{encoder.name}"
    self.folder = root / "keep" / set_name / f"{name}-{encoder.name}"
    self.inputs: tuple[Product, ...] = (image_set, embeddings, *([against] if against else []))
    self._set, self._embeddings, self._encoder, self._against = image_set, embeddings, encoder, against
    self._second = second
    if second:
      self.inputs += (second.embeddings, *([second.against] if second.against else []))
    self._fields = config.filters[name]
    self._runtime = config.runtime
    self._last_older: tuple[tuple[Any, ...], bool] | None = None

  @property
  def _is_unlike(self) -> bool:
    return self.rule == "unlike"

  @property
  def _is_by_others(self) -> bool:
    """Whether images are held against others, and not against what the encoder knows of the classes."""
    return self.rule != "clip"

  @property
  def threshold(self) -> float:
    if self.rule == "real":
      return self._fields.margin
    own = unlike.SIMILAR if self._is_unlike else 1 / len(self._encoder.labels)
    return self._fields.threshold or own

  @property
  def encoder_names(self) -> list[str]:
    return [self.encoder_name, *([self._second.encoder.name] if self._second else [])]

  @property
  def _second_threshold(self) -> float:
    return self._fields.second_threshold or unlike.SIMILAR

  @property
  def rule(self) -> str:
    return self._fields.rule

  @property
  def quota(self) -> int:
    return self._fields.kept_per_class

  def _record(self, growth: dict[str, Any] | None = None) -> records.Record:
    kept = self._fields.identity()
    if self._is_by_others:
      others = self._against.source.digest if self._against else ""
      identity = kept | self._encoder.identity | {"others": others}
      identity |= self._second.identity if self._second else {}
    else:
      del kept["against"]
      identity = kept | self._encoder.classifier_identity
    inputs = {self._set.name: self._set.identity_hash()}
    return records.Record(self.name, identity, growth=growth or {}, inputs=inputs)

  @property
  def _basis(self) -> dict[str, Any]:
    """What the list on disk must have been made for."""
    growth = self._fields.of_kind(Kind.GROWTH)
    return growth | {"images_per_class": self._set.asked}

  # --- what is there -----------------------------------------------------------------------------

  def _kept(self) -> Kept | None:
    """The list that holds."""
    record = records.load(self.folder)
    kept = lists.find(self.folder, record) if record else None
    return kept if kept and kept.is_whole() else None

  def _read(self, read: Callable[[Kept], _Read]) -> _Read:
    """Of the list that holds: another process may be putting one in its place in this moment."""
    while True:
      kept = self._kept()
      if kept is None:
        raise UserError(f"{self.name} is missing, or not whole; run the same command again to make it anew")
      try:
        return read(kept)
      except UserError:
        if kept == self._kept():
          raise

  def _is_written(self, kept: Kept) -> bool:
    """The data set of its own, where one is wanted."""
    path = self.folder / DATASET / _BASIS
    if not self._fields.write:
      return True
    return path.exists() and checksums.read_json(path, "data set") == self._written_from(kept)

  def _written_from(self, kept: Kept) -> dict[str, Any]:
    return {"list": kept.name} if kept.name else kept.summary()["basis"]

  def status(self) -> Status:
    want = self.quota * len(self._encoder.labels)
    drawn = self._set.status()
    if drawn.have == 0:
      return Status(MISSING, 0, want)
    records.compare(self.folder, self._record())
    if self._kept() is None:
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
    plan, _ = self._set.landed()
    key = kept.summary(), plan.segments
    if self._last_older is None or self._last_older[0] != key:
      self._last_older = key, self._is_replayed(kept.arrays(), plan)
    return self._last_older[1]

  def _is_replayed(self, arrays: dict[str, np.ndarray], plan: Plan) -> bool:
    """It had judged what the set was asked for, and what was drawn for this very filter."""
    labels, samples = plan.labels(), rank(plan.labels())
    own = np.char.startswith(plan.asked_by(), f"{self.filter}-{self._encoder.name} ")
    judged = np.flatnonzero(own | (samples < self._set.asked))[: len(arrays["labels"])]
    if not np.array_equal(labels[judged], arrays["labels"]):
      return False
    return replayed(
      samples[judged], labels[judged], arrays["scores"], arrays["stays"], self._prefix, self._chosen
    )

  # --- making it ---------------------------------------------------------------------------------

  def make(self, stop: Stop) -> bool:
    if self.status().state == DONE:
      lists.show(self.folder)
      return True
    while all(needed.make(stop) for needed in self.inputs):
      stop.check()
      records.settle(self.folder, self._record())
      with owner_of(self.folder, self._runtime) as owner, owner.making(stop):
        if not owner.take(_CLAIM):
          return False
        if self.status().state == DONE or self._choose(owner):  # another may have just finished it
          return True
    return False

  def _choose(self, owner: Owner) -> bool:
    """True: the list is published. False: more images have been asked for, by this process or another; or the claim is lost."""
    plan, needed = self._set.landed()  # one look: another process may be adding a round
    if not all(e.has(needed) for e in self.inputs if isinstance(e, SetEmbeddings)):
      return False  # it has: those images come first
    features = self._embeddings.load(needed)
    samples, judged = rank(features.labels), []
    there = np.bincount(features.labels, minlength=len(self._encoder.labels))

    def look(reach: list[np.ndarray]) -> Choice | None:
      if self._set.draws_more and (there < reach[-1]).any():
        return None
      judged[:] = [self._judged(features, visible(samples, features.labels, reach), needed)]
      return self._chosen(judged[0].scores, judged[0].features.labels)

    reach, choice = self._prefix(look)
    if choice is None:
      self._ask(plan, reach[-1])
      return False
    return self._publish(owner, judged[0], choice, len(reach) - 1)

  def _prefix(
    self, look: Callable[[list[np.ndarray]], Choice | None]
  ) -> tuple[list[np.ndarray], Choice | None]:
    begin = np.full(len(self._encoder.labels), self._set.asked)
    rounds = self._fields.max_rounds if self._set.draws_more else 0
    return prefix(begin, look, self.quota, round(self._fields.max_drawn * self.quota), rounds)

  def _ask(self, plan: Plan, reach: np.ndarray) -> None:
    """For the images of each class up to there that no one has asked for yet."""
    planned = np.sum([segment.counts for segment in plan.segments], axis=0)
    more = np.maximum(reach - planned, 0)
    if not more.any():  # they are planned, and were not needed until now
      self._set.need(int(reach.max()))
      return
    if devices.is_speaker():
      print(f"{self.name}: round {len(plan.segments)} draws {more.sum()} more images", file=sys.stderr)
    asks_as = f"{self.filter}-{self._encoder.name} {self.quota} a class"
    self._set.top_up(more.tolist(), len(plan.segments), asks_as)

  def _judged(self, features: Features, places: np.ndarray, needed: int) -> Judged:
    if not np.array_equal(places, np.arange(len(features))):  # else nothing is copied: they may be gigabytes
      features = features.at(places)
    if not self._is_by_others:
      scores = own_class_probability(features.features, features.labels, self._encoder.zero_shot)
      return Judged(places, features, scores, None)
    evidence = self._evidence(features, places, needed)
    return Judged(places, features, evidence.scores, evidence)

  def _chosen(self, scores: np.ndarray, labels: np.ndarray) -> Choice:
    must_exceed, fill = self.threshold, self._fields.when_short == "top"
    if self._is_by_others:
      must_exceed = 1 - self.threshold if self._is_unlike else passing(self.threshold)
      fill &= not self._is_unlike  # what is too similar never fills a class up
    return choose(scores, labels, len(self._encoder.labels), must_exceed, self.quota, fill)

  def _evidence(self, features: Features, places: np.ndarray, needed: int) -> Evidence:
    if self._is_unlike:
      mirrored, second = self._fields.mirrored, self._second
      keys = [repeats.Key(self.encoder_name, self.threshold, features, self._against, mirrored)]
      if second:
        own = second.embeddings.load(needed).at(places)
        keys += [repeats.Key(second.encoder.name, self._second_threshold, own, second.against, mirrored)]
      return repeats.find(keys, self._set, places)
    assert self._against
    metric = self._fields.metric
    return strays.find(features, self._encoder.labels, self._set, places, self._against, metric)

  def _publish(self, owner: Owner, judged: Judged, choice: Choice, rounds: int) -> bool:
    """False: another process has taken over, and nothing of this one's work holds."""
    summary = {"basis": self._basis, "threshold": self.threshold, "rounds": rounds}
    summary["classes"] = keep_files.rows(self._encoder.labels.ids, choice)
    summary |= judged.evidence.count(self.threshold) if judged.evidence else {}
    name = lists.lay_down(self.folder, judged.files(choice, summary, self.name))
    if not owner.holds(_CLAIM):
      return False
    lists.publish(self.folder, self._record(self._basis), name)
    lists.sweep(self.folder)
    lists.show(self.folder)
    kept = Kept(self.folder / lists.LISTS / name, name)
    if self._fields.write and owner.holds(_CLAIM):
      self._write(kept, judged.staying(choice).tolist())
    self._tell(summary, judged.evidence)
    return self._kept() == kept

  def _write(self, kept: Kept, stay: list[int]) -> None:
    basis = {_BASIS: workdir.to_json(self._written_from(kept))}
    name = f"{self.set_name}_{self.filter}"
    export.write_part(self._set.folder, stay, self.folder / DATASET, name, self._encoder.labels.ids, basis)

  def _tell(self, summary: dict[str, Any], evidence: Evidence | None) -> None:
    if not devices.is_speaker():
      return
    if evidence:
      print(f"{self.name}: {keep_files.said(summary)}; {PAIRS} names them", file=sys.stderr)
      if evidence.note:
        print(f"{self.name}: note: {evidence.note}", file=sys.stderr)
    for line in keep_files.shortfalls(self.name, summary["classes"], self.quota):
      print(line, file=sys.stderr)

  def faults(self) -> list[Fault]:
    """Every byte is read, and all of it held against the scores and the set's plan."""
    try:
      return [Fault(why.partition(";")[0], path) for why, path in self._faults()]
    except UserError as e:
      return [Fault(str(e))]

  def _faults(self) -> Iterator[keep_faults.Fault]:
    if why := checksums.fault(self.folder / "record.json"):
      yield why, self.folder / "record.json"
      return
    kept = lists.find(self.folder, records.load(self.folder))
    if kept is None:
      raise UserError(f"{self.name} is missing: there is nothing to verify; run stage {self.stage} first")
    damaged = any(map(checksums.fault, kept.files())) or not kept.is_whole()
    choose = self._chosen if not damaged and self._is_for_config(kept.summary()) else None
    found = keep_faults.faults(kept, self._set.landed()[0], self._encoder.labels.ids, choose)
    yield from found
    yield from keep_faults.of_links(self.folder, kept)
    if not found and (self.folder / DATASET).exists():
      yield from keep_faults.of_dataset(
        self.folder / DATASET, lambda: self._fields.write and self._is_written(kept) and kept.ids()
      )

  # --- for others --------------------------------------------------------------------------------

  def summary(self) -> dict[str, Any] | None:
    return self._read(Kept.summary) if self._kept() else None

  @property
  def version(self) -> str:
    """Another list has another one."""
    return self._read(lambda kept: kept.name or records.digest(kept.summary()))

  def ids(self) -> list[str]:
    """Of the images that stay, in plan order; only of a list that was made for this config."""

    def read(kept: Kept) -> list[str]:
      if not self._is_for_config(kept.summary()) or not self._is_by_prefix(kept):
        raise UserError(
          f"{self.name} has just been replaced by a process with another config; give each a workdir, or run again"
        )
      return kept.ids()

    return self._read(read)

  def load(self) -> dict[str, np.ndarray]:
    """ids, labels, scores, stays: of every image that was looked at, in plan order."""
    return self._read(Kept.arrays)

  def pairs_sheet(self) -> bytes:
    """What did not stay, beside what speaks against it, as a PNG; empty where there is none."""
    summary = self.summary() or {}
    return self._read(Kept.sheet) if any(summary.get(k) for k in ("exact", "near", "strayed")) else b""

  @property
  def how(self) -> str:
    quota = f", {self.quota} a class" if self.quota else ""
    if not self._is_by_others:
      return f"own class's probability above {self.threshold:.3g}{quota}"
    summary = self.summary()
    found = f"; {keep_files.said(summary)}" if summary else ""
    if not self._is_unlike:
      margin = f", by a margin of {self.threshold:g}" if self.threshold else ""
      near = f"those to which the nearest image of {self._fields.against} is of their own class{margin}"
      return f"{near}, by {self._fields.metric} features of {self._encoder.name}{quota}{found}"
    others = f"every image of {self._fields.against}" if self._against else "every earlier image of the set"
    keys, mirrored = [(self._encoder, self.threshold)], self._fields.mirrored
    keys += [(self._second.encoder, self._second_threshold)] if self._second else []
    too = {e.name: ", mirrored too" if mirrored and isinstance(e, Thumbnails) else "" for e, _ in keys}
    below = " and ".join(f"below {t:.3g}, by {e.name}{too[e.name]}" for e, t in keys)
    missed = "".join(f"; {unlike.missed(t, mirrored)}" for e, t in keys if isinstance(e, Thumbnails))
    return f"similarity to {others} {below}{quota}{found}{missed}"

  def about(self, asked: Asked | None = None) -> About:
    return keep_about.about(self, asked)
