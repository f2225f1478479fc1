"""The report: what a study found, as one HTML file that asks for nothing else, to keep or to send to a colleague.

`render` is a function of the Page alone: no clock, no files, no network. Every text is escaped, and a content security
policy in the page itself forbids scripts and requests should an escape ever fail. Values that are not finite are
counted and set aside; what is not there yet is said to be missing.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import PIL.Image

from synthjax.pages import certainty, figures
from synthjax.pages.figures import Seeds, number, signed
from synthjax.pages.page import Acceptance, Arm, Cell, Family, Method, Page, Progress, Prompts, Sheet

_CLASSES = 30  # in grids, heat tables and acceptance; more do not help the eye
_CONFUSED = 20  # classes a side of a confusion matrix
_CELLS = 24  # images a class
_PRODUCTS = 40  # lines of progress
_MISTAKES = 5  # commonest, beside a confusion matrix
_PIXELS = 128  # a cell is 64 CSS pixels wide; a screen has up to two for each


@dataclasses.dataclass(frozen=True)
class Verdict:
  line: str
  remarks: tuple[str, ...]  # what keeps the line honest
  zero_shot: Arm | None = None
  best: Arm | None = None  # of the trained arms


def render(page: Page) -> str:
  """The whole page: one self-contained HTML file, the same for the same Page."""
  ruling, names = verdict(page.arms), dict(page.classes)
  zero = _level(ruling.zero_shot)
  running = page.refresh_seconds > 0
  pictures: dict[bytes, tuple[str, bool]] = {}
  return (
    environment()
    .get_template("report.html.jinja")
    .render(
      page=page,
      verdict=ruling,
      running=running,
      products=_unfinished(page.progress, running),
      shots=_shots(page.methods, zero, page.images),
      families=[_family(f, names, pictures) for f in page.families],
      zero=zero,
      results=_results(page.arms),
      arms=_arm_rows(page.arms),
      curve=figures.curve(page.curves, zero),
      curves=[(name, sorted(points)) for name, points in page.curves],
      heat=_heat(page, ruling),
      matrices=[_matrix(page, arm) for arm in (ruling.zero_shot, ruling.best) if arm and arm.confusion],
      prompts=[_prompts(p, names) for p in page.prompts],
      acceptance=[_acceptance(a, names) for a in page.acceptance],
      sheets=[_sheet(sheet, names, pictures) for sheet in page.sheets],
    )
  )


def _unfinished(progress: Sequence[Progress], running: bool) -> list[Progress]:
  """All products of a small study; of a large one what is left, the first of it."""
  if not running and all(p.have >= p.want for p in progress):
    return []
  left = [p for p in progress if p.have < p.want or len(progress) <= _PRODUCTS]
  return left[:_PRODUCTS]


def _shots(methods: Sequence[Method], zero: float | None, images: int) -> dict:
  """Methods at several shots: a table, accuracy and gain against shots."""
  lines = [m for m in methods if len(m.points) > 1]
  gains = [(m.name, m.gains) for m in lines if m.gains]
  return dict(
    columns=sorted({n for m in lines for n, _ in m.points}),
    rows=[dict(method=m, at=dict(m.points), gain=dict(m.gains)) for m in lines],
    curve=figures.curve([(m.name, m.points) for m in lines], zero, "real images a class"),
    gains=figures.curve(gains, 0.0 if gains else None, "real images a class"),
    names=[m.name for m in lines],
    gaining=[name for name, _ in gains],
    margin=certainty.margin(lines, images),
  )


def _family(family: Family, names: Mapping[str, str], pictures: dict[bytes, tuple[str, bool]]) -> dict:
  children = [
    (strength, [_cell(Cell(jpeg, f"strength {strength:g}", "", None, None), "", pictures) for jpeg in jpegs])
    for strength, jpegs in family.children
  ]
  return dict(
    name=names.get(family.class_id, family.class_id),
    parent_id=family.parent_id,
    parent=base64.b64encode(family.parent).decode(),
    children=children,
  )


def _reference(arms: Sequence[Arm], encoder: str) -> Arm | None:
  """Another encoder's zero-shot accuracy is no reference: the difference would be the encoder's."""
  measured = [arm for arm in arms if arm.zero_shot and Seeds.of(arm.top1).values]
  return next((arm for arm in measured if arm.encoder == encoder), None)


def _held_against(arms: Sequence[Arm], arm: Arm) -> Arm | None:
  named = (other for other in arms if other.name == arm.reference and Seeds.of(other.top1).values)
  return next(named, None) if arm.reference else _reference(arms, arm.encoder)


def _level(arm: Arm | None) -> float | None:
  return Seeds.of(arm.top1).mean if arm else None


def verdict(arms: Sequence[Arm]) -> Verdict:
  """The result in one line. Gains are in points of top-1, by means over seeds; an equal to the rounding is no gain."""
  trained = [arm for arm in arms if not arm.zero_shot]
  done = [(mean, arm) for arm in trained if (mean := _level(arm)) is not None]
  if not done:
    zero = next((arm for arm in arms if arm.zero_shot and Seeds.of(arm.top1).values), None)
    line = f"zero-shot {Seeds.of(zero.top1)}; no trained arm has finished" if zero else "no arm has finished"
    return Verdict(line, (), zero)
  mean, best = max(done, key=lambda pair: pair[0])
  top, zero = Seeds.of(best.top1), _reference(arms, best.encoder)
  of = f"best of {len(done)} trained arms" if len(done) > 1 else "the only trained arm"
  if len(done) < len(trained):
    of = (
      f"best of the {len(done)} finished of {len(trained)} trained arms"
      if len(done) > 1
      else (f"the first finished of {len(trained)} trained arms")
    )
  remarks = []
  if len(done) > 1:
    remarks.append(
      "Which arm is best was read off this very test, so its number flatters it: expect less on other images."
    )
  remarks += filter(None, [certainty.remark(arms, best)])
  before = _level(zero)
  if zero is None or before is None:
    return Verdict(
      f"{best.name} {top}, {of}; without zero-shot there is no gain to state", tuple(remarks), None, best
    )
  start, gain = Seeds.of(zero.top1), mean - before
  if round(gain, 1) > 0:
    line = f"zero-shot {start} → {best.name} {top} ({signed(gain)}), {of}"
    if top.spread is not None and gain <= top.spread:
      remarks.append("The gain is within the spread of the seeds: this does not tell the two apart.")
  elif len(done) > 1:
    line = f"nothing improved on zero-shot {start}: {best.name}, {of}, reaches {top} ({signed(gain)})"
  else:
    line = f"no improvement on zero-shot {start}: {best.name}, {of}, reaches {top} ({signed(gain)})"
  if len(top.values) == 1:
    remarks.append(f"{best.name} was trained with one seed: how much of this is chance is not known.")
  return Verdict(line, tuple(remarks), zero, best)


@functools.cache  # with its templates, which are compiled once
def environment() -> jinja2.Environment:
  """In which every text is escaped, and a name that is not there is an error."""
  world = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  world.filters |= {"number": number, "signed": signed, "seeds": Seeds.of}
  world.filters |= {"count": "{:,}".format, "breakable": figures.breakable}
  world.globals |= {"figures": figures, "certainty": certainty}
  return world


def _results(arms: Sequence[Arm]) -> dict:
  """What the table of results says of itself."""
  differences = [arm.difference for arm in arms]
  named = {arm.reference for arm in arms if arm.reference}
  return dict(
    named=bool(named),
    against="zero-shot" if not named else "its reference",
    family=certainty.family(differences) if any(differences) else "",
    intervals=any(arm.interval for arm in arms),
    unpaired=sum(bool(arm.top1 and _held_against(arms, arm) not in (None, arm)) for arm in arms)
    - sum(d is not None for d in differences),
  )


def _arm_rows(arms: Sequence[Arm]) -> list[dict]:
  p_values = certainty.corrected([arm.difference for arm in arms])
  named = {arm.reference for arm in arms}
  return [
    _arm_row(arm, _held_against(arms, arm), p) | dict(is_reference=arm.zero_shot or arm.name in named)
    for arm, p in zip(arms, p_values, strict=True)
  ]


def _arm_row(arm: Arm, reference: Arm | None, p: float | None) -> dict:
  top, level = Seeds.of(arm.top1), _level(reference)
  return dict(
    arm=arm,
    top=top,
    mean_class=Seeds.of(arm.mean_class),
    gain=None if level is None or top.mean is None else top.mean - level,
    p=p,
    bar=figures.bar(top, level, arm.interval),
  )


def _heat(page: Page, ruling: Verdict) -> dict:
  """Accuracy by class: a row a class, a column an arm, and what the best arm gained."""
  arms = [arm for arm in page.arms if arm.by_class]
  before, after = (arm.by_class if arm else () for arm in (ruling.zero_shot, ruling.best))
  rows = [
    dict(
      name=name,
      values=[(arm.by_class[i], figures.shade(arm.by_class[i])) for arm in arms],
      gain=after[i] - before[i] if before and after else None,
    )
    for i, (_, name) in enumerate(page.classes[:_CLASSES])
  ]
  return dict(arms=arms, rows=rows, gains=bool(before and after), skipped=_skipped(page.classes, _CLASSES))


def _matrix(page: Page, arm: Arm) -> dict:
  """The first classes' confusions, what went to the other classes, and the commonest mistakes among all."""
  names = [name for _, name in page.classes]
  rows = []
  for i, name in enumerate(names[:_CONFUSED]):
    shares = arm.confusion[i]
    cells = [
      dict(share=s, hit=i == j, shade=figures.shade(s) if i == j else _mistake_shade(s), taken_for=names[j])
      for j, s in enumerate(shares[:_CONFUSED])
    ]
    rows.append(
      dict(name=name, cells=cells, others=math.fsum(s for s in shares[_CONFUSED:] if math.isfinite(s)))
    )
  mistakes = sorted(
    (-share, i, j)
    for i, shares in enumerate(arm.confusion)
    for j, share in enumerate(shares)
    if i != j and math.isfinite(share) and share > 0
  )[:_MISTAKES]
  return dict(
    arm=arm,
    names=names[:_CONFUSED],
    rows=rows,
    skipped=_skipped(names, _CONFUSED),
    mistakes=[(names[i], names[j], -share) for share, i, j in mistakes],
  )


