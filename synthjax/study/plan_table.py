"""What `--plan` prints: which products are missing, and what they cost."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Container, Iterable, Mapping, Sequence
from types import MappingProxyType

from etils import epath

from synthjax.disk import snapshot
from synthjax.learning import rates
from synthjax.products.base import DONE, Product, Status, status_or_refusal
from synthjax.runtime import absence
from synthjax.runtime.errors import NotHere
from synthjax.runtime.progress import duration, readable

_SHARE = 0.3  # of a device's peak that work reaches, where nothing was measured
_LARGE = 128  # pixels a side: what is smaller costs little in any size
_Row = tuple[str, Status]


def plan_table(
  products: Sequence[tuple[str, Product]],
  root: epath.Path,
  absent: Mapping[str, NotHere] = MappingProxyType({}),
) -> str:
  """One line a product, under its folder below the workdir; then why some are to be made again, and what all of it takes.

  `absent`: by reference, what has been found not to be on this machine; making the statuses may find more.
  """
  with snapshot.one_look():
    rows = [(name, status_or_refusal(product)) for name, product in products]
    flops = {name: s.flops() for name, s in rows}
    times = _times(rows, flops)
  cells = [
    ("product", "state", "have/want", "", "shards", "bytes", "FLOPs to do", "time left" if times else "")
  ]
  for name, s in rows:
    want = f"{s.have:,}/{s.want:,}" if s.want else ""
    cost = _scaled(flops[name], "FLOP") if flops[name] else ""
    size = _scaled(s.bytes, "B") if s.bytes else ""
    time = f"{duration(times[name][0])} ({times[name][1]})" if name in times else ""
    cells.append((name, s.state, want, s.unit, s.shards, size, cost, time))
  widths = [max(len(row[c]) for row in cells) for c in range(len(cells[0]))]
  lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]
  to_do = [(name, s) for name, s in rows if s.state != DONE]
  lines += [f"{name}: {why}" for name, s in rows if (why := s.why or s.note())]
  if to_do:
    missing = {name for name, _ in to_do}
    lines += _to_fetch((p for name, p in products if name in missing), absent)
    lines += _room(to_do, root)
    lines += _smaller_images(products, missing)
    lines += [f"memory: {name} {needs}" for name, s in to_do if (needs := _memory(s))]
  if times and all(name in times for name, s in to_do if flops[name]):
    lines.append(
      f"about {duration(sum(seconds for seconds, _ in times.values()))} on this machine, for what has a time above"
    )
  lines += _not_here(absent)
  return "\n".join([*lines, f"{len(to_do)} of {len(rows)} to make" if to_do else "nothing is missing"])


def _times(rows: Sequence[_Row], flops: Mapping[str, float]) -> dict[str, tuple[float, str]]:
  """Seconds left, and how they are known, of what is missing: its own rate, or that of the study's sets, before the peak's."""
  found = {name: (seconds, "measured") for name, s in rows if s.state != DONE and (seconds := s.seconds())}
  left = [name for name, s in rows if s.state != DONE and flops[name] and name not in found]
  if not left:
    return found
  speeds = [speed for _, s in rows if (speed := s.speed())]
  if speeds:
    return found | {name: (flops[name] / statistics.median(speeds), "measured") for name in left}
  if peak := rates.peak():
    how = f"at {_SHARE:.0%} of the peak".replace("%", " %")
    return found | {name: (flops[name] / (_SHARE * peak), how) for name in left}
  return found


def _to_fetch(products: Iterable[Product], absent: Container[str]) -> list[str]:
  """Of the hub, where it answers; what several products read is fetched once."""
  found = dict.fromkeys(fetch for product in products for fetch in product.to_fetch())
  missing = [
    f"{fetch.reference}, {_scaled(fetch.bytes, 'B')}" if fetch.bytes else fetch.reference
    for fetch in found
    if fetch.reference not in absent
  ]
  return [f"weights to fetch: {'; '.join(missing)}"] if missing else []


def _memory(status: Status) -> str:
  """A rule may hold as much as there are real images."""
  try:
    return status.memory()
  except NotHere as e:
    absence.note(e)
    return ""


def _not_here(absent: Mapping[str, NotHere]) -> list[str]:
  """A line a kind; in it, what comes about in the same way stands together."""
  kinds: dict[str, dict[str, list[str]]] = {}
  for reference, error in absent.items():
    kinds.setdefault(error.what, {}).setdefault(error.fix, []).append(reference)
  lines = []
  for what, by_fix in kinds.items():
    said = "; ".join(f"{', '.join(own)} ({fix})" for fix, own in by_fix.items())
    lines.append(f"{what} that are not here: {said}")
  return lines


def _room(to_do: Sequence[_Row], root: epath.Path) -> list[str]:
  """Bytes beside what the file system of the workdir has left."""
  left = sum(s.bytes * (s.want - s.have) / s.want for _, s in to_do if s.want)
  try:
    free = shutil.disk_usage(root).free
  except OSError:  # no folder of a file system
    return []
  if not left:
    return []
  sizes = f"{_scaled(left, 'B')} to write, {_scaled(free, 'B')} free"
  if left <= free:
    return [f"disk: {sizes}"]
  return [f"warning: disk: {sizes} in {root}: it does not fit; free some room, or ask for fewer images"]


def _smaller_images(products: Sequence[tuple[str, Product]], missing: Container[str]) -> list[str]:
  """Of sets whose images are larger than what is learnt from them. Before they are drawn: ids depend on the size."""
  lines = []
  for name, images in products:
    sides = [p.read_side for _, p in products if images in p.inputs and p.stage != "report"]
    stored, needed = images.stored_side, max(sides, default=0)
    if name in missing and all(sides) and needed and stored >= max(_LARGE, 1.2 * needed):
      lines.append(
        f"{name}: stored at {stored} px, and no learner reads more than {needed}: stored_size={needed} takes about "
        f"{(needed / stored) ** 2:.0%} of the room and of the time to decode; with another size later they are other images"
      )
  return lines


def _scaled(value: float, unit: str) -> str:
  for prefix in ("", "k", "M", "G", "T", "P"):
    if value < 999.5:  # the rest would round to 1,000 of these
      return f"{readable(value)} {prefix}{unit}"
    value /= 1000
  return f"{value:,.0f} E{unit}"
