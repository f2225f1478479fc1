"""Glyphs 0-9 and A-Z, drawn from strokes in the looks that the prompt grammar can ask for.

`render` depends on nothing but its arguments and the state of the generator. A word a look leaves open ("") is drawn at random within the range of
the words it could have been. Where ink and ground would be alike (white on white paper), both move apart.

The picture is a field of distances to the strokes, in pixels: every style is a function of that field, which
needs neither fonts nor supersampling. One core draws about 4,800 images a second.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image, ImageFilter

from synthjax.small_world.looks import Look

SIDE = 32


@dataclasses.dataclass(frozen=True)
class Hand:
  """How a style moves the pen. Lengths are in glyph heights, angles in radians."""

  width: float  # of the stroke, beside that of print
  wobble: float = 0.0
  lean: float = 0.0  # spread of the slant where the look leaves it open
  turn: float = 0.0  # spread of the rotation
  free: bool = False  # any variant of the glyph, not only the first


_HANDS = {
  "printed": Hand(1.0, turn=0.01),
  "handwritten": Hand(0.85, wobble=0.05, lean=0.2, turn=0.06, free=True),
  "typed": Hand(0.8, turn=0.02),
  "painted": Hand(1.5, wobble=0.03, lean=0.12, turn=0.05, free=True),
  "scanned": Hand(1.35, wobble=0.05, lean=0.12, turn=0.05, free=True),
  "stamped": Hand(1.4, turn=0.1),
  "engraved": Hand(1.55, turn=0.02),
}
_WEIGHTS = {"thin": 0.065, "light": 0.085, "": 0.125, "bold": 0.19, "heavy": 0.23}
_WIDEST = 0.27  # beyond this the holes of 8 and B close
_SLANTS = {"upright": 0.0, "slanted to the left": -0.38, "slanted to the right": 0.38}
_HEIGHTS = {"": (17, 23), "seen from close": (23.5, 26), "seen from afar": (10.5, 12.5)}  # pixels
_INKS = {
  "black": (18, 18, 20),
  "blue": (30, 60, 190),
  "red": (200, 32, 32),
  "green": (25, 125, 50),
  "brown": (110, 64, 28),
  "white": (252, 252, 250),
  "grey": (118, 118, 122),
}
# Colour, and how grainy and how streaky it is.
_GROUNDS = {
  "white paper": ((244, 243, 240), 2.0, 0.0),
  "grey paper": ((188, 188, 186), 5.0, 0.0),
  "yellow paper": ((243, 222, 120), 3.0, 5.0),
  "a dark board": ((14, 17, 16), 3.0, 0.0),
  "a blue wall": ((128, 166, 212), 6.0, 0.0),
  "a brown envelope": ((198, 160, 112), 3.0, 7.0),
}
_LIKENESS = 85.0  # ink and ground nearer than this, in mean absolute difference of RGB, move apart

# Strokes on a grid of 8 x 8, origin top left, each point two figures xy. "-" joins the points by lines, "~" by a
# smooth curve, "o" by a closed one; "," parts strokes and "|" variants. The first variant is that of print; handwriting uses all.
_STROKES = {
  "0": "o40 61 64 67 48 27 24 21|o40 71 74 67 48 17 14 21|~50 21 14 27 48 67 74 61 30",
  "1": "-22 40 48,-28 68|-22 40 48|-14 50 48|-40 48|-13 40 48,-38 78",
  "2": "~12 20 50 72 64 36 18,-18 78|~12 30 60 72 54 27 08,-08 78|~11 30 60 63 46 17 17 37 58 77",
  "3": "~11 30 60 72 54 34,~34 64 76 58 28 07|-10 70 33,~33 64 76 58 28 07|~01 40 72 44,~44 76 48 07",
  "4": "-68 60 05 85|-30 05 85,-62 58|~30 13 14 45 74,-61 48",
  "5": "-70 10 14,~14 43 63 75 67 38 07|~80 30 13 33 65 67 38 07|-20 13,~13 43 75 57 17,-20 80",
  "6": "~70 40 12 05 17 48 77 75 54 24 05|~50 23 06 28 58 76 54 24 06|~40 12 15 28 58 76 55 26",
  "7": "-00 80 38|-00 80 38,-24 74|-02 00 70 38,-14 74|~01 30 80 54 38,-24 84",
  "8": "o40 62 44 22,o44 76 48 16|o40 62 44 16 48 76 44 22|~61 30 22 44 66 48 26 44 70",
  "9": "o40 61 72 63 44 23 12 21,-72 48|~71 40 12 24 54 72,~72 75 58 18|o40 62 44 22,-61 68|~71 40 12 24 54 72,~71 66 48 07",
  "A": "-08 40 88,-25 65|~08 24 40 64 88,-15 75",
  "B": "-10 18,~10 50 72 54 14,~14 54 86 58 18",
  "C": "~81 50 21 04 27 58 87",
  "D": "-10 18,~10 50 84 58 18",
  "E": "-80 10 18 88,-14 64|~71 40 12 44,~44 06 48 87",
  "F": "-80 10 18,-14 64",
  "G": "~81 50 21 04 27 58 86,-86 84 54",
  "H": "-10 18,-70 78,-14 74",
  "I": "-40 48,-20 60,-28 68",
  "J": "-70 75,~75 67 48 27 16|-30 80,-60 65,~65 48 15",
  "K": "-10 18,-70 14,-33 78",
  "L": "-10 18 78",
  "M": "-08 00 45 80 88|-08 10 45 70 88",
  "N": "-18 10 78 70",
  "O": "o40 71 84 77 48 17 04 11",
  "P": "-18 10,~10 50 72 54 14",
  "Q": "o40 71 84 77 48 17 04 11,-55 88",
  "R": "-18 10,~10 50 72 54 14,-44 78",
  "S": "~71 40 12 44 76 48 17",
  "T": "-00 80,-40 48",
  "U": "-10 15,~15 27 48 67 75,-75 70",
  "V": "-00 48 80",
  "W": "-00 28 42 68 80",
  "X": "-10 78,-70 18",
  "Y": "-00 44 80,-44 48",
  "Z": "-10 70 18 78|-10 70 18 78,-24 64",
}
_ASPECT = 0.66  # width of the grid beside its height
_SLAB = 0.12  # half a serif, in glyph heights


@dataclasses.dataclass(frozen=True)
class Shape:
  segments_Sx2x2: np.ndarray  # start and end, xy; the glyph's height is 1, its centre 0
  progress_S: np.ndarray  # 0..1 along the stroke
  stroke_S: np.ndarray  # which stroke


def _curve(points: np.ndarray, closed: bool, steps: int = 3) -> np.ndarray:
  """Catmull-Rom through the points."""
  before, after = (points[-1:], points[:2]) if closed else (points[:1], points[-1:])
  around = np.concatenate([before, points, after])
  p0, p1, p2, p3 = around[:-3], around[1:-2], around[2:-1], around[3:]
  t = np.arange(steps)[:, None, None] / steps
  body = (
    p1
    + (p2 - p0) * t / 2
    + (p0 - 2.5 * p1 + 2 * p2 - p3 / 2) * t**2
    + (1.5 * (p1 - p2) + (p3 - p0) / 2) * t**3
  )
  return np.concatenate([body.swapaxes(0, 1).reshape(-1, 2), p2[-1:]])


def _straight(points: np.ndarray, steps: int = 4) -> np.ndarray:
  """Lines through the points, in pieces, so that a wobbling hand can bend them."""
  at = np.arange((len(points) - 1) * steps + 1) / steps
  return np.stack([np.interp(at, np.arange(len(points)), axis) for axis in points.T], 1)


def _lines(variant: str) -> list[np.ndarray]:
  lines = []
  for stroke in variant.split(","):
    kind, xy = stroke[0], np.array([[int(p[0]), int(p[1])] for p in stroke[1:].split()], np.float64)
    points = (xy / 8 - 0.5) * (_ASPECT, 1.0)
    lines.append(_straight(points) if kind == "-" else _curve(points, closed=kind == "o"))
  return lines


def _serifs(lines: list[np.ndarray]) -> list[np.ndarray]:
  """Slabs at the ends that stand free on the top or the base line."""
  slabs = []
  for i, line in enumerate(lines):
    others = np.concatenate([line[1:-1], *(other for j, other in enumerate(lines) if j != i)])
    for end, before in ((line[0], line[1]), (line[-1], line[-2])):
      step = np.abs(end - before)
      free = np.abs(others - end).sum(-1).min(initial=1) > 0.02
      if free and abs(end[1]) == 0.5 and step[1] > step[0]:
        slabs.append(end + np.array([[-_SLAB, 0], [_SLAB, 0]]))
      elif free and abs(end[0]) > 0.2 and step[0] >= step[1]:
        slabs.append(end + np.array([[0, 0], [0, -np.copysign(1.4 * _SLAB, end[1])]]))
  return slabs


def _shape(lines: list[np.ndarray]) -> Shape:
  segments = np.concatenate([np.stack([line[:-1], line[1:]], 1) for line in lines])
  progress = np.concatenate([np.linspace(0, 1, len(line) - 1) for line in lines])
  stroke = np.repeat(np.arange(len(lines)), [len(line) - 1 for line in lines])
  return Shape(segments.astype(np.float32), progress.astype(np.float32), stroke)


def _typed(lines: list[np.ndarray]) -> Shape:
  """With serifs, and no wider than a typewriter allows."""
  squeeze = min(1.0, 0.54 / np.ptp(np.concatenate(lines)[:, 0]))
  lines = [line * (squeeze, 1.0) for line in lines]
  return _shape(lines + _serifs(lines))


CHARACTERS = frozenset(_STROKES)
_LINES = {c: [_lines(variant) for variant in variants.split("|")] for c, variants in _STROKES.items()}
_SHAPES = {c: [_shape(lines) for lines in variants] for c, variants in _LINES.items()}
_TYPED = {c: _typed(variants[0]) for c, variants in _LINES.items()}
_X, _Y = np.meshgrid(*[np.arange(SIDE) + 0.5] * 2)
_PIXELS_3xP = np.stack([_X, _Y, np.ones_like(_X)]).reshape(3, -1).astype(np.float32)


def render(character: str, look: Look, rng: np.random.Generator) -> np.ndarray:
  """uint8 [32, 32, 3]."""
  ink_3, ground_3, grain, streak = _colours(look, rng)
  field = _field(character, look, rng)
  if look.style == "scanned":  # a scanner's light is even
    paper = _ground(ground_3, 0.3 * grain, 0.0, rng)
    alpha = _scan(field, look, rng)
  else:
    paper = _ground(ground_3, grain, streak, rng)
    alpha = _EDGES[look.style](field, rng)
  if look.weight == "light":
    alpha = alpha * 0.8
  image = paper + alpha[..., None] * (ink_3 - paper)
  if look.style == "engraved":
    image += _far_edge(field)[..., None] * (255 - image)
  return _view(np.clip(image + 0.5, 0, 255).astype(np.uint8), look.view, rng)


def _field(character: str, look: Look, rng: np.random.Generator) -> np.ndarray:
  """[32, 32]: how far a pixel's centre lies outside the ink, in pixels; negative within it."""
  hand = _HANDS[look.style]
  variants = [_TYPED[character]] if look.style == "typed" else _SHAPES[character]
  shape = variants[rng.integers(len(variants)) if hand.free else 0]
  spread = 0.05 if look.weight else 0.2
  width = min(_WEIGHTS[look.weight] * rng.uniform(1 - spread, 1 + spread) * hand.width, _WIDEST)
  ends = _wobble(shape, hand.wobble, rng) if hand.wobble else shape.segments_Sx2x2
  slant = _SLANTS[look.slant] + rng.normal(0, 0.04) if look.slant else rng.normal(0, hand.lean)
  turn = rng.normal(0, hand.turn)
  stretch = rng.uniform(0.9, 1.15) if hand.free else 1.0
  # (x, y) -> (stretch x - slant y, y), then turned.
  x_row = np.array([stretch, -slant])
  ends = ends @ np.array([x_row - (0, turn), (turn * x_row + (0, 1))], np.float32).T
  low, high = ends.min((0, 1)), ends.max((0, 1))
  if look.style == "scanned":  # UCI's digits were scaled to fill their frame
    height = SIDE / ((high - low)[1] + width) * rng.uniform(0.96, 1.0)
    squeeze = min(1.0, (SIDE / height - width) / (high - low)[0])
    scale, room = np.array([height * squeeze, height]), np.zeros(2)
  else:
    height = rng.uniform(*_HEIGHTS.get(look.view, _HEIGHTS[""]))
    height = min(height, (SIDE - 1) / ((high - low).max() + width))
    scale = np.array([height, height])
    room = np.clip((SIDE - 1 - height * (high - low + width)) / 2, 0, 2.5)
  centre = SIDE / 2 + rng.uniform(-room, room)
  ends = (ends - (low + high) / 2) * scale + centre
  half_S = np.full(len(ends), max(0.5 * width * height, 0.65))
  if look.style == "handwritten":
    half_S *= 1 + 0.25 * np.sin(4 * shape.progress_S + rng.uniform(0, 6.3))
  elif look.style == "painted":
    half_S *= 1.15 - 0.6 * shape.progress_S**2
  return _distance(ends.astype(np.float32), half_S.astype(np.float32))


