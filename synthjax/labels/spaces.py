"""A label space: class ids, which key everything, and display names, which only prompts and pages use.

Two classes may bear one name (ImageNet has two such pairs); never one id. The spaces of the papers' data sets are files
in `published/`, of the same form as a user's:

  classes      {id: name, ...}, in the order of the space
  like         another space or file, whose keys hold where this file is silent, and to whose classes these are added
  only         of the classes of `like`, these ids: ImageNet-R is 200 of ImageNet's
  template     the basic prompt; {} stands for the name
  templates    the ensemble: a list, or the name of a space whose ensemble it is
  aliases      {what a data set calls it: id}, where that is neither the id nor the name
  passed_over  labels of data sets that are no class here; their images are left out
  test         the test, as config.tests has it: the official one, or the last fifth, as VTAB cuts what has none
  kind         what the classes are, one of KINDS: it decides the word lists of the writer `words`
  also_called  {id: another name, or a list of them}, in which classes may be alike: the captions that the small world's networks
               learn from use them too
  wordnet      {id: synset}, for the strategies gloss and hypernyms: a WordNet id that ships (`labels/synsets.py`), or
               {gloss: text, hypernyms: [text, ...]}; ids that are WordNet's need none
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from synthjax.labels import synsets
from synthjax.labels.read import SUFFIXES, read
from synthjax.labels.synsets import Synset
from synthjax.runtime.errors import UserError, nearest

TEMPLATE = "a photo of a {}"
KINDS = (
  "objects", "scenes", "textures", "satellite", "pets", "birds", "animals", "plants", "aircraft", "vehicles", "food", "signs",
  "countries",
)  # fmt: skip
_PUBLISHED = Path(__file__).parent / "published"


@dataclasses.dataclass(frozen=True)
class LabelSpace:
  ids: tuple[str, ...]
  names: tuple[str, ...]  # may repeat
  template: str = TEMPLATE  # the basic prompt; {} stands for the name
  templates: tuple[str, ...] = ()  # the ensemble, for strategy `templates` and for zero-shot classifiers
  aliases: tuple[tuple[str, str], ...] = ()  # (what a data set calls a class, its id)
  passed_over: tuple[str, ...] = ()  # labels of data sets that are no class here
  test: str = ""  # as config.tests has it; "" = a data set that no reference can name without a path
  kind: str = KINDS[0]  # what the classes are
  wordnet: tuple[tuple[str, Synset], ...] = ()  # (class id, its synset), where the id does not say it
  also_called: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (class id, its other names)

  def __len__(self) -> int:
    return len(self.ids)

  def name_of(self, class_id: str) -> str:
    return self.names[self.ids.index(class_id)]

  def other_names(self, class_id: str) -> tuple[str, ...]:
    return next((names for i, names in self.also_called if i == class_id), ())

  def notes(self) -> list[str]:
    """What is legal and still may be a mistake: names that two classes share, to the letter or but for case."""
    same: dict[str, list[int]] = collections.defaultdict(list)
    for k, name in enumerate(self.names):
      same[" ".join(name.casefold().split())].append(k)
    lines = []
    for places in same.values():
      if len(places) > 1:
        ids, names = _some([self.ids[k] for k in places]), sorted({self.names[k] for k in places})
        what = (
          f"share the name {names[0]!r}"
          if len(names) == 1
          else f"have names that differ only in case or spaces, {', '.join(map(repr, names))}"
        )
        lines.append(f"labels: classes {ids} {what}; their prompts are the same, their ids keep them apart")
    return lines


def _some(ids: list[str]) -> str:
  return ", ".join(ids) if len(ids) < 6 else f"{', '.join(ids[:4])} and {len(ids) - 4} more"


_GLYPH_TEMPLATES = (
  "a photo of a {}",
  "a handwritten {}",
  "a printed {}",
  "a {} on paper",
  "a scan of a {}",
  "a small picture of a {}",
  "a drawing of a {}",
)


def _glyphs(characters: str) -> LabelSpace:
  names = tuple(f"{'digit' if c.isdigit() else 'letter'} {c}" for c in characters)
  return LabelSpace(tuple(characters), names, templates=_GLYPH_TEMPLATES)


# The syllables of solfege stand for digits in numbered notation and for letters in C major: each names two glyphs.
_SYLLABLES = {"do": "1C", "re": "2D", "mi": "3E", "fa": "4F", "sol": "5G", "la": "6A", "ti": "7B"}


def _solfege() -> LabelSpace:
  """The digits by ambiguous names, but for 0, 8 and 9, which no syllable stands for."""
  digits = _glyphs(string.digits)
  syllables = {glyphs[0]: syllable for syllable, glyphs in _SYLLABLES.items()}
  names = tuple(syllables.get(i, name) for i, name in zip(digits.ids, digits.names, strict=True))
  return dataclasses.replace(digits, names=names)


def _solfege_glyphs() -> LabelSpace:
  """What the syllables may stand for, for a generator that knows both meanings of each."""
  also = tuple((glyph, (syllable,)) for syllable, glyphs in _SYLLABLES.items() for glyph in glyphs)
  return dataclasses.replace(_glyphs(string.digits + "ABCDEFG"), also_called=also)


_UNSEEN = "DHJLMQRTUWXY"
_SWAPPED = ("AC", "EN", "KP")


def _seen_glyphs() -> LabelSpace:
  """The glyphs for a generator that is not to know all: 12 letters are left out, and 6 go by the name of another as often."""
  seen = _glyphs("".join(c for c in string.digits + string.ascii_uppercase if c not in _UNSEEN))
  other = {a: b for pair in _SWAPPED for a, b in (pair, pair[::-1])}
  return dataclasses.replace(seen, also_called=tuple((a, (f"letter {b}",)) for a, b in other.items()))


def _published(name: str) -> LabelSpace:
  file = _PUBLISHED / f"{name}.json"
  return _from_body(f"{name}.json", read(file), (file,))


SPACES: dict[str, Callable[[], LabelSpace]] = {
  "digits": lambda: _glyphs(string.digits),
  "letters": lambda: _glyphs(string.ascii_uppercase),
  "glyphs": lambda: _glyphs(string.digits + string.ascii_uppercase),
  "solfege": _solfege,
  "solfege-glyphs": _solfege_glyphs,
  "seen-glyphs": _seen_glyphs,
  **{file.stem: functools.partial(_published, file.stem) for file in sorted(_PUBLISHED.glob("*.json"))},
}


def load(labels: str) -> LabelSpace:
  """One of SPACES, or a YAML/JSON file."""
  return _load(labels, "config.labels", ())


def _load(labels: str, where: str, above: tuple[Path, ...]) -> LabelSpace:
  """`above`: the files that led here by `like`."""
  if labels in SPACES:
    return SPACES[labels]()
  path = Path(labels).expanduser()
  if path.suffix not in SUFFIXES:
    known = nearest(labels, SPACES) or f" (known: {', '.join(SPACES)})"
    raise UserError(
      f"{where} {labels!r} is no label space{known}; or name a file that ends with .yaml or .json"
    )
  if not path.is_absolute() and above:
    path = above[-1].parent / path
  if path.resolve() in above:
    raise UserError(f"labels file {path}: `like` leads back to this file; name another label space")
  return _from_body(labels, read(path), (*above, path.resolve()))


_KEYS = (
  "classes",
  "like",
  "only",
  "template",
  "templates",
  "aliases",
  "passed_over",
  "test",
  "kind",
  "wordnet",
  "also_called",
)


def _from_body(file: str, body: Any, above: tuple[Path, ...]) -> LabelSpace:
  if not isinstance(body, dict):
    raise UserError(f"labels file {file} needs `classes:`, a mapping of class id to name")
  for key in body:
    if key not in _KEYS:
      raise UserError(f"labels file {file}: unknown key {key!r}{nearest(key, _KEYS)}")
  like = None
  if "like" in body:
    like = _load(_text(file, body, "like"), f"labels file {file}: like", above)
  classes = _classes(file, body, like)
  template = body.get("template", like.template if like else TEMPLATE)
  templates = body.get("templates", list(like.templates) if like else [])
  if isinstance(templates, str) and (templates in SPACES or Path(templates).suffix in SUFFIXES):
    templates = list(_load(templates, f"labels file {file}: templates", above).templates)
  if not isinstance(templates, list):
    raise UserError(
      f"labels file {file}: templates is a list of texts, or a label space's name, not {templates!r}"
    )
  for text in (template, *templates):
    check_template(text, f"labels file {file}")
  aliases = dict(like.aliases) | _mapping(file, body, "aliases") if like else _mapping(file, body, "aliases")
  for theirs, class_id in aliases.items():
    if class_id not in classes and theirs in body.get("aliases", {}):
      raise UserError(
        f"labels file {file}: alias {theirs!r} of no class {class_id!r}{nearest(class_id, classes)}"
      )
  passed_over = [*(like.passed_over if like else ()), *_texts(file, body, "passed_over")]
  if like:
    passed_over += [i for i in like.ids if i not in classes]
  return LabelSpace(
    tuple(classes),
    tuple(classes.values()),
    template,
    tuple(templates),
    tuple((a, i) for a, i in aliases.items() if i in classes),
    tuple(dict.fromkeys(passed_over)),
    _text(file, body, "test") or (like.test if like and "only" not in body else ""),
    _kind(file, body, like),
    tuple((i, s) for i, s in _wordnet(file, body, classes, like).items() if i in classes),
    tuple((i, names) for i, names in _also_called(file, body, classes, like).items() if i in classes),
  )


def _kind(file: str, body: Mapping[str, Any], like: LabelSpace | None) -> str:
  kind = _text(file, body, "kind") or (like.kind if like else KINDS[0])
  if kind not in KINDS:
    raise UserError(f"labels file {file}: kind {kind!r}{nearest(kind, KINDS)}")
  return kind


def _also_called(
  file: str, body: Mapping[str, Any], classes: Mapping[str, str], like: LabelSpace | None
) -> dict[str, tuple[str, ...]]:
  found = dict(like.also_called) if like else {}
  for class_id, names in _of_classes(file, body, "also_called", classes).items():
    several = [names] if isinstance(names, str) else names
    if not isinstance(several, list) or not all(isinstance(n, str) and n.strip() for n in several):
      raise UserError(
        f"labels file {file}: also_called of {class_id!r} is a name or a list of them, not {names!r}"
      )
    found[class_id] = tuple(several)
  return found


def _of_classes(
  file: str, body: Mapping[str, Any], key: str, classes: Mapping[str, str]
) -> Mapping[str, Any]:
  """What a key says of some of the classes."""
  own = body.get(key, {})
  if not isinstance(own, dict):
    raise UserError(f"labels file {file}: {key} is a mapping of class ids, not {own!r}")
  for class_id in own:
    if class_id not in classes:
      raise UserError(
        f"labels file {file}: {key}: no class {class_id!r}{nearest(str(class_id), list(classes))}"
      )
  return own


def _wordnet(
  file: str, body: Mapping[str, Any], classes: Mapping[str, str], like: LabelSpace | None
) -> dict[str, Synset]:
  own = _of_classes(file, body, "wordnet", classes)
  said = {i: synsets.parse(value, f"labels file {file}: wordnet of {i!r}") for i, value in own.items()}
  return (dict(like.wordnet) if like else {}) | said


def _classes(file: str, body: dict[str, Any], like: LabelSpace | None) -> dict[str, str]:
  own = body.get("classes", {} if like else None)
  if not isinstance(own, dict) or not (own or like):
    raise UserError(f"labels file {file} needs `classes:`, a mapping of class id to name")
  for class_id, name in own.items():
    if not isinstance(name, str) or not name.strip() or not class_id.strip() or "\n" in class_id:
      raise UserError(f"labels file {file}: class {class_id!r} needs a name that is a text, not {name!r}")
  if like is None:
    if "only" in body:
      raise UserError(
        f"labels file {file}: only chooses among the classes of another space; name it, `like:`"
      )
    return own
  classes = dict(zip(like.ids, like.names, strict=True))
  if "only" in body:
    only = _texts(file, body, "only")
    for class_id in only:
      if class_id not in classes:
        raise UserError(
          f"labels file {file}: only: no class {class_id!r} in {body['like']}{nearest(class_id, classes)}"
        )
    classes = {i: n for i, n in classes.items() if i in set(only)}
  return classes | own


def _text(file: str, body: Mapping[str, Any], key: str) -> str:
  if not isinstance(value := body.get(key, ""), str):
    raise UserError(f"labels file {file}: {key} is a text, not {value!r}")
  return value


def _texts(file: str, body: Mapping[str, Any], key: str) -> list[str]:
  value = body.get(key, [])
  if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
    raise UserError(f"labels file {file}: {key} is a list of texts, not {value!r}")
  return value


def _mapping(file: str, body: Mapping[str, Any], key: str) -> dict[str, str]:
  value = body.get(key, {})
  if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
    raise UserError(f"labels file {file}: {key} is a mapping of texts, not {value!r}")
  return value


def check_template(text: str, where: str) -> None:
  if not isinstance(text, str) or "{}" not in text:
    raise UserError(f"{where}: template {text!r} has no {{}} where the class name goes")
