"""Strategies that ask a language model: LE (He et al.) by a T5 or a chat model, and Yu et al.'s LAR, CD and SD.

What the papers leave open (the wording of a request, how many items, styles and prompts at once) is a field, or a text in
this file; a request's key has the text in it, so an answer to another wording is never taken for one to this.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from synthjax.prompts import structured
from synthjax.prompts.asking import Ask
from synthjax.prompts.class_prompts import CHECKS, USELESS, Checks, ClassPrompts, Lengths, OneClass, Text
from synthjax.prompts.requests import Decoding, Request, chat
from synthjax.prompts.structured import Lists
from synthjax.spec.fields import Prompts

T = TypeVar("T")

_T5_TOKENS = 19  # He et al.: max_length=20, which counts the token that decoding starts with
_CHAT_TOKENS = 1024
# Tokens, about: of a T5's input, of a question, of a caption, of an image.
_T5_ASKED, _CHAT_ASKED, _TEXT, _PICTURE = 6, 120, 30, 300
_SYSTEM = "You write captions for photographs. You answer with a JSON object and nothing else."


class Asked(Protocol):
  """One way to have a prompt list written by a language model."""

  uses: tuple[str, ...]  # fields that decide what is written, beside those of answers

  def requests(self, fields: Prompts, is_t5: bool) -> float:
    """Of a class, about: --plan counts them."""
    ...

  def tokens(self, fields: Prompts, is_t5: bool) -> tuple[float, float]:
    """Asked and answered in a request, by a rule of thumb: --plan says it before there are answers."""
    ...

  def common(self, fields: Prompts) -> Ask[list[str]]:
    """What all classes share."""
    ...

  def of_class(
    self, fields: Prompts, one: OneClass, template: str, common: Sequence[str], too_long: Lengths, is_t5: bool
  ) -> Ask[ClassPrompts]: ...


class _Base:
  def tokens(self, fields: Prompts, is_t5: bool) -> tuple[float, float]:
    return (
      (_T5_ASKED, _T5_TOKENS)
      if is_t5
      else (_CHAT_ASKED + _TEXT * fields.per_request, _TEXT * fields.per_request)
    )

  def common(self, fields: Prompts) -> Ask[list[str]]:
    del fields
    return []
    yield  # a generator, of no requests


class Sentences(_Base):
  """LE: `a photo of {sentence}`; exact repeats are dropped, and nothing else is, as published."""

  uses: tuple[str, ...] = ("draws", "per_class", "t5_input", "per_request")

  def requests(self, fields: Prompts, is_t5: bool) -> float:
    return fields.draws if is_t5 else -(-fields.draws // fields.per_request)

  def of_class(
    self, fields: Prompts, one: OneClass, template: str, common: Sequence[str], too_long: Lengths, is_t5: bool
  ) -> Ask[ClassPrompts]:
    del common, too_long
    found = ClassPrompts(one.id)
    if is_t5:
      sentences = yield from _drawn_by_t5(fields, one)
    else:
      sentences = yield from _listed_by_chat(fields, one, found)
    distinct = dict.fromkeys(s for s in sentences if s)
    if repeats := len(sentences) - len(distinct):
      found.dropped["repeated"] = repeats
    found.texts = [Text(template.replace("{}", s)) for s in itertools.islice(distinct, fields.per_class)]
    return found


def _drawn_by_t5(fields: Prompts, one: OneClass) -> Ask[list[str]]:
  """As the published code does it: a name with a dot is cut there, and what is written of its parts is joined."""
  inputs = [f"{fields.t5_input.replace('{}', part)} </s>" for part in t5_names(one.name)]
  requests = [
    Request(text=text, decoding=_decoding(fields, _T5_TOKENS), seed=seed)
    for seed in _seeds(fields, one, fields.draws)
    for text in inputs
  ]
  answers = yield requests
  draws = _batched(answers, len(inputs))
  return [" ".join(structured.clean(answer.text) for answer in draw).strip() for draw in draws]


def _batched(items: Sequence[T], n: int) -> Iterator[Sequence[T]]:
  return (items[i : i + n] for i in range(0, len(items), n))


def t5_names(name: str) -> list[str]:
  """What He et al.'s T5 is given of a name: commas become spaces, quotes and brackets go, dots cut."""
  plain = re.sub(r"[\"'()\[\]{}]", "", name.replace(",", " "))
  return [part for piece in plain.split(".") if (part := " ".join(piece.split()))] or [plain.strip()]