def _wobble(shape: Shape, size: float, rng: np.random.Generator) -> np.ndarray:
  """Slow waves bend the whole glyph, so that strokes that met still meet; then each stroke slips a little."""
  waves_2x3, phase_3 = rng.uniform(-5, 5, (2, 3)), rng.uniform(0, 6.3, 3)
  bend_3x2 = rng.normal(0, size, (3, 2))
  slip_Sx2 = rng.normal(0, 0.4 * size, (shape.stroke_S[-1] + 1, 2))[shape.stroke_S]
  ends = shape.segments_Sx2x2
  return ends + np.sin(ends @ waves_2x3 + phase_3) @ bend_3x2 + slip_Sx2[:, None]


def _distance(ends_Sx2x2: np.ndarray, half_S: np.ndarray) -> np.ndarray:
  start, step = ends_Sx2x2[:, 0], ends_Sx2x2[:, 1] - ends_Sx2x2[:, 0]
  length = np.sqrt((step * step).sum(-1))
  ux, uy = (step / length[:, None]).T
  x, y = start.T
  along_and_across = np.stack([ux, uy, -ux * x - uy * y, -uy, ux, uy * x - ux * y]).reshape(2, 3, -1)
  along, across = along_and_across.swapaxes(1, 2) @ _PIXELS_3xP  # each [S, P]
  along -= np.clip(along, 0, length[:, None])
  outside = np.sqrt(along * along + across * across) - half_S[:, None]
  return outside.min(0).reshape(SIDE, SIDE)


