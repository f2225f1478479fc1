"""How well planted laws are found again: errors beside the Cramer-Rao bound, and how often intervals hold the truth.

python -m tests.scaling.planted [--sets 1000] [--sizes 6,8,12] [--noise .001,.01,.03] [--seeds 1,3,5,10]

Each set is `floor` at a = 2, k = .5, c = .1 over two decades from 10, with independent normal log noise; each row
states the median |error| of k and c in %, the same of an efficient estimator (.6745 of the Cramer-Rao bound), the coverage of
90 % intervals in %, the share of floors found to be identified, and seconds a set.
"""

import argparse
import dataclasses
import time

import numpy as np

from synthjax.scaling import fitting, intervals, laws
from synthjax.scaling.points import points

TRUE = {"a": 2.0, "k": 0.5, "c": 0.1}
_THETA = np.array([np.log(2.0), 0.5, np.log(0.1)])


@dataclasses.dataclass(frozen=True)
class Recovery:
  """Of many planted sets; errors are relative."""

  error: dict[str, float]  # the median
  efficient: dict[str, float]  # of an unbiased normal estimator at the Cramer-Rao bound
  coverage: dict[str, float]
  identified: float
  seconds: float  # a set


def recovery(sets: int, n: int, noise: float, seeds: int, replicates: int = 1000) -> Recovery:
  rng = np.random.default_rng([sets, n, round(1e6 * noise), seeds])
  sizes = np.repeat(np.geomspace(10, 1000, n), seeds)
  true, gradient = laws.FLOOR.evaluate(_THETA, np.log(sizes)[:, None])
  bound = np.sqrt(np.diag(np.linalg.inv(gradient.T @ gradient / noise**2)))  # of theta; of log c for c
  errors, held, identified, start = [], [], 0, time.perf_counter()
  for _ in range(sets):
    log_y = true + noise * rng.normal(size=len(true))
    fit = fitting.fit(laws.FLOOR, points("set", sizes, np.exp(log_y), np.tile(np.arange(seeds), n)))
    sure = intervals.certainty(fit, replicates=replicates)
    errors.append([abs(fit.values[p] / TRUE[p] - 1) for p in TRUE])
    held.append([sure.intervals[p].low <= TRUE[p] <= sure.intervals[p].high for p in TRUE])
    identified += bool(sure.floor_identified)
  relative = bound / np.array([1.0, TRUE["k"], 1.0])
  return Recovery(
    dict(zip(TRUE, np.median(errors, axis=0).tolist(), strict=True)),
    dict(zip(TRUE, (0.67449 * relative).tolist(), strict=True)),
    dict(zip(TRUE, np.mean(held, axis=0).tolist(), strict=True)),
    identified / sets,
    (time.perf_counter() - start) / sets,
  )


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument("--sets", type=int, default=1000)
  parser.add_argument("--sizes", default="6,8,12")
  parser.add_argument("--noise", default=".001,.01,.03")
  parser.add_argument("--seeds", default="1,3,5,10")
  parser.add_argument("--replicates", type=int, default=1000)
  args = parser.parse_args()
  print("sizes seeds noise | error of k  efficient | error of c  efficient | coverage k c | identified | s")
  for seeds in map(int, args.seeds.split(",")):
    for n in map(int, args.sizes.split(",")):
      for noise in map(float, args.noise.split(",")):
        r = recovery(args.sets, n, noise, seeds, args.replicates)
        errors = " | ".join(f"{100 * r.error[p]:10.3f} {100 * r.efficient[p]:10.3f}" for p in "kc")
        coverage = " ".join(f"{100 * r.coverage[p]:5.1f}" for p in "kc")
        print(
          f"{n:5} {seeds:5} {100 * noise:4.1f}% | {errors} | {coverage} | {100 * r.identified:5.1f} | {r.seconds:.3f}",
          flush=True,
        )


if __name__ == "__main__":
  main()
