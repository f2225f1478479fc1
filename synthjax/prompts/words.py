"""The writer `words`: sentences of word lists around any class name, without a model.

A sentence is `[article] [look] NAME [noun] [act] [scene], [light], [view]`, each part drawn from the list of the space's kind
(`labels/spaces.py: KINDS`). It is a whole noun phrase, so that it reads behind `a photo of`. A list says nothing that is wrong
of some class of its kind, and has no other class's name in it.
"""

from __future__ import annotations

import dataclasses
import re

from synthjax.labels.spaces import LabelSpace
from synthjax.prompts.sentences import Sentence, pick

_Words = tuple[str, ...]

# What is true of any picture. "" leaves a part out. The words are part of the identity of every list written with them:
# they change under another name alone.
_LIGHT = (
  "", "in soft light", "in harsh light", "in dim light", "in bright light", "in warm light", "in cold light", "in even light",
  "in diffuse light", "with strong shadows", "lit from behind", "lit from the left", "lit from the right",
)  # fmt: skip
_VIEW = (
  "", "seen from close by", "seen from far away", "seen from above", "seen from below", "seen from the left side",
  "seen from the right side", "seen at an angle", "slightly out of focus", "in sharp focus", "in the middle of the picture",
  "off to one side of the picture", "cut off by the edge of the picture", "filling the whole picture", "with much empty space around",
)  # fmt: skip
_GROUND_VIEW = (
  "", "from a low viewpoint", "from a high viewpoint", "from far away", "in a wide view", "in a narrow view", "slightly out of focus",
  "in sharp focus", "in faded colours", "in strong colours", "with a blurred foreground", "tilted to one side", "photographed by a tourist",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Kind:
  look: _Words
  act: _Words
  scene: _Words
  light: _Words = _LIGHT
  view: _Words = _VIEW
  noun: str = ""  # after the name, where the name alone is an adjective or a code
  has_article: bool = True  # before the name; food has none, and in what precedes a country its own

  @property
  def slots(self) -> dict[str, _Words]:
    return {slot: getattr(self, slot) for slot in ("look", "act", "scene", "light", "view")}


_LISTS: dict[str, _Kind] = {
  "objects": _Kind(
    look=("", "", "", "small", "large", "typical", "common", "ordinary", "unusual"),
    act=("", "", "", "partly in shadow", "partly hidden", "alone in the picture", "among other things"),
    scene=(
      "", "against a uniform background", "against a dark background", "against a pale background", "against a colourful background",
      "in a cluttered scene", "in the usual surroundings", "in unusual surroundings", "in an everyday scene", "in a simple scene",
      "in front of a blurred background", "on a summer day", "on a winter day", "late in the day", "early in the day",
    ),
  ),
  "scenes": _Kind(
    look=("", "", "large", "small", "quiet", "beautiful", "ordinary", "typical", "unusual", "picturesque", "well-known"),
    act=("", "", "without any people", "with a few people", "with one person far off", "with people passing by"),
    scene=(
      "", "in the early morning", "late in the afternoon", "in the evening", "on an ordinary day", "on a weekend", "in winter",
      "in summer", "in another country", "long ago", "some years ago",
    ),
    light=(*_LIGHT[:10], "with hardly any shadows", "lit from one side", "in uneven light"),
    view=_GROUND_VIEW,
  ),
  "textures": _Kind(
    look=("", "", "", "coarse", "fine", "dense", "sparse", "faint", "bold", "regular", "irregular", "colourful", "pale", "dark"),
    act=("", "", "with fine details", "with worn parts", "with uneven spacing", "with hard edges", "with soft edges"),
    scene=(
      "", "on cloth", "on paper", "on wood", "on stone", "on metal", "on leather", "on glass", "on plastic", "on a wall", "on clay",
      "on a floor",
    ),
    view=(
      "", "seen from very close", "seen from close by", "seen from arm's length", "seen straight on", "seen at a slant", "in sharp focus",
      "slightly out of focus", "as an enlarged detail", "filling the whole picture",
    ),
    noun="texture",
  ),
  "satellite": _Kind(
    look=("", "", "", "small", "large", "typical", "ordinary", "unusual"),
    act=("", "", "in a dry season", "in a wet season", "in spring", "in summer", "in autumn", "in winter", "after rain"),
    scene=(
      "", "with clear outlines", "with soft outlines", "surrounded by bare ground", "surrounded by green", "surrounded by dark ground",
      "partly in shade", "with uneven colours", "with little contrast", "with much contrast", "next to something else",
    ),
    light=(
      "", "in clear air", "under thin haze", "with long shadows", "with short shadows", "in pale colours", "in strong colours",
      "in dark tones", "in low sunlight",
    ),
    view=(
      "", "seen from straight above", "seen at a slant", "at low resolution", "at high resolution", "filling the whole picture",
      "slightly blurred", "reaching beyond the edges of the picture",
    ),
  ),
  "pets": _Kind(
    look=("", "", "young", "old", "adult", "small", "well-groomed", "alert", "sleepy", "playful", "curious"),
    act=(
      "", "sitting", "lying down", "standing", "looking into the camera", "looking to one side", "stretching", "resting", "waiting",
      "being held by its owner",
    ),
    scene=(
      "", "on a sofa", "on a wooden floor", "on a rug", "on the grass", "in a garden", "in a kitchen", "beside a window", "on a bed",
      "on the doorstep", "in a yard", "on a blanket",
    ),
  ),
  "birds": _Kind(
    look=("", "", "young", "adult", "male", "female", "solitary", "alert", "resting", "wild"),
    act=(
      "", "perched", "preening", "calling", "looking to one side", "looking towards the camera", "stretching its wings", "holding still",
      "with its beak open", "with its wings folded",
    ),
    scene=(
      "", "among leaves", "on a branch", "on a rock", "on the ground", "near the water", "in the rain", "in front of a clear sky",
      "in front of a blurred background", "on a post", "in tall grass", "in its habitat",
    ),
  ),
  "animals": _Kind(
    look=("", "", "young", "old", "adult", "wild", "small", "large", "solitary", "alert"),
    act=(
      "", "resting", "moving slowly", "holding still", "looking for food", "eating", "looking towards the camera", "looking away",
      "partly hidden",
    ),
    scene=(
      "", "in the wild", "in its habitat", "in a zoo", "close to water", "among plants", "on bare ground", "in the rain",
      "in front of a blurred background", "in the shade", "in captivity",
    ),
  ),
  "plants": _Kind(
    look=("", "", "wild", "cultivated", "young", "fresh", "wilting", "small", "large", "delicate"),
    act=(
      "", "in full bloom", "beginning to open", "beginning to fade", "with drops of dew", "visited by an insect", "moving in the wind",
      "after the rain", "with open petals",
    ),
    scene=(
      "", "in a garden", "in a meadow", "in a pot", "in a vase", "by the roadside", "in a greenhouse", "against dark leaves",
      "among other plants", "against the sky", "on a hillside", "in front of a wall",
    ),
  ),
  "aircraft": _Kind(
    look=("", "", "white", "grey", "freshly painted", "weathered", "old", "new", "brightly painted", "twenty-year-old"),
    act=(
      "", "taxiing", "parked", "landing", "taking off", "in flight", "waiting for clearance", "turning", "being serviced", "on display",
    ),
    scene=(
      "", "at a large airport", "at a small airfield", "at an air show", "in the rain", "in snow", "in front of distant hills",
      "under a cloudless sky", "under heavy clouds", "at sunset", "at sunrise", "near the terminal", "in mist",
    ),
    view=(*_VIEW[:8], "in sharp focus", "slightly out of focus", "with its landing gear down", "seen from the front", "seen from behind"),
    noun="aircraft",
  ),
  "vehicles": _Kind(
    look=("", "", "white", "black", "red", "blue", "silver", "clean", "dusty", "well-kept", "worn", "shiny"),
    act=("", "parked", "driving", "standing still", "turning", "waiting", "for sale", "on display", "with its lights on"),
    scene=(
      "", "in front of a house", "in a garage", "on a country road", "on a city street", "at a dealer's", "at a motor show",
      "in a car park", "on wet asphalt", "on gravel", "near the coast", "in the mountains", "under trees",
    ),
    view=(*_VIEW[:8], "in sharp focus", "slightly out of focus", "seen from the front", "seen from behind"),
  ),
  "food": _Kind(
    look=("", "a serving of", "a portion of", "a helping of", "homemade", "freshly made", "a close-up of", "half-eaten", "leftover"),
    act=("", "nicely garnished", "ready to eat", "neatly arranged", "casually served", "to take away", "for two"),
    scene=(
      "", "on a white plate", "on a wooden board", "on a dark table", "on a patterned tablecloth", "beside a glass of water",
      "next to a fork and a knife", "at a street stall", "in a restaurant", "on a kitchen counter", "on a tray", "on paper", "outdoors",
    ),
    view=(
      "", "seen from close by", "seen from above", "seen from the side", "seen at an angle", "slightly out of focus", "in sharp focus",
      "in the middle of the picture", "cut off by the edge of the picture", "filling the whole picture", "with much empty space around",
    ),
    has_article=False,
  ),
  "signs": _Kind(
    look=("", "", "new", "faded", "dirty", "clean", "weathered", "scratched", "dented", "small", "large"),
    act=("", "on a metal post", "on a wooden post", "on a wall", "above the lane", "beside another sign", "partly hidden by leaves"),
    scene=(
      "", "in a town", "in a village", "in the country", "beside a motorway", "at a building site", "in the rain", "in snow", "in fog",
      "at dusk", "at night", "at a junction",
    ),
    noun="traffic sign",
  ),
  "countries": _Kind(
    look=(
      "a street in", "a house in", "a market in", "a landscape in", "a village in", "a town in", "a road in", "a shop in",
      "a square in", "people in", "a public building in", "a hillside in", "a garden in", "a restaurant in",
    ),
    act=("", "", "on a holiday", "on a working day", "during a festival", "on a weekend", "some years ago"),
    scene=(
      "", "in the early morning", "at noon", "in the afternoon", "in the evening", "at night", "in the rain", "in a dry season",
      "on a clear day", "on a cloudy day",
    ),
    view=_GROUND_VIEW,
    has_article=False,
  ),
}  # fmt: skip


def words(class_id: str, name: str, draws: int, seed: int, labels: LabelSpace) -> list[Sentence]:
  """Sentences like `a small airplane against a plain background, in soft light, seen from above`."""
  kind = _LISTS[labels.kind]
  sentences = []
  for draw in range(draws):
    parts = {slot: pick(options, "words", seed, class_id, draw, slot) for slot, options in kind.slots.items()}
    sentences.append(Sentence(_sentence(name, parts, labels.kind), parts))
  return sentences


def phrases(kind: str) -> list[str]:
  """All that a list may put beside a class name."""
  own = _LISTS[kind]
  return [phrase for options in own.slots.values() for phrase in options if phrase] + [own.noun] * bool(
    own.noun
  )


def _sentence(name: str, parts: dict[str, str], kind: str) -> str:
  own = _LISTS[kind]
  if kind == "satellite" and name.casefold().endswith(" residential"):
    name = f"{name} area"  # of RESISC45
  if kind == "countries" and _WITH_THE.search(name):
    name = f"the {name}"
  thing = " ".join(filter(None, [parts["look"], name, own.noun]))
  if own.has_article and (own.noun or is_counted(name)):
    thing = f"{article(thing)} {thing}"
  head = " ".join(filter(None, [thing, parts["act"], parts["scene"]]))
  return ", ".join(filter(None, [head, parts["light"], parts["view"]]))


# --- articles --------------------------------------------------------------------------------------

# Names of countries that take the article, and of things that take none: what has no singular, and what is not counted.
_WITH_THE = re.compile(
  r"^(United|British|DR |Isle of|Gambia$|Bahamas$|Maldives$|Netherlands$|Philippines$|Seychelles$|Vatican$|Central African)"
  r"|^(?!Svalbard).*(Islands| Republic)$"
)
_PLURAL = re.compile(r"[a-z]{3,}s$")
_SINGULAR = re.compile(
  r"(ss|us|is|ops|\b(?:atlas|canvas|christmas|gas|lens|malinois|mars|pyrenees|series|species|yellowlegs))$",
  re.IGNORECASE,
)
_MASS = frozenset(
  [
    "land",
    "vegetation",
    "farmland",
    "hay",
    "broccoli",
    "guacamole",
    "corn",
    "paper",
    "spray",
    "lotion",
    "sushi",
    "spaghetti",
    "mail",
    "lightning",
    "cream",
    "espresso",
    "wine",
    "carbonara",
    "dough",
    "fabric",
    "eggnog",
    "sauce",
    "syrup",
    "sunscreen",
    "ice",
    "snow",
    "water",
    "billiards",
    "watercress",
    "chaparral",
    "meat",
    "bread",
    "rice",
    "cattle",
    "underwear",
    "cutlery",
    "furniture",
  ]
)
_NO_ARTICLE = (
  "stained glass",
  "love in the mist",
  "prince of wales feathers",
  "chain mail",
  "a ",
  "an ",
  "the ",
)


def is_counted(name: str) -> bool:
  """Whether `a` may stand before the name: a guess by its last word, which errs to the article."""
  if name.casefold().startswith(_NO_ARTICLE):
    return False
  head = re.split(r" (?:of|in|on|with|for) | / ", name.strip())[0].split()[-1]
  is_plural = _PLURAL.search(head) and not _SINGULAR.search(head)
  return head.casefold() not in _MASS and not is_plural


_AN = re.compile(r"hour|honest|honou?r|heir|8|11\b|18\b|18\d\d\b", re.IGNORECASE)
_A = re.compile(r"uni(?!n|m)|us[aeiu]|ut[ei]|eu|ewe|one\b|once\b|uku|ura|uro", re.IGNORECASE)
_SPELLED = re.compile(r"[A-Z]{1,3}(?![a-z])(?:[^A-Za-z]|$)|[A-Z]\d")  # MD-11, A310, F-16
_SPELLED_AN = "AEFHILMNORSX"


def article(text: str) -> str:
  """a or an, by the sound that the text begins with."""
  if _SPELLED.match(text):
    return "an" if text[0] in _SPELLED_AN else "a"
  if _AN.match(text):
    return "an"
  return "an" if text[:1].casefold() in tuple("aeiou") and not _A.match(text) else "a"