def _colours(look: Look, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float, float]:
  ground_rgb, grain, streak = _GROUNDS[look.ground]
  ink_3 = np.array(_INKS[look.ink], np.float32) + rng.uniform(-8, 8) + rng.uniform(-3, 3, 3)
  ground_3 = np.array(ground_rgb, np.float32) + rng.uniform(-8, 8)
  lack = _LIKENESS - np.abs(ink_3 - ground_3).mean()
  if lack > 0:
    darker = look.ink == "black" or (look.ink != "white" and ink_3.sum() < ground_3.sum())
    ink_3 = ink_3 + (-lack if darker else lack)
    over = np.clip(ink_3, 0, 255) - ink_3  # what the ink cannot do, the ground does
    ground_3 = ground_3 + over.mean() * 1.2
  return np.clip(ink_3, 0, 255), np.clip(ground_3, 0, 255), grain, streak


def _ground(ground_3: np.ndarray, grain: float, streak: float, rng: np.random.Generator) -> np.ndarray:
  tone = grain * rng.standard_normal((SIDE, SIDE), np.float32)
  slope_x, slope_y = rng.uniform(-0.25, 0.25, 2) * min(grain, 2)
  across = np.arange(SIDE, dtype=np.float32) - SIDE / 2
  tone += slope_x * across + (slope_y * across)[:, None]
  if streak:  # fibres, or the rules of a pad
    tone += streak * rng.standard_normal((SIDE, 1), np.float32)
  return ground_3.astype(np.float32) + tone[..., None]


