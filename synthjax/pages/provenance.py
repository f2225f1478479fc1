"""What a page's numbers come from: its tests, who made the images, who encoded them; and what such numbers can prove.

All of it is read off what the products say of themselves, so that a set with a generator of its own, or a set that was
imported from another workdir, is named too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from synthjax.pages.inputs import About, Images, Member, Run
from synthjax.pages.page import Outdated
from synthjax.spec.fields import THUMBNAIL
from synthjax.spec.study import StudySpec

_SHIPS, _TRAINED_HERE, _RANDOM, _GENERATED = "embedded:", "network:", "random:", "synthjax:"
_KINDS = {_GENERATED: "generated", "embedded:glyphs:": "rendered"}
_NAMED = 5  # of a kind, at most
_SAID = {"LE: words": ", sentences of word lists and not of a language model"}


@dataclasses.dataclass(frozen=True)
class Network:
  """One that had a part in a page, and in which."""

  reference: str  # as the config has it: embedded:generator
  did: str  # "drew LE"

  @property
  def is_small(self) -> bool:
    """Whether it knows rendered glyphs and nothing else."""
    return self.reference.startswith((_SHIPS, _TRAINED_HERE))

  @property
  def is_random(self) -> bool:
    return self.reference.startswith(_RANDOM)


def networks(config: StudySpec, abouts: Sequence[About]) -> list[Network]:
  """Generators with what they drew, then encoders."""
  drew, encoded = _generators(abouts), _encoders(config, abouts)
  return [
    *(Network(reference, f"drew {some(names)}") for reference, names in drew.items()),
    *(Network(reference, f"encoder {some(names)}") for reference, names in encoded.items()),
  ]


def title(study: str, tests: Sequence[str], runs: Sequence[Run], used: Sequence[About]) -> str:
  """Of a study that uses these products; without runs, of its images."""
  sets = _sets(used)
  kinds = [
    kind
    for kind, there in {
      "generated": any(s.drawn_by or not s.imported_from for s in sets),
      "imported": any(s.imported_from and not s.drawn_by for s in sets),
      "real": any(run.real_images for run in runs),
    }.items()
    if there
  ]
  if not runs:
    return f"{study or 'Study'}: {_listed(kinds)} images" if kinds else study or "Study"
  what = f"learning from {_listed(kinds)} images" if kinds else "zero-shot classification"
  return f"{study or 'Study'}: {what}, tested on {some(tests)}"


def test(config: StudySpec, name: str, run: Run) -> str:
  """What a test is: its source, and its images as counted."""
  own = run.tests[name]
  kind = next((kind for prefix, kind in _KINDS.items() if config.tests[name].startswith(prefix)), "real")
  lost = f"; {own.skipped:,} of them cannot be read and are skipped" if own.skipped else ""
  return f"{name} ({own.source}, {own.split}): {own.n:,} {kind} images{lost}"


def facts(config: StudySpec, runs: Sequence[Run], used: Sequence[About]) -> Iterator[tuple[str, str]]:
  """For the page, of what its runs use; without runs, of what the study has."""
  first, *others = config.tests if runs else ("",)
  if others:
    lines = "; ".join(test(config, name, runs[0]) for name in others[:_NAMED])
    more = f"; and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    yield "Further tests", f"{lines}{more}. This page shows {first}; results.jsonl holds them all."
  drawn = [f"{some(names)} sampled by {reference}" for reference, names in _generators(used).items()]
  imported = [f"{s.name} imported from {s.imported_from}" for s in _sets(used) if s.imported_from]
  if drawn or imported:
    yield "Images", _cut([*drawn, *imported])
  if written := [
    f"{some(names)} ({writer}{_SAID.get(writer, '')})" for writer, names in _writers(used).items()
  ]:
    yield "Prompts", _cut(written)
  if real := {config.real[run.real].source: None for run in runs if run.real}:
    yield "Real images", f"to learn from: {_cut(list(real))}"
  encoders = [f"{some(names)}: {reference}" for reference, names in _encoders(config, used).items()]
  if encoders:
    yield "Encoders" if len(encoders) > 1 else "Encoder", _cut(encoders)


def caveat(found: Sequence[Network]) -> str:
  """What a page cannot prove; "" where no network of the small world and none with random weights had a part in it."""
  small, random = [n for n in found if n.is_small], [n for n in found if n.is_random]
  sentences = []
  if small:
    sentences.append(
      f"Made in the small world that ships with synthjax, by networks of a few million parameters that were trained on "
      f"rendered glyphs: {_parts(small)}."
    )
  if random:
    sentences.append(f"Made by networks with random weights, whose images are noise: {_parts(random)}.")
  if not sentences:
    return ""
  return (
    " ".join(sentences)
    + " The numbers show that every part works and which way things move here. They say nothing about "
    "what Stable Diffusion, CLIP or the papers’ data sets would give."
  )


def outdated(members: Iterable[Member]) -> tuple[Outdated, ...]:
  """Products that are refused or made again, those with one reason together."""
  names: dict[tuple[str, str], list[str]] = {}
  for member in members:
    if member.why or member.is_refused:
      names.setdefault((member.progress.state, member.why), []).append(member.progress.name)
  return tuple(Outdated(tuple(own), state, why) for (state, why), own in names.items())


def some(names: Iterable[str]) -> str:
  return _listed(
    [*(names := list(names))[:_NAMED], *([f"{len(names) - _NAMED} more"] if len(names) > _NAMED else [])]
  )


def _sets(abouts: Iterable[About]) -> list[Images]:
  return [about.images for about in abouts if about.images]


def _generators(abouts: Iterable[About]) -> dict[str, list[str]]:
  """Reference -> the sets that it drew, here or in the workdir that they were imported from."""
  found: dict[str, list[str]] = {}
  for images in _sets(abouts):
    if images.drawn_by:
      found.setdefault(images.drawn_by, []).append(images.name)
  return found


def _writers(abouts: Iterable[About]) -> dict[str, list[str]]:
  """Writer -> the sets whose prompts it wrote, where that must be said."""
  found: dict[str, list[str]] = {}
  for images in _sets(abouts):
    if images.written_by:
      found.setdefault(images.written_by, []).append(images.name)
  return found


def _encoders(config: StudySpec, abouts: Iterable[About]) -> dict[str, list[str]]:
  """Weights -> the encoders of the config that have them."""
  users = [about.run or about.keep for about in abouts]
  found: dict[str, list[str]] = {}
  for name in dict.fromkeys(user.encoder for user in users if user and user.encoder):
    if (weights := config.encoders[name].weights) != THUMBNAIL:
      found.setdefault(weights, []).append(name)
  return found


def _parts(networks: Sequence[Network]) -> str:
  return _cut([f"{n.reference} ({n.did})" for n in dict.fromkeys(networks)])


def _cut(parts: Sequence[str]) -> str:
  return "; ".join([*parts[:_NAMED], *([f"and {len(parts) - _NAMED} more"] if len(parts) > _NAMED else [])])


def _listed(parts: Sequence[str]) -> str:
  return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
