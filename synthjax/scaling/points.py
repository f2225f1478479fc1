"""The points of one curve: sizes, measured values and the seeds they belong to, checked once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from synthjax.runtime.errors import UserError

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Points:
  """One row a size and seed. `log_y` is of a loss or of an error as a share, both positive."""

  name: str
  logs_MxV: Array  # log D, and log N where a law has it
  log_y: Array
  seed: Array  # int, of each row

  @property
  def sizes(self) -> Array:
    """The different sizes (or pairs of them), ascending."""
    return np.unique(self.logs_MxV, axis=0)

  @property
  def seeds(self) -> Array:
    return np.unique(self.seed)

  def take(self, rows: Array) -> Points:
    """Some of the rows, by index or mask."""
    return Points(self.name, self.logs_MxV[rows], self.log_y[rows], self.seed[rows])

  def between(self, low: float, high: float) -> Points:
    """Those with low <= D <= high."""
    x, slack = self.logs_MxV[:, 0], 1e-9
    return self.take((x >= np.log(low) - slack) & (x <= np.log(high) + slack))

  def decades(self, column: int = 0) -> float:
    x = self.logs_MxV[:, column]
    return float(np.ptp(x) / np.log(10)) if len(x) else 0.0

  def spread_of_seeds(self) -> float | None:
    """The median over sizes of the standard deviation over seeds of log y; None without a size that has two seeds."""
    _, where = np.unique(self.logs_MxV, axis=0, return_inverse=True)
    groups = [self.log_y[where.ravel() == i] for i in range(int(where.max()) + 1)]
    spreads = [np.std(g, ddof=1) for g in groups if len(g) > 1]
    return float(np.median(spreads)) if spreads and np.median(spreads) > 0 else None


def points(name: str, sizes: Array, values: Array, seeds: Sequence[int] | Array | None = None) -> Points:
  """Sizes are (M,) or (M, V). Refused where a number is not finite or not positive, or a size and seed come twice."""
  x = np.asarray(sizes, np.float64)
  x = x[:, None] if x.ndim == 1 else x
  y = np.asarray(values, np.float64)
  seed = np.zeros(len(y), np.int64) if seeds is None else np.asarray(seeds, np.int64)
  if not len(y):
    raise UserError(f"{name}: there are no rows to fit")
  for what, column in (("size", x), ("value", y[:, None])):
    bad = np.flatnonzero(~(np.isfinite(column) & (column > 0)).all(axis=1))
    if len(bad):
      raise UserError(
        f"{name}: a {what} is {column[bad[0]].tolist()[0]:g}, and a law in log space needs positive numbers; "
        f"leave such rows out ({len(bad)} of {len(y)})"
      )
  _, first, count = np.unique(np.column_stack([x, seed]), axis=0, return_index=True, return_counts=True)
  if (count > 1).any():
    i = first[np.argmax(count > 1)]
    raise UserError(
      f"{name}: {count.max()} rows have size {x[i, 0]:g} and seed {seed[i]}; name the columns that tell them apart (--by, --seed)"
    )
  return Points(name, np.log(x), np.log(y), seed)