def _scan(field: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
  """As UCI made its digits: a bitmap of 32 x 32, ink counted in blocks of 4 x 4, here enlarged again."""
  counts_8x8 = (field < 0).reshape(8, 4, 8, 4).sum((1, 3))
  small = Image.fromarray((counts_8x8 * (255 / 16)).astype(np.uint8))
  side = int(rng.integers(17, 21)) if look.view == "seen from afar" else SIDE
  alpha = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255
  if side < SIDE:
    top, left = rng.integers(SIDE // 2 - side // 2 - 2, SIDE // 2 - side // 2 + 3, 2)
    alpha = np.pad(alpha, ((top, SIDE - side - top), (left, SIDE - side - left)))
  return alpha


def _printed_ink(field: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  return np.clip(0.5 - field, 0, 1)


def _handwritten_ink(field: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  return np.clip(0.5 - 0.8 * field, 0, 1) * rng.uniform(0.85, 1.0)


def _typed_ink(field: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """The ribbon is worn."""
  return np.clip(0.5 - field, 0, 1) * (0.65 + 0.35 * rng.random((SIDE, SIDE), np.float32))


def _painted_ink(field: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Soft edges, and the bristles' streaks."""
  bristles = np.repeat(rng.random((SIDE, SIDE // 8), np.float32), 8, axis=1)
  return np.clip(0.6 - 0.35 * (field + 0.8 * bristles), 0, 1) * (1 - 0.4 * bristles)


def _stamped_ink(field: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Ink fails in spots and on one side, and spatters."""
  spots = np.repeat(np.repeat(rng.random((SIDE // 2, SIDE // 2), np.float32), 2, 0), 2, 1)
  pressed = np.linspace(rng.uniform(0.5, 1), rng.uniform(0.7, 1), SIDE, dtype=np.float32)
  ink = np.clip(0.5 - field, 0, 1) * np.where(spots < 0.18, 0.15, 1.0) * pressed
  return np.where((field > 0.5) & (field < 3.5) & (rng.random((SIDE, SIDE)) < 0.04), 0.6, ink)


def _engraved_ink(field: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """The outline of a groove, faintly inked between."""
  return np.maximum(np.clip(1.1 - np.abs(field), 0, 1), 0.35 * np.clip(0.5 - field, 0, 1))


def _far_edge(field: np.ndarray) -> np.ndarray:
  """Light falls from the upper left and meets the far edge of a groove."""
  inside = np.clip(0.5 - field, 0, 1)
  return 0.7 * np.clip(np.roll(inside, (1, 1), (0, 1)) - inside, 0, 1)


_EDGES = {
  "printed": _printed_ink,
  "handwritten": _handwritten_ink,
  "typed": _typed_ink,
  "painted": _painted_ink,
  "stamped": _stamped_ink,
  "engraved": _engraved_ink,
}


def _view(image: np.ndarray, view: str, rng: np.random.Generator) -> np.ndarray:
  if view == "in a small picture":
    small = Image.fromarray(image).reduce(2)
    return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.NEAREST))
  if view == "in a blurred picture":
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 1.1))))
  return image