def _listed_by_chat(fields: Prompts, one: OneClass, found: ClassPrompts) -> Ask[list[str]]:
  n = fields.per_request
  question = (
    f"Write {n} different noun phrases, each of 5 to 20 words, that continue the words 'a photo of' for a photograph in which "
    f"{one.described} is seen. Each names {one.name}, begins with its article, and says where it is, what it does or how it "
    f'looks. Answer with {{"sentences": [...]}}.'
  )
  count = -(-fields.draws // n)
  requests = [_chat(fields, question, seed) for seed in _seeds(fields, one, count)]
  lists = yield from structured.ask(requests, Lists({"sentences": 1}), fields.reasks)
  if useless := lists.count(None):
    found.dropped[USELESS] = useless
  return [s for one_list in lists if one_list for s in one_list["sentences"]]


class Contextual(_Base):
  """CD (Yu et al.): lists of things in the foreground and the background, of lights and camera angles; then descriptions that
  combine one of each."""

  uses: tuple[str, ...] = ("per_class", "per_request", "items", *CHECKS)
  _SLOTS = ("foreground", "background", "lighting", "camera")

  def requests(self, fields: Prompts, is_t5: bool) -> float:
    return 1 + -(-fields.per_class // fields.per_request)

  def of_class(
    self, fields: Prompts, one: OneClass, template: str, common: Sequence[str], too_long: Lengths, is_t5: bool
  ) -> Ask[ClassPrompts]:
    del template, common, is_t5
    checks = Checks(fields, one, too_long)
    question = (
      f"Photographs show {one.described}. List {fields.items} different objects that may stand beside it in the foreground, "
      f"{fields.items} backgrounds, {fields.items} kinds of lighting and {fields.items} camera angles. "
      'Answer with {"foreground": [...], "background": [...], "lighting": [...], "camera": [...]}, each a list of short phrases.'
    )
    (first,) = _seeds(fields, one, 1)
    (lists,) = yield from structured.ask(
      [_chat(fields, question, first)], Lists(dict.fromkeys(self._SLOTS, 1)), fields.reasks
    )
    if lists is None:
      checks.drop(USELESS)
      return checks.result()
    combined = _combinations([list(dict.fromkeys(lists[slot])) for slot in self._SLOTS], fields.seed, one.id)
    for _ in range(1 + fields.reasks):
      chosen = list(itertools.islice(combined, checks.missing))
      groups = list(_batched(chosen, fields.per_request))
      if not groups:
        break
      requests = [_chat(fields, self._question(one, group), first) for group in groups]
      written = yield from structured.ask(requests, Lists({"prompts": 1}), fields.reasks)
      _take(checks, groups, written, self._SLOTS)
    return checks.result()

  def _question(self, one: OneClass, group: Sequence[tuple[str, ...]]) -> str:
    lines = [
      f"{i}. beside: {a}; background: {b}; lighting: {c}; camera: {d}"
      for i, (a, b, c, d) in enumerate(group, 1)
    ]
    return (
      f"Write one caption of a photograph of {one.described} for each line, in at most 30 words, that combines all that the line "
      f'names and contains the words "{one.name}". The subject is {one.name}.\n' + "\n".join(lines) + "\n"
      f'Answer with {{"prompts": [...]}}: {len(group)} captions in the order of the lines.'
    )


class Stylised(_Base):
  """SD (Yu et al.): artistic styles, the same for all classes, and prompts of the class in them."""

  uses: tuple[str, ...] = ("per_class", "per_request", "styles", *CHECKS)

  def requests(self, fields: Prompts, is_t5: bool) -> float:
    return -(-fields.per_class // fields.per_request)

  def common(self, fields: Prompts) -> Ask[list[str]]:
    question = (
      f"List {fields.styles} different artistic styles and media in which anything can be depicted, such as kinds of painting, "
      'drawing, print, sculpture and craft. Answer with {"styles": [...]}, a list of short phrases.'
    )
    wanted, found, seed = Lists({"styles": 1}), dict[str, None](), fields.seed
    for attempt in range(1 + fields.reasks):
      (lists,) = yield from structured.ask([_chat(fields, question, seed + attempt)], wanted, fields.reasks)
      found |= dict.fromkeys(lists["styles"] if lists else ())
      if len(found) >= fields.styles:
        break
    return list(found)[: fields.styles]

  def of_class(
    self, fields: Prompts, one: OneClass, template: str, common: Sequence[str], too_long: Lengths, is_t5: bool
  ) -> Ask[ClassPrompts]:
    del template, is_t5
    checks = Checks(fields, one, too_long)
    (first,) = _seeds(fields, one, 1)
    order = _shuffled(common, fields.seed, one.id, "styles")
    styles = itertools.cycle((s,) for s in order)
    for attempt in range(1 + fields.reasks if order else 0):
      groups = list(_batched(list(itertools.islice(styles, checks.missing)), fields.per_request))
      if not groups:
        break
      requests = [
        _chat(fields, self._question(one, group), first + attempt * len(groups) + i)
        for i, group in enumerate(groups)
      ]
      written = yield from structured.ask(requests, Lists({"prompts": 1}), fields.reasks)
      _take(checks, groups, written, ("style",))
    return checks.result()

  def _question(self, one: OneClass, group: Sequence[tuple[str, ...]]) -> str:
    lines = [f"{i}. {style}" for i, (style,) in enumerate(group, 1)]
    return (
      f"Write one caption of a work of art that depicts {one.described} for each of these styles, in at most 30 words, that names "
      f'the style and contains the words "{one.name}". The subject is {one.name}.\n' + "\n".join(lines) + "\n"
      f'Answer with {{"prompts": [...]}}: {len(group)} captions in the order of the styles.'
    )


class Meanings(_Base):
  """LAR (Yu et al.): the meanings of a class name, of which the list's product chooses by the class's real images."""

  uses: tuple[str, ...] = ("meanings",)

  def requests(self, fields: Prompts, is_t5: bool) -> float:
    return 1

  def of_class(
    self, fields: Prompts, one: OneClass, template: str, common: Sequence[str], too_long: Lengths, is_t5: bool
  ) -> Ask[ClassPrompts]:
    del template, common, too_long, is_t5
    question = (
      f'The name "{one.name}" may mean different things that can be seen. List its meanings, the most common first, at most '
      f"{fields.meanings}, each described in 3 to 12 words so that it cannot be taken for another, without the name itself. "
      'Answer with {"meanings": [...]}.'
    )
    (first,) = _seeds(fields, one, 1)
    (lists,) = yield from structured.ask(
      [_chat(fields, question, first)], Lists({"meanings": 1}), fields.reasks
    )
    if lists is None:
      return ClassPrompts(one.id, dropped={USELESS: 1})
    return ClassPrompts(one.id, meanings=list(dict.fromkeys(lists["meanings"]))[: fields.meanings])


class Captioned(_Base):
  """Captions of real images, which the list's product has: a request is of one image."""

  uses: tuple[str, ...] = ("per_class", *CHECKS)

  def requests(self, fields: Prompts, is_t5: bool) -> float:
    return fields.per_class

  def tokens(self, fields: Prompts, is_t5: bool) -> tuple[float, float]:
    return _CHAT_ASKED + _PICTURE, _TEXT

  def of_class(
    self, fields: Prompts, one: OneClass, template: str, common: Sequence[str], too_long: Lengths, is_t5: bool
  ) -> Ask[ClassPrompts]:
    raise NotImplementedError("captions() has the images")


def captions(
  fields: Prompts, one: OneClass, template: str, pictures: Sequence[bytes], too_long: Lengths
) -> Ask[ClassPrompts]:
  """A caption of each picture. The model does not know the class: its name goes before the caption, as in Fan et al."""
  question = (
    "Describe this image in one sentence of at most 20 words, as the caption of a photograph: what is seen, where, and how it looks. "
    'Answer with {"caption": ["..."]}.'
  )
  checks = Checks(fields, one, too_long)
  requests = [
    dataclasses.replace(_chat(fields, question, fields.seed), images=(picture,)) for picture in pictures
  ]
  written = yield from structured.ask(requests, Lists({"caption": 1}), fields.reasks)
  for lists in written:
    if lists is None:
      checks.drop(USELESS)
    else:
      caption = lists["caption"][0]
      checks.take([Text(template.replace("{}", f"{one.name}, {caption}"), {"caption": caption})])
  return checks.result()


def _take(
  checks: Checks,
  groups: Sequence[Sequence[tuple[str, ...]]],
  written: Sequence[dict[str, list[str]] | None],
  slots: Sequence[str],
) -> None:
  for group, lists in zip(groups, written, strict=True):
    if lists is None:
      checks.drop(USELESS)
      continue
    whole = len(lists["prompts"]) == len(group)  # else which caption is of which line is not known
    parts = [dict(zip(slots, items, strict=True)) if whole else {} for items in group]
    checks.take([Text(text, p) for text, p in zip(lists["prompts"], parts, strict=False)])


def _chat(fields: Prompts, question: str, seed: int) -> Request:
  return chat(_SYSTEM, question, decoding=_decoding(fields, _CHAT_TOKENS), seed=seed)


def _decoding(fields: Prompts, tokens: int) -> Decoding:
  return Decoding(fields.max_tokens or tokens, fields.temperature, fields.top_k, fields.top_p)


def _seeds(fields: Prompts, one: OneClass, n: int) -> list[int]:
  """Of each request; two classes of one name have their own."""
  return [_number(fields.seed, one.id, i) % 2**31 for i in range(n)]


def _number(*key: object) -> int:
  return int.from_bytes(hashlib.sha256("|".join(map(str, key)).encode()).digest()[:8], "big")


def _shuffled(items: Sequence[str], *key: object) -> list[str]:
  return sorted(items, key=lambda item: _number(*key, item))


def _combinations(lists: Sequence[Sequence[str]], *key: object) -> Iterator[tuple[str, ...]]:
  """One of each list, none twice, in an order that the key decides."""
  seen: set[tuple[str, ...]] = set()
  most = 1
  for options in lists:
    most *= len(options)
  for draw in itertools.count():
    if len(seen) == most:
      return
    one = tuple(options[_number(*key, draw, slot) % len(options)] for slot, options in enumerate(lists))
    if one not in seen:
      seen.add(one)
      yield one


ASKED: dict[str, Asked] = {
  "LE": Sentences(),
  "LAR": Meanings(),
  "CD": Contextual(),
  "SD": Stylised(),
  "captions": Captioned(),
}
