"""Which products a config asks for, and making the missing and the stale ones in order until nothing is missing."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from etils import epath
from ml_collections import ConfigDict

from synthjax import devices, workdir
from synthjax.command import Command
from synthjax.errors import UserError, nearest
from synthjax.labels import spaces
from synthjax.stages.benchmark import Benchmark
from synthjax.stages.product import DONE, Product, Status
from synthjax.stages.prompts import PromptList
from synthjax.stages.sample import SHEET, ImageSet
from synthjax.stages.train import Network
from synthjax.stages.verify import verify
from synthjax.stopping import Stop

STAGES = ("train", "prompts", "sample", "benchmark")  # in order; "verify" runs on request
_POLL_SECONDS = 1.0  # how often to look whether other processes have finished


def products(config: ConfigDict, root: epath.Path) -> list[Product]:
  """Everything the config asks for, each after what it is made from."""
  labels = spaces.load(config.labels)
  networks = [Network(config, root, name, labels) for name in _in_order(config.networks)]
  lists = {name: PromptList(config, root, name, labels) for name in config.prompts}
  sets = [ImageSet(config, root, name, labels, lists[own.prompts]) for name, own in config.sets.items()]
  if config.benchmark.rounds:
    return [*networks, *lists.values(), Benchmark(config, root, sets, len(labels))]
  return [*networks, *lists.values(), *sets]


def _in_order(networks: ConfigDict) -> list[str]:
  """A network comes after the autoencoder it works on."""
  return sorted(networks, key=lambda name: bool(networks[name].autoencoder))


def run(command: Command) -> None:
  """The study, or what `--plan` and `--stages` leave of it."""
  for stage in command.stages:
    if stage not in (*STAGES, "verify"):
      raise UserError(f"--stages: no stage {stage!r}{nearest(stage, (*STAGES, 'verify'))}")
  root = workdir.open_workdir(command.workdir)
  asked = products(command.config, root)
  chosen = [p for p in asked if not command.stages or p.stage in command.stages]
  if command.plan:
    print(plan_table([(p.name, p.status()) for p in chosen]))
    return
  with Stop(command.config.runtime.grace_seconds) as stop:
    make(chosen, stop)
  if "verify" in command.stages and devices.is_speaker():
    verify([p for p in asked if isinstance(p, ImageSet)])
  elif devices.is_speaker():
    for sheet in [p.folder / SHEET for p in chosen if isinstance(p, ImageSet)]:
      print(sheet)


def make(chosen: Sequence[Product], stop: Stop) -> None:
  """Goes on to the next product while other processes hold what is left of one, and comes back to it."""
  pending, told = list(chosen), False
  while pending:
    left = [product for product in pending if not _made(product, stop)]
    if len(left) == len(pending):
      if not told and devices.is_speaker():
        print(f"waiting for other processes: {', '.join(p.name for p in left)}", file=sys.stderr)
      told = True
      stop.sleep(_POLL_SECONDS)
    pending = left


def _made(product: Product, stop: Stop) -> bool:
  stop.check()
  return product.make(stop)


# --- --plan --------------------------------------------------------------------------------------


def plan_table(rows: Sequence[tuple[str, Status]]) -> str:
  """One line a product."""
  cells = [("product", "state", "have/want", "", "shards", "bytes", "FLOPs to do")]
  for name, s in rows:
    flops = _scaled(s.flops, "FLOP") if s.flops else ""
    want = f"{s.have:,}/{s.want:,}" if s.want else ""
    cells.append((name, s.state, want, s.unit, s.shards, _scaled(s.bytes, "B") if s.bytes else "", flops))
  widths = [max(len(row[c]) for row in cells) for c in range(len(cells[0]))]
  lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]
  to_do = sum(s.state != DONE for _, s in rows)
  return "\n".join([*lines, "nothing is missing" if not to_do else f"{to_do} of {len(rows)} to make"])


def _scaled(value: float, unit: str) -> str:
  for prefix in ("", "k", "M", "G", "T", "P"):
    if value < 1000:
      return f"{value:.3g} {prefix}{unit}"
    value /= 1000
  return f"{value:,.0f} E{unit}"
