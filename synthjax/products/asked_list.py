"""Stage prompts: a list that a language model writes. Its answers are kept as they come, in `answers/`; groups of classes, which
processes share by claims, become `classes-*.jsonl`, and all of them `prompts.jsonl`."""

from __future__ import annotations

import collections
import functools
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from etils import epath

from synthjax.disk import checksums, workdir
from synthjax.encoders.encoder import Encoder
from synthjax.labels.spaces import LabelSpace
from synthjax.language import model as language_model
from synthjax.pages import prompt_lists
from synthjax.pages.inputs import About, Asked
from synthjax.products.base import DONE, MISSING, Status, Study
from synthjax.products.prompt_list import PromptList
from synthjax.prompts import answers, by_model, language_models, spread, strategies
from synthjax.prompts.answers import Answers
from synthjax.prompts.asked import ASKED
from synthjax.prompts.asking import Ask, Asking
from synthjax.prompts.class_prompts import ClassPrompts, OneClass, Text
from synthjax.prompts.meanings import ClassMeanings
from synthjax.prompts.requests import Answer, LanguageModel
from synthjax.runtime import residents
from synthjax.runtime.errors import UserError
from synthjax.runtime.progress import Progress, readable
from synthjax.runtime.stopping import Stop
from synthjax.spec.study import StudySpec
from synthjax.store import records
from synthjax.weights import hub

_GROUPS = 128  # of classes, about: what one process takes at once
_COMMON, _SPREAD = "common.json", "spread.json"