def _mistake_shade(share: float) -> int | None:
  """In full from 40 percent on: mistakes spread, and the small ones are what one looks for."""
  return figures.shade(share, 40.0, len(figures.ORANGES))


def _prompts(prompts: Prompts, names: Mapping[str, str]) -> dict:
  return dict(
    list=prompts,
    fewest=names.get(prompts.fewest[0], prompts.fewest[0]),
    examples=[(names.get(i, i), texts) for i, texts in prompts.examples[:_CLASSES]],
    meanings=[(names.get(i, i), by, meanings) for i, by, meanings in prompts.meanings[:_CLASSES]],
    skipped=_skipped(prompts.examples, _CLASSES),
  )


def _acceptance(acceptance: Acceptance, names: Mapping[str, str]) -> dict:
  drawn, passed, kept, filled = (sum(row[1:][i] for row in acceptance.rows) for i in range(4))
  rates = [(row[2] / row[1], names.get(row[0], row[0])) for row in acceptance.rows if row[1]]
  return dict(
    acceptance=acceptance,
    rows=[_accepted(names.get(row[0], row[0]), *row[1:]) for row in acceptance.rows[:_CLASSES]],
    total=_accepted("all classes", drawn, passed, kept, filled),
    least=min(rates, default=None),
    most=max(rates, default=None),
    skipped=_skipped(acceptance.rows, _CLASSES),
    pairs=base64.b64encode(acceptance.pairs).decode(),
  )


