"""What a page's numbers come from: its tests, who made the images, who encoded them; and what such numbers can prove.

All of it is read off the products themselves, so that a set with a generator of its own, or a set that was imported
from another workdir, is named too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from etils import epath

from synthjax.data.classes import parse
from synthjax.pages.page import Outdated
from synthjax.products.base import REFUSED, Product, Status
from synthjax.products.image_set import ImageSet
from synthjax.products.imported_set import ImportedSet
from synthjax.products.keep import KeepList
from synthjax.products.learn import Learner
from synthjax.products.tune import Arm
from synthjax.runtime.errors import UserError
from synthjax.spec.fields import THUMBNAIL
from synthjax.spec.study import StudySpec
from synthjax.store import records

_SHIPS, _TRAINED_HERE, _RANDOM, _GENERATED = "embedded:", "network:", "random:", "synthjax:"
_NAMED = 5  # of a kind, at most


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


def made_from(products: Iterable[Product]) -> list[Product]:
  """These and all that they are made from, each once."""
  found: dict[int, Product] = {}
  left = list(products)
  while left:
    product = left.pop(0)
    if id(product) not in found:
      found[id(product)] = product
      left += product.inputs
  return list(found.values())


def networks(config: StudySpec, products: Iterable[Product]) -> list[Network]:
  """Generators with what they drew, then encoders."""
  return [
    *(Network(reference, f"drew {some(names)}") for reference, names in _generators(products).items()),
    *(
      Network(reference, f"encoder {some(names)}") for reference, names in _encoders(config, products).items()
    ),
  ]


def title(study: str, tests: Sequence[str], arms: Sequence[Arm | Learner]) -> str:
  sets = [p for p in made_from(arms) if isinstance(p, ImageSet)]
  kinds = [
    kind
    for kind, there in {
      "generated": any(_maker(s) or not isinstance(s, ImportedSet) for s in sets),
      "imported": any(isinstance(s, ImportedSet) and not _maker(s) for s in sets),
      "real": any(arm.real_images for arm in arms),
    }.items()
    if there
  ]
  what = f"learning from {_listed(kinds)} images" if kinds else "zero-shot classification"
  return f"{study or 'Study'}: {what}, tested on {some(tests)}"


def test(config: StudySpec, name: str, arm: Arm | Learner) -> str:
  """What a test is: its source, and its images as counted."""
  source, left_out = arm.source(name), arm.left_out(name)
  kind = "generated" if config.tests[name].startswith(_GENERATED) else "real"
  lost = f"; {left_out:,} of them cannot be read and are left out" if left_out else ""
  return f"{name} ({source.name}, {source.split}): {len(source):,} {kind} images{lost}"


def facts(config: StudySpec, arms: Sequence[Arm | Learner]) -> Iterator[tuple[str, str]]:
  """For the page, of what its arms and learners use."""
  first, *others = config.tests
  if others:
    lines = "; ".join(test(config, name, arms[0]) for name in others[:_NAMED])
    more = f"; and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    yield "Further tests", f"{lines}{more}. This page shows {first}; results.jsonl holds them all."
  used = made_from(arms)
  drawn = [f"{some(names)} drawn by {reference}" for reference, names in _generators(used).items()]
  imported = [
    f"{p.name.removeprefix('images/')} imported from {p.fields.source}"
    for p in used
    if isinstance(p, ImportedSet)
  ]
  if drawn or imported:
    yield "Images", _cut([*drawn, *imported])
  if real := {config.real[name].source: None for name in _real(config, arms)}:
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


def outdated(seen: Mapping[str, Status]) -> tuple[Outdated, ...]:
  """Products that are refused or made again, by name, those with one reason together."""
  names: dict[tuple[str, str], list[str]] = {}
  for name, status in seen.items():
    if status.why or status.state == REFUSED:
      names.setdefault((status.state, status.why), []).append(name)
  return tuple(Outdated(tuple(own), state, why) for (state, why), own in names.items())


def some(names: Iterable[str]) -> str:
  return _listed(
    [*(names := list(names))[:_NAMED], *([f"{len(names) - _NAMED} more"] if len(names) > _NAMED else [])]
  )


def _generators(products: Iterable[Product]) -> dict[str, list[str]]:
  """Reference -> the sets that it drew, here or in the workdir that they were imported from."""
  found: dict[str, list[str]] = {}
  for product in products:
    if isinstance(product, ImageSet) and (maker := _maker(product)):
      found.setdefault(maker, []).append(product.name.removeprefix("images/"))
  return found


def _maker(image_set: ImageSet) -> str:
  """The generator, as the config has it; of images imported from a workdir, as their record has it; "" = not known."""
  if not isinstance(image_set, ImportedSet):
    return image_set.fields.generator
  reference = image_set.fields.source
  if not reference.startswith(_GENERATED):
    return ""
  try:
    folder = epath.Path(parse(reference, reference.removeprefix(_GENERATED)).path)
    if folder.parent.parent.name == "keep":  # WORKDIR/keep/SET/FILTER-ENCODER
      folder = folder.parents[2] / "images" / folder.parent.name
    found = records.load(folder)
  except (UserError, OSError):
    return ""  # it may be gone: the set does not need it any more
  return str(found.runtime.get("generator", "")) if found else ""


def _encoders(config: StudySpec, products: Iterable[Product]) -> dict[str, list[str]]:
  """Weights -> the encoders of the config that have them."""
  found: dict[str, list[str]] = {}
  for name in dict.fromkeys(p.encoder_name for p in products if isinstance(p, Arm | KeepList)):
    if (weights := config.encoders[name].weights) != THUMBNAIL:
      found.setdefault(weights, []).append(name)
  return found


def _real(config: StudySpec, arms: Sequence[Arm | Learner]) -> list[str]:
  """Of config.real, those that are learnt from."""
  names = [a.fields.real if isinstance(a, Learner) else config.arms[a.arm].real for a in arms]
  return [name for name in dict.fromkeys(names) if name]


def _parts(networks: Sequence[Network]) -> str:
  return _cut([f"{n.reference} ({n.did})" for n in dict.fromkeys(networks)])


def _cut(parts: Sequence[str]) -> str:
  return "; ".join([*parts[:_NAMED], *([f"and {len(parts) - _NAMED} more"] if len(parts) > _NAMED else [])])


def _listed(parts: Sequence[str]) -> str:
  return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
