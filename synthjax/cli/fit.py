"""`synthjax fit FILE`: scaling laws of the curves in a table, as text and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from synthjax.cli.completion import FIT_LAWS
from synthjax.cli.flags import Parser
from synthjax.disk.documents import is_writable
from synthjax.runtime.errors import UserError, nearest
from synthjax.scaling import comparison, exchange, intervals, laws, table
from synthjax.scaling.fitting import Fit
from synthjax.scaling.points import Points

Json = Mapping[str, object]


def fit(words: Sequence[str]) -> str:
  """What the command prints. A curve with too few sizes is left out by name; where none is left, that is the error."""
  args = _parser().parse_args(list(words))
  for word in words:
    if not is_writable(word):
      raise UserError(f"argument {word[:200]!a} is not UTF-8; rename the file")
  if not 0.5 <= args.level < 1:
    raise UserError(f"--level is {args.level:g}; it is a share from 0.5 to below 1, such as 0.9")
  if args.json and not Path(args.json).parent.is_dir():
    raise UserError(
      f"--json={args.json} cannot be written: its folder is not there; make it, or name another"
    )
  where = tuple(_condition(text) for text in args.where)
  by = tuple(name for name in args.by.split(",") if name)
  columns = table.Columns(args.x, args.y, by, args.seed, args.n, where)
  asked = _laws(args.law, bool(args.n))
  found = table.curves(table.read(Path(args.file)), columns, args.file)
  limits = _range(args.range)
  notes, results = list(found.notes), []
  for curve in found.curves:
    curve = curve.between(*limits) if limits else curve
    whole = args.range != "auto"
    if not len(curve.log_y):
      notes.append(f"{curve.name}: no size lies in --range={args.range}")
      continue
    result = comparison.compare(curve, asked, args.delta, args.level, intervals.REPLICATES, whole)
    notes += result.skipped if result.candidates else result.skipped[:1]  # of the law that asks least
    if result.candidates:
      results.append((curve, result))
  if not results:
    more = f"; and {len(notes) - 3} more" if len(notes) > 3 else ""
    raise UserError(f"table {args.file}: nothing can be fitted; {'; '.join(notes[:3])}{more}")
  against = _exchanges(results, args.against, args.level) if args.against else []
  title = f"{found.measure} against {args.x}{args.n and f' (D) and {args.n} (N)'}"
  if args.json:
    document = {"file": args.file, "fitted": title, "notes": notes, "curves": [_json(*r) for r in results]}
    _write(
      Path(args.json), document | ({"against": list(map(_json_of_exchange, against))} if against else {})
    )
  exchanged = [line for e in against for line in _lines_of_exchange(e)]
  return "\n".join(
    [title, *(line for r in results for line in ["", *_lines(*r)]), *_below(exchanged), *_below(notes)]
  )


def _parser() -> Parser:
  parser = Parser(
    prog="synthjax fit", allow_abbrev=False, description="Scaling laws of the curves in a table."
  )
  columns = table.Columns()
  parser.add_argument("file", metavar="FILE", help="a .csv, or .jsonl as a study's results.jsonl")
  parser.add_argument("--x", default=columns.x, metavar="COLUMN", help="the size D (default: %(default)s)")
  parser.add_argument(
    "--y",
    default=columns.y,
    metavar="COLUMN",
    help="what falls: loss (default), error, or another column or metric; top1 and error are 1 - top1 / 100 where the file has accuracy in percent",
  )
  parser.add_argument(
    "--by", default=",".join(columns.by), metavar="A,B", help="columns that tell curves apart (default: arm)"
  )
  parser.add_argument(
    "--seed", default=columns.seed, metavar="COLUMN", help="the seed of a row (default: %(default)s)"
  )
  parser.add_argument("--n", default="", metavar="COLUMN", help="the size N of the network, for law joint")
  parser.add_argument(
    "--where",
    default=[],
    action="append",
    metavar="COLUMN=VALUE",
    help="only such rows; may come several times",
  )
  parser.add_argument("--law", default="all", choices=FIT_LAWS, help="default: all that the columns allow")
  parser.add_argument(
    "--range",
    default="auto",
    metavar="auto|all|LOW:HIGH",
    help="sizes that are fitted; auto drops small ones in which a law misfits by more than the seeds' spread (default)",
  )
  parser.add_argument(
    "--delta", type=float, help="Huber's, in log units (default: the median spread of seeds, 0.001 with one)"
  )
  parser.add_argument(
    "--level", type=float, default=intervals.LEVEL, help="of the intervals (default: %(default)s)"
  )
  parser.add_argument(
    "--against",
    default="",
    metavar="CURVE",
    help="how many images of every other curve do as well as this one's, by its name in the table",
  )
  parser.add_argument("--json", default="", metavar="OUT", help="also write everything to this file")
  return parser


def _condition(text: str) -> tuple[str, str]:
  name, equals, value = text.partition("=")
  if not (name and equals):
    raise UserError(f"--where={text} is not COLUMN=VALUE; write it as --where dataset=digits")
  return name, value


def _laws(name: str, has_network: bool) -> list[laws.Law]:
  if name == "all":
    return [laws.JOINT] if has_network else [laws.POWER, laws.FLOOR, laws.BROKEN]
  if (name == "joint") != has_network:
    raise UserError("law joint and the column of N belong together; write --law joint --n COLUMN")
  return [laws.LAWS[name]]


def _range(text: str) -> tuple[float, float] | None:
  if text in ("auto", "all"):
    return None
  low, colon, high = text.partition(":")
  try:
    limits = float(low or 0), float(high or math.inf)
  except ValueError:
    limits = (1.0, 0.0)
  if not (colon and 0 <= limits[0] < limits[1]):
    raise UserError(f"--range={text} is neither auto nor all nor LOW:HIGH, such as 20:2000")
  return max(limits[0], 1e-300), limits[1]


def _write(file: Path, document: Json) -> None:
  try:
    file.write_text(json.dumps(document, indent=2) + "\n")
  except OSError as e:
    raise UserError(f"--json={file} cannot be written: {e.strerror}; name another file") from None


@dataclasses.dataclass(frozen=True)
class _Exchange:
  """Synthetic images for real ones: of a curve for those of another, by each one's best law."""

  curve: str
  law: str
  reference: str
  reference_law: str
  rates: Sequence[exchange.Rate]
  crossing: exchange.Estimate | None