class AskedList(PromptList):
  uses = (residents.LANGUAGE, residents.ENCODER)

  def __init__(
    self,
    config: StudySpec,
    root: epath.Path,
    name: str,
    labels: LabelSpace,
    described_by: PromptList | None,
    fits: Encoder | None,
  ):
    super().__init__(config, root, name, labels)
    self._settings, self._root, self._described_by = config.server, root, described_by
    self._strategy, self._fits = ASKED[self._fields.strategy], fits
    self.inputs = (described_by,) if described_by else ()

  @classmethod
  def describes(cls, spec: StudySpec, *key: str) -> bool:
    return by_model.asks(spec.prompts[key[0]])

  @classmethod
  def declare(cls, study: Study, *key: str) -> Self:
    (name,) = key
    fields = study.spec.prompts[name]
    described_by = study.get(PromptList, fields.described_by) if fields.described_by else None
    fits = study.encoder(fields.fits) if fields.fits else None
    return cls(study.spec, study.root, name, study.label_space(fields.labels), described_by, fits)

  # --- what it is ----------------------------------------------------------------------------------

  def check(self) -> None:
    strategies.check(self._fields, self.labels, self._where)
    if not self._file.exists():
      self._model.check(self._where)

  @property
  def _where(self) -> str:
    return f"config.{self.name.replace('/', '.')}"

  @functools.cached_property
  def _model(self) -> LanguageModel:
    return language_models.open_model(self._fields, self._settings, self._root, self._where)

  @functools.cached_property
  def _identity(self) -> Mapping[str, Any]:
    """Of the model. Recorded answers that are this list's own by now may be gone where they came from."""
    is_recorded = language_models.kind(self._fields.writer) == language_models.RECORDED
    own = answers.model_of(self.folder / answers.FOLDER) if is_recorded else None
    return own or self._model.identity

  def to_fetch(self) -> Iterable[hub.ToFetch]:
    kind, _, reference = self._fields.writer.partition(":")
    if kind not in (language_models.T5, language_models.CHAT):
      return ()
    return language_model.to_fetch(reference, self._root)

  @property
  def _is_t5(self) -> bool:
    return self._identity.get("model") == language_models.T5

  @functools.cached_property
  def _wanted(self) -> records.Record:
    fields = self._fields
    identity = by_model.identity(fields, self.labels, self._identity) | self._also()
    inputs = {p.name: p.content_hash() for p in self._lists}
    return records.Record(self.name, identity, runtime={"writer": fields.writer}, inputs=inputs)

  def _also(self) -> dict[str, Any]:
    """What else decides the list."""
    return {"fits_encoder": self._fits.identity} if self._fits else {}

  @property
  def _lists(self) -> Sequence[PromptList]:
    return [self._described_by] if self._described_by else []

  def _classes(self) -> list[OneClass]:
    described = self._described_by.descriptions() if self._described_by else {}
    named = zip(self.labels.ids, self.labels.names, strict=True)
    return [OneClass(i, name, described.get(i, "")) for i, name in named]

  @property
  def written_by(self) -> str:
    return f"{self._fields.strategy}: {_title(self._identity)}"

  # --- how far it is -------------------------------------------------------------------------------

  def _status(self) -> Status:
    if not all(needed.status().state == DONE for needed in self.inputs):
      want = round(self._requests())
      return Status(MISSING, 0, want, "requests", note=functools.partial(self._cost, None, want))
    whole = super()._status()
    if whole.state == DONE:
      return whole
    known = self._answers()
    want = max(round(self._requests()), len(known))
    return Status(MISSING, len(known), want, "requests", note=functools.partial(self._cost, known, want))

  def _status_without(self) -> Status:
    return Status(MISSING, unit="requests")

  def _answers(self) -> Answers:
    return Answers(self.folder / answers.FOLDER, self._identity)

  def _requests(self) -> float:
    return len(self.labels) * self._strategy.requests(self._fields, self._is_t5)

  def _cost(self, known: Answers | None, want: int) -> str:
    """Tokens that are still to be asked and answered: by the answers that are there, or by a rule of thumb."""
    left = want - len(known or ())
    measured = known.mean_tokens() if known else None
    asked, answered = measured or self._strategy.tokens(self._fields, self._is_t5)
    line = f"{left:,} requests of {want:,}, about {readable(left * asked)} tokens asked and {readable(left * answered)} answered"
    prices = self._settings.price_asked, self._settings.price_answered
    if any(prices):
      line += f", {left * (asked * prices[0] + answered * prices[1]) / 1e6:,.2f} by config.server's prices"
    return line

  # --- making it -----------------------------------------------------------------------------------

  def make(self, stop: Stop) -> bool:
    if self.status().state == DONE:
      return True
    if not all(needed.status().state == DONE for needed in self.inputs):
      return False
    records.settle(self.folder, self._wanted)
    residents.begin(self.uses)
    with self._answers() as known:
      seen = _Seen()
      progress = self.progress(round(self._requests()), len(known), unit="answers", also=seen.tokens)
      seen.progress = progress
      try:
        common = self._common(known, seen, stop)
        if common is None or not self._write_groups(common, known, seen, stop):
          return False
      finally:
        progress.close()
    return self._finish(stop)

  def _common(self, known: Answers, seen: _Seen, stop: Stop) -> list[str] | None:
    """What all classes share; None while another process asks for it."""
    file = self.folder / _COMMON
    if not file.exists():
      with self.claimed("common", stop) as owner:
        if owner is None:
          return None
        if not file.exists():
          known.refresh()
          asking = Asking[list[str]](self._model, known, stop, seen.answer)
          ((_, found),) = asking.results([("", self._strategy.common(self._fields))])
          checksums.publish(file, workdir.to_json(found))
    return checksums.read_json(file, self.name, [str])

  def _write_groups(self, common: list[str], known: Answers, seen: _Seen, stop: Stop) -> bool:
    """Whether all are there."""
    groups = self._groups()
    missing = [name for name in groups if not (self.folder / name).exists()]
    if not missing or not self.is_any_free(missing):
      return not missing
    found: dict[str, dict[str, ClassPrompts]] = {}

    def tasks(parts: Iterable[str]) -> Iterator[tuple[str, Ask[ClassPrompts]]]:
      for name in parts:
        known.refresh()  # of one who died over it
        found[name] = {}
        for i, one in enumerate(groups[name]):
          yield f"{name}/{i}", self._ask(one, common)

    with self.owner() as owner, owner.making(stop):
      asking = Asking[ClassPrompts](self._model, known, stop, seen.answer)
      for task, written in asking.results(tasks(owner.share(missing))):
        name, _, _ = task.partition("/")
        found[name][written.class_id] = written
        if len(found[name]) == len(groups[name]):
          own = found.pop(name)
          lines = records.to_lines(own[one.id].to_json() for one in groups[name])
          checksums.publish(self.folder / name, lines)
          owner.release(name)
    return all((self.folder / name).exists() for name in missing)

  def _ask(self, one: OneClass, common: list[str]) -> Ask[ClassPrompts]:
    return self._strategy.of_class(self._fields, one, self._template, common, self._lengths, self._is_t5)

  def _groups(self) -> dict[str, list[OneClass]]:
    classes = self._classes()
    size = math.ceil(len(classes) / _GROUPS)
    return {f"classes-{i // size:05d}.jsonl": classes[i : i + size] for i in range(0, len(classes), size)}

  @property
  def _template(self) -> str:
    return by_model.template(self._fields, self.labels)

  def _lengths(self, texts: Sequence[str]) -> Sequence[bool]:
    return self._fits.too_long(texts) if self._fits else [False] * len(texts)

  def written(self) -> list[ClassPrompts]:
    """Of every class, as the model wrote it."""
    found = []
    for name in self._groups():
      data = checksums.read(self.folder / name, self.name)
      with checksums.parsing(self.folder / name, self.name):
        found += [ClassPrompts.from_json(json.loads(line)) for line in data.decode().splitlines()]
    return found

  def _finish(self, stop: Stop) -> bool:
    with self.claimed("prompts", stop) as owner:
      if owner is None:
        return False
      if not self._file.exists():
        written = self._chosen(self.written())
        for note in self._fill(written):
          print(f"{self.name}: {note}", file=sys.stderr)
        answers.cover(self.folder / answers.FOLDER)
        prompts = [p for one in written for p in one.prompts(self.written_by)]
        if encoder := self._text_encoder:
          distance = spread.mean_distance(prompts, encoder.embed_texts)
          checksums.replace(
            self.folder / _SPREAD, workdir.to_json({"encoder": encoder.name, "distance": distance})
          )
        checksums.publish(self._file, "".join(p.to_line() + "\n" for p in prompts).encode())
    return True

  @property
  def _text_encoder(self) -> Encoder | None:
    """Which also says how far its prompts are from one another; only one that the list needs anyway."""
    return self._fits

  def about(self, asked: Asked | None = None) -> About:
    if asked is None or not self._file.exists():
      return About()
    dropped = collections.Counter[str]()
    for one in self.written():
      dropped.update(one.dropped)
    return About(
      prompts=prompt_lists.described(
        self.list_name, self.written_by, self.read(), dropped, self._meanings(), self._spread()
      )
    )

  def _spread(self) -> tuple[str, float] | None:
    """Encoder, and mean distance."""
    file = self.folder / _SPREAD
    if not file.exists():
      return None
    body = checksums.read_json(file, self.name, {"encoder": str, "distance": float})
    return body["encoder"], body["distance"]

  def _meanings(self) -> Sequence[ClassMeanings]:
    return ()

  def _chosen(self, written: list[ClassPrompts]) -> list[ClassPrompts]:
    """What becomes of what the model wrote."""
    return written

  def _fill(self, written: list[ClassPrompts]) -> Iterator[str]:
    """Gives classes without a prompt the basic one, or refuses the list; says which have fewer than were asked for."""
    names = dict(zip(self.labels.ids, self.labels.names, strict=True))
    without = [one for one in written if not one.texts]
    if without:
      listed = strategies.some(one.class_id for one in without)
      if self._fields.when_missing == "refuse":
        raise UserError(
          f"{self.name}: {len(without)} classes got no prompt of use from the model ({listed}); set when_missing='basic' to take "
          "the basic prompt for them, or another writer under another name"
        )
      yield f"{len(without)} classes got no prompt of use and take the basic one ({listed})"
      basic = self._fields.template or self.labels.template
      for one in without:
        one.texts = [Text(basic.replace("{}", names[one.class_id]))]
    short = {one.class_id: len(one.texts) for one in written if len(one.texts) < self._least}
    if short:
      fewest = min(short, key=short.__getitem__)
      yield (
        f"{len(short)} classes have fewer than {self._least} prompts (fewest: {short[fewest]} for {fewest!r}); these are used over "
        "again"
      )

  @property
  def _least(self) -> int:
    return self._fields.per_class


class _Seen:
  """Answers that this process has got, as its line says them."""

  progress: Progress

  def __init__(self) -> None:
    self._asked = self._answered = 0

  def answer(self, answer: Answer) -> None:
    self._asked += answer.prompt_tokens
    self._answered += answer.answer_tokens
    self.progress.add(1)

  def tokens(self) -> str:
    return f"{self._asked:,} tokens asked and {self._answered:,} answered"


def _title(model: Mapping[str, Any]) -> str:
  weights = str(model.get("weights", ""))[:12]
  return str(model.get("server") or f"{model.get('model', 'a model')} {weights}".strip())
