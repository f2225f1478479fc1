"""Stage keep: what a filter keeps of an image set, as `keep/<set>/<filter>-<encoder>`; it draws more where too few stay.

    ids.txt         image ids that stay, in plan order
    pairs.csv       of rules unlike and real: what was left out, and the image that speaks against it; pairs.png shows some
    scores.npz      of every image looked at: id, label, score, whether it stays
    summary.json    by class: drawn, passed, kept, and how many of these only fill the quota up

With a quota the set grows by rounds for the classes that fall short. How much a round draws follows from the scores
alone, so a study that is killed in the middle ends with the same images.
"""

from __future__ import annotations

import io
import sys
from typing import Any, Protocol

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from synthjax import config as fields_of
from synthjax import devices, records, workdir
from synthjax.checksums import Fault
from synthjax.filters.choose import Choice, choose, further
from synthjax.filters.clip import own_class_probability
from synthjax.filters.real import passing
from synthjax.sampling.plan import Plan
from synthjax.stages import repeats, strays
from synthjax.stages.embed import Encoder, Features, RealEmbeddings, SetEmbeddings, rank
from synthjax.stages.image_set import ImageSet
from synthjax.stages.product import DONE, MISSING, STALE, Product, Status, file_faults, owner_of
from synthjax.stopping import Stop
from synthjax.store import export

SUMMARY = "summary.json"
DATASET = "dataset"
# Each image that does not stay, and the one that it repeats, or the real one that it strays to.
PAIRS, PAIRS_SHEET = "pairs.csv", "pairs.png"
_SIMILAR = 0.95
_BASIS = "kept_from.json"


class Evidence(Protocol):
  """Of a rule that holds images against others: what speaks against each that does not stay."""

  @property
  def scores(self) -> np.ndarray: ...

  def count(self, threshold: float) -> dict[str, Any]: ...

  def to_csv(self, ids: np.ndarray, threshold: float) -> bytes: ...

  def sheet(self, threshold: float, title: str) -> bytes: ...