def _accepted(name: str, drawn: int, passed: int, kept: int, filled: int) -> dict:
  by_rule = kept - filled
  parts = [("kept", by_rule), ("spare", passed - by_rule), ("filled", filled)]
  return dict(
    name=name,
    drawn=drawn,
    passed=passed,
    kept=kept,
    filled=filled,
    rate=100 * passed / drawn if drawn else None,
    bar=figures.stack(parts, drawn),
  )


def _sheet(sheet: Sheet, names: Mapping[str, str], pictures: dict[bytes, tuple[str, bool]]) -> dict:
  rows = [
    dict(name=names.get(class_id, class_id), cells=[_cell(c, sheet.filter, pictures) for c in cells[:_CELLS]])
    for class_id, cells in sheet.rows[:_CLASSES]
  ]
  most = max((len(cells) for _, cells in sheet.rows[:_CLASSES]), default=0)
  return dict(
    sheet=sheet,
    rows=rows,
    shown=sum(len(row["cells"]) for row in rows),
    fates={_fate(c) for _, cells in sheet.rows for c in cells},
    skipped=_skipped(sheet.rows, _CLASSES),
    cut=f"The first {_CELLS} of up to {most} images of each class are shown." if most > _CELLS else "",
  )


def _fate(cell: Cell) -> str:
  if cell.kept is None:
    return ""
  if cell.kept:
    return "filled up" if cell.passed is False else "kept"
  return "left over" if cell.passed else "rejected"


def _cell(cell: Cell, chosen_by: str, pictures: dict[bytes, tuple[str, bool]]) -> dict:
  """An image met before is pointed at, not repeated; `pictures` knows its id in the page and whether it is small."""
  data = None
  if cell.jpeg not in pictures:
    thumbnail, small = _thumbnail(cell.jpeg)
    data = base64.b64encode(thumbnail).decode()
    pictures[cell.jpeg] = (f"i-{hashlib.sha256(cell.jpeg).hexdigest()[:16]}", small)
  anchor, small = pictures[cell.jpeg]
  fate = _fate(cell)
  score = "" if cell.score is None else number(cell.score, 2)
  description = [
    cell.prompt,
    f"{fate} by {chosen_by}" if fate and chosen_by else fate,
    score and f"score {score}",
    cell.image_id,
  ]
  return dict(
    cell=cell,
    anchor=anchor,
    data=data,
    small=small,
    fate=fate,
    score=score,
    description=" · ".join(filter(None, description)),
  )


def _thumbnail(jpeg: bytes) -> tuple[bytes, bool]:
  """The image, and whether it has fewer pixels than a cell, so that each of them should show.

  Small images, and what no decoder knows, stay as they are; large ones are reduced, their XMP mark kept.
  """
  try:
    with PIL.Image.open(io.BytesIO(jpeg)) as image:
      if max(image.size) <= _PIXELS:
        return jpeg, max(image.size) <= _PIXELS // 2
      reduced, mark = image.convert("RGB"), image.info.get("xmp", b"")
  except Exception:  # noqa: BLE001  PIL's readers raise whatever a broken file leads them to
    return jpeg, False
  reduced.thumbnail((_PIXELS, _PIXELS))
  buffer = io.BytesIO()
  reduced.save(buffer, "JPEG", quality=88, **(dict(xmp=mark) if mark else {}))
  return buffer.getvalue(), False


def _skipped(rows: Sequence, shown: int) -> str:
  return f"The first {shown} of {len(rows):,} classes are shown." if len(rows) > shown else ""