def _exchanges(
  results: Sequence[tuple[Points, comparison.Comparison]], name: str, level: float
) -> list[_Exchange]:
  """Of all others for the curve of this name, at its sizes."""
  fits = {curve.name: _best(found) for curve, found in results}
  if name not in fits:
    raise UserError(f"--against={name}: no such curve was fitted{nearest(name, fits)}")
  base = fits[name]
  sizes = [float(size) for size in np.exp(np.unique(base.points.logs_MxV[:, 0]))]
  return [
    _Exchange(
      other,
      of.law.name,
      name,
      base.law.name,
      exchange.rates(of, base, sizes, level),
      exchange.crossing(of, base, level),
    )
    for other, of in fits.items()
    if other != name
  ]


def _lines_of_exchange(e: _Exchange) -> list[str]:
  lines = [f"{e.curve} for {e.reference}, by laws {e.law} and {e.reference_law}:"]
  for rate in e.rates:
    each = f"{_estimate(rate.per_image)} for each{_beyond(rate.images)}"
    lines.append(f"  {rate.size:.5g} images: {_estimate(rate.images)} of {e.curve}, {each}")
  if e.crossing is not None:
    lines.append(f"  they cross at {_estimate(e.crossing)} images{_beyond(e.crossing)}")
  return lines


def _beyond(of: exchange.Estimate) -> str:
  return ", beyond what was measured" if of.extrapolated else ""


def _json_of_exchange(e: _Exchange) -> Json:
  rates = [
    {"reference_images": r.size, "measure": r.measure}
    | {"images": _json_of_estimate(r.images), "per_image": _json_of_estimate(r.per_image)}
    for r in e.rates
  ]
  found = {"curve": e.curve, "law": e.law, "reference": e.reference, "reference_law": e.reference_law}
  return found | {"rates": rates, "crossing": e.crossing and _json_of_estimate(e.crossing)}


def _json_of_estimate(of: exchange.Estimate) -> Json:
  ends = {"low": _finite(of.interval.low), "high": _finite(of.interval.high)}
  return {"value": _finite(of.value), **ends, "intervals": of.method, "is_extrapolated": of.extrapolated}


def _best(found: comparison.Comparison) -> Fit:
  assert found.chosen  # results have candidates
  return found.chosen.fit