class KeepList:
  stage = "keep"

  def __init__(
    self,
    config: ConfigDict,
    root: epath.Path,
    name: str,
    image_set: ImageSet,
    embeddings: SetEmbeddings,
    encoder: Encoder,
    against: RealEmbeddings | None = None,
  ):
    set_name = image_set.name.removeprefix("images/")
    self.filter, self.set_name, self.encoder_name = name, set_name, encoder.name
    self.name = f"keep/{set_name}/{name}-{encoder.name}"
    self.folder = root / "keep" / set_name / f"{name}-{encoder.name}"
    self.inputs: tuple[Product, ...] = (image_set, embeddings, *([against] if against else []))
    self._set, self._embeddings, self._encoder, self._against = image_set, embeddings, encoder, against
    self._fields: dict[str, Any] = config.filters[name].to_dict()
    self._runtime = config.runtime

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
      return self._fields["margin"]
    own = _SIMILAR if self._is_unlike else 1 / len(self._encoder.labels)
    return self._fields["threshold"] or own

  @property
  def rule(self) -> str:
    return self._fields["rule"]

  @property
  def quota(self) -> int:
    return self._fields["kept_per_class"]

  def _record(self, growth: dict[str, Any] | None = None) -> records.Record:
    kept = fields_of.identity_of(fields_of.FILTER, self._fields)
    if self._is_by_others:
      others = self._against.source.digest if self._against else ""
      identity = kept | self._encoder.identity | {"others": others}
    else:
      del kept["against"]
      identity = kept | self._encoder.classifier_identity
    inputs = {self._set.name: self._set.identity_hash()}
    return records.Record(self.name, identity, growth=growth or {}, inputs=inputs)

  def _basis(self, plan: Plan) -> dict[str, Any]:
    """What the list on disk must have been made for."""
    growth = {k: self._fields[k] for k in fields_of.of_kind(fields_of.FILTER, fields_of.GROWTH)}
    own = sum(
      sum(s.counts) for s in plan.segments if s.asked_by.startswith(f"{self.filter}-{self._encoder.name} ")
    )
    return growth | {"images_per_class": self._set.asked, "drawn_for_it": own}

  def _is_written(self, basis: dict[str, Any]) -> bool:
    """The data set of its own, where one is wanted."""
    path = self.folder / DATASET / _BASIS
    return not self._fields["write"] or (path.exists() and workdir.read_json(path, "data set") == basis)

  def status(self) -> Status:
    want = self.quota * len(self._encoder.labels)
    drawn = self._set.status()
    if drawn.have == 0:
      return Status(MISSING, 0, want)
    records.compare(self.folder, self._record())
    summary = self.summary()
    if summary is None:
      return Status(MISSING, 0, want)
    kept = sum(row["kept"] for row in summary["classes"])
    basis = self._basis(self._set.landed()[0])
    done = summary["basis"] == basis and drawn.state == DONE
    return Status(
      DONE if done and self._is_written(basis) else STALE, kept, kept if done else max(want, kept)
    )

  def faults(self) -> list[Fault]:
    return file_faults(self.folder)

  def make(self, stop: Stop) -> bool:
    if self.status().state == DONE:
      return True
    if self._against and not self._against.make(stop):
      return False
    while self._set.make(stop) and self._embeddings.make(stop):
      stop.check()
      records.settle(self.folder, self._record())
      with owner_of(self.folder, self._runtime) as owner:
        if not owner.take("list"):
          return False
        if self._choose():
          return True
    return False

  def _choose(self) -> bool:
    """True: the list is written. False: more images have been asked for, by this process or another."""
    plan, needed = self._set.landed()  # one look: another process may be adding a round
    if not self._embeddings.has(needed):
      return False  # it has: those images come first
    features, places = self._visible(plan, needed)
    n_classes, fill = len(self._encoder.labels), self._fields["when_short"] == "top"
    evidence: Evidence | None = None
    if self._is_by_others:
      evidence = self._evidence(features, places)
      must_exceed = 1 - self.threshold if self._is_unlike else passing(self.threshold)
      fill &= not self._is_unlike  # what is too similar never fills a class up
      scores = evidence.scores
      choice = choose(scores, features.labels, n_classes, must_exceed, self.quota, fill)
    else:
      scores = own_class_probability(features.features, features.labels, self._encoder.zero_shot)
      choice = choose(scores, features.labels, n_classes, self.threshold, self.quota, fill)
    more: tuple[int, ...] = ()
    if self.quota and self._set.draws_more and self._rounds(plan) < self._fields["max_rounds"]:
      more = further(choice, self.quota, round(self._fields["max_drawn"] * self.quota))
    if not any(more):
      self._write(plan, features, places, scores, choice, evidence)
      return True
    if devices.is_speaker():
      print(f"{self.name}: round {len(plan.segments)} draws {sum(more)} more images", file=sys.stderr)
    self._set.top_up(more, len(plan.segments), self._asks_as)
    return False

  def _evidence(self, features: Features, places: np.ndarray) -> Evidence:
    if self._is_unlike:
      return repeats.find(features, self._set, places, self._against)
    assert self._against
    metric = self._fields["metric"]
    return strays.find(features, self._encoder.labels, self._set, places, self._against, metric)

  def _visible(self, plan: Plan, needed: int) -> tuple[Features, np.ndarray]:
    """The images that were asked for, and those drawn for this very filter, with their places in the set.

    So what another filter has drawn changes nothing here.
    """
    features = self._embeddings.load(needed)
    asked_by = plan.asked_by()[: len(features)]
    own = np.char.startswith(asked_by, f"{self.filter}-{self._encoder.name} ")
    places = np.flatnonzero(own | (rank(features.labels) < self._set.asked))
    return features.at(places), places

  @property
  def _asks_as(self) -> str:
    return f"{self.filter}-{self._encoder.name} {self.quota} a class"

  def _rounds(self, plan: Plan) -> int:
    """Of drawing more, for this filter and this quota."""
    return sum(segment.asked_by == self._asks_as for segment in plan.segments)

  def _write(
    self,
    plan: Plan,
    features: Features,
    places: np.ndarray,
    scores: np.ndarray,
    choice: Choice,
    evidence: Evidence | None,
  ) -> None:
    """The summary last: it says that the rest is there."""
    (self.folder / SUMMARY).unlink(missing_ok=True)  # until the rest is there again
    basis = self._basis(plan)
    ids = features.ids[choice.stays_N]
    workdir.replace_bytes(self.folder / "ids.txt", "".join(f"{i}\n" for i in ids).encode())
    buffer = io.BytesIO()
    np.savez(buffer, ids=features.ids, labels=features.labels, scores=scores, stays=choice.stays_N)
    workdir.replace_bytes(self.folder / "scores.npz", buffer.getvalue())
    if self._fields["write"]:
      name, stay = f"{self.set_name}_{self.filter}", places[choice.stays_N].tolist()
      export.write_part(self._set.folder, stay, self.folder / DATASET, name, self._encoder.labels.ids)
      workdir.replace_bytes(self.folder / DATASET / _BASIS, workdir.to_json(basis))
    columns = (x.tolist() for x in (choice.drawn, choice.passed, choice.kept, choice.filled))
    rows = [
      {"id": c, "drawn": d, "passed": p, "kept": k, "filled": f, "acceptance": p / d if d else None}
      for c, d, p, k, f in zip(self._encoder.labels.ids, *columns, strict=True)
    ]
    summary = {"basis": basis, "threshold": self.threshold, "rounds": self._rounds(plan), "classes": rows}
    if evidence:
      summary |= evidence.count(self.threshold)
      workdir.replace_bytes(self.folder / PAIRS, evidence.to_csv(features.ids, self.threshold))
      workdir.replace_bytes(self.folder / PAIRS_SHEET, evidence.sheet(self.threshold, self.name))
    workdir.replace_bytes(self.folder / SUMMARY, workdir.to_json(summary))
    records.update(self.folder, self._record(basis))
    if evidence and devices.is_speaker():
      print(f"{self.name}: {_said(summary)}; {PAIRS} names them", file=sys.stderr)
    for line in _shortfalls(self.name, rows, self.quota):
      if devices.is_speaker():
        print(line, file=sys.stderr)

  def summary(self) -> dict[str, Any] | None:
    path = self.folder / SUMMARY
    return workdir.read_json(path, "keep-list summary") if path.exists() else None

  def ids(self) -> list[str]:
    """Of the images that stay, in plan order."""
    return (self.folder / "ids.txt").read_text().split()

  def load(self) -> dict[str, np.ndarray]:
    """ids, labels, scores, stays: of every image that was looked at, in plan order."""
    with (self.folder / "scores.npz").open("rb") as opened, np.load(opened) as arrays:
      return dict(arrays)

  def pairs_sheet(self) -> bytes:
    """What did not stay, beside what speaks against it, as a PNG; empty where there is none."""
    path, summary = self.folder / PAIRS_SHEET, self.summary() or {}
    return path.read_bytes() if any(summary.get(k) for k in ("exact", "near", "strayed")) else b""

  @property
  def how(self) -> str:
    quota = f", {self.quota} a class" if self.quota else ""
    if not self._is_by_others:
      return f"own class's probability above {self.threshold:.3g}{quota}"
    summary = self.summary()
    found = f"; {_said(summary)}" if summary else ""
    if not self._is_unlike:
      margin = f", by a margin of {self.threshold:g}" if self.threshold else ""
      near = f"those to which the nearest image of {self._fields['against']} is of their own class{margin}"
      return f"{near}, by {self._fields['metric']} features of {self._encoder.name}{quota}{found}"
    others = (
      f"every image of {self._fields['against']}" if self._against else "every earlier image of the set"
    )
    return f"similarity to {others} below {self.threshold:.3g}, by {self._encoder.name}{quota}{found}"


def _said(summary: dict[str, Any]) -> str:
  if "strayed" in summary:
    return f"{summary['strayed']} images are nearer to a real image of another class"
  return f"{summary['exact']} images are repeats to the byte and {summary['near']} more are nearly so"


def _shortfalls(name: str, rows: list[dict[str, Any]], quota: int) -> list[str]:
  """What the user should know."""
  lines = []
  none = [row["id"] for row in rows if not row["passed"]]
  filled = sum(row["filled"] for row in rows)
  short = [row["id"] for row in rows if row["kept"] < quota]
  if none:
    lines.append(f"{name}: no image of {len(none)} classes passed ({', '.join(none[:5])})")
  if filled:
    lines.append(
      f"{name}: {filled} images that did not pass fill up classes that missed the quota of {quota}"
    )
  if short:
    lines.append(f"{name}: {len(short)} classes have fewer than {quota} images ({', '.join(short[:5])})")
  return lines
