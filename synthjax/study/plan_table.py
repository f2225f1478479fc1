"""What `--plan` prints: which products are missing, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence

from synthjax.disk import snapshot
from synthjax.products.base import DONE, Product, status_or_refusal
from synthjax.runtime.progress import readable


def plan_table(products: Sequence[tuple[str, Product]]) -> str:
  """One line a product, under its folder below the workdir; then why some are to be made again."""
  with snapshot.one_look():
    rows = [(name, status_or_refusal(product)) for name, product in products]
  cells = [("product", "state", "have/want", "", "shards", "bytes", "FLOPs to do")]
  for name, s in rows:
    flops = _scaled(cost, "FLOP") if (cost := s.flops()) else ""
    want = f"{s.have:,}/{s.want:,}" if s.want else ""
    cells.append((name, s.state, want, s.unit, s.shards, _scaled(s.bytes, "B") if s.bytes else "", flops))
  widths = [max(len(row[c]) for row in cells) for c in range(len(cells[0]))]
  lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]
  to_do = sum(s.state != DONE for _, s in rows)
  lines += [f"{name}: {s.why}" for name, s in rows if s.why]
  return "\n".join([*lines, "nothing is missing" if not to_do else f"{to_do} of {len(rows)} to make"])


def _scaled(value: float, unit: str) -> str:
  for prefix in ("", "k", "M", "G", "T", "P"):
    if value < 999.5:  # the rest would round to 1,000 of these
      return f"{readable(value)} {prefix}{unit}"
    value /= 1000
  return f"{value:,.0f} E{unit}"