def _estimate(of: exchange.Estimate) -> str:
  return f"{of.value:.4g} ({of.interval.low:.4g} to {of.interval.high:.4g})"


def _lines(curve: Points, found: comparison.Comparison) -> list[str]:
  delta = found.candidates[0].fit.delta
  seeds = len(curve.seeds)
  method = found.candidates[0].certainty.method
  lines = [
    f"{curve.name}: {len(curve.sizes)} sizes, {seeds} seed{'s' * (seeds > 1)}, Huber's delta {delta:.3g}, "
    f"{100 * found.candidates[0].certainty.level:g} % intervals "
    + (
      "by the bootstrap over seeds"
      if method == "bootstrap"
      else f"parametric (a bootstrap needs {intervals.LEAST_SEEDS} seeds)"
    ),
    f"  {'law':<7} {'sizes':<14} {'rmse':>8} {'R2':>8} {'held out':>8} {'wins':>5}  parameters",
  ]
  for c in found.candidates:
    sizes = curve_range(c.fit.points)
    held = "" if c.held_out is None else f"{c.held_out:.2g}"
    wins = "" if c.wins is None else f"{100 * c.wins:.0f} %"
    values = [
      f"{n} {v:.4g} ({i.low:.4g} to {i.high:.4g})"
      for (n, v), i in zip(c.fit.values.items(), c.certainty.intervals.values(), strict=True)
    ]
    lines.append(
      f"  {c.fit.law.name:<7} {sizes:<14} {c.fit.rmse:>8.2g} {c.fit.r2:>8.4f} {held:>8} {wins:>5}  {', '.join(values)}"
    )
  lines += [f"  {remark}" for remark in remarks(found)]
  return lines


def curve_range(data: Points) -> str:
  low, high = (math.exp(x) for x in (data.logs_MxV[:, 0].min(), data.logs_MxV[:, 0].max()))
  return f"{low:.5g} to {high:.5g}"


def remarks(found: comparison.Comparison) -> list[str]:
  said = []
  for c in found.candidates:
    name, floor = c.fit.law.name, c.fit.law.floor
    if floor is not None and not c.certainty.floor_identified:
      said.append(f"{name}: the floor {c.fit.law.names[floor]} is not identified: the points fit without one")
    if c.misfit is not None and c.misfit < comparison.MISFIT:
      said.append(f"{name} misfits the means over seeds (p = {c.misfit:.1g}), in every range")
    if c.rejected:
      said.append(f"{name} is rejected against {found.best}: {c.rejected}")
  best = next((c for c in found.candidates if c.fit.law.name == found.best), None)
  if best and best.held_out is None:
    said.append(
      f"{found.best} is the first law that does not misfit; too few sizes are left to hold some out"
    )
  elif best and len(found.candidates) > 1:
    sizes = ", ".join(f"{size:.5g}" for size in found.held_out)
    said.append(f"{found.best} predicts the largest sizes best ({sizes}, held out)")
  return said


def _json(curve: Points, found: comparison.Comparison) -> Json:
  candidates = []
  for c in found.candidates:
    candidates.append(
      {
        "law": c.fit.law.name,
        "formula": c.fit.law.formula,
        "parameters": {
          name: {"value": value, "low": _finite(i.low), "high": _finite(i.high)}
          for (name, value), i in zip(c.fit.values.items(), c.certainty.intervals.values(), strict=True)
        },
        "intervals": c.certainty.method,
        "level": c.certainty.level,
        "floor_identified": c.certainty.floor_identified,
        "smallest": math.exp(c.fit.points.logs_MxV[:, 0].min()),
        "largest": math.exp(c.fit.points.logs_MxV[:, 0].max()),
        "delta": c.fit.delta,
        "rmse_log": c.fit.rmse,
        "r2_log": c.fit.r2,
        "misfit_p": c.misfit,
        "held_out_rmse_log": c.held_out,
        "wins": c.wins,
        "rejected": c.rejected,
      }
    )
  return {
    "curve": curve.name,
    "sizes": len(curve.sizes),
    "seeds": len(curve.seeds),
    "held_out": found.held_out,
    "best": found.best,
    "laws": candidates,
  }


def _finite(value: float) -> float | None:
  return value if math.isfinite(value) else None


def _below(notes: Sequence[str]) -> list[str]:
  return ["", *notes] if notes else []
