"""What a command makes of a study: the missing products, the page, the table, what is asked for beside them."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from etils import epath

from synthjax.disk import snapshot, workdir
from synthjax.products.arm import Arm
from synthjax.products.base import DONE, Product
from synthjax.products.derived_page import DerivedPage
from synthjax.products.image_set import SHEET, ImageSet
from synthjax.products.learner import Learner
from synthjax.products.network import Network
from synthjax.runtime import absence, devices
from synthjax.runtime.errors import UserError, nearest
from synthjax.runtime.stopping import Stop
from synthjax.spec.command import Command
from synthjax.store import leftovers
from synthjax.study import one_folder
from synthjax.study.export import export
from synthjax.study.graph import Study, design
from synthjax.study.kinds import ON_REQUEST, STAGES
from synthjax.study.plan_table import plan_table
from synthjax.study.predict import predict
from synthjax.study.scheduler import check_inputs, make, to_make
from synthjax.study.verify import verify


def run(command: Command) -> None:
  """The study, or what `--plan` and `--stages` leave of it."""
  with workdir.opened(command.workdir) as root:
    if command.plan:
      with absence.passed_over() as absent:
        print(plan_table(_designed(command, root)[1], root, absent))
    else:
      one_folder.check(root)
      _run(command, root)


def _designed(command: Command, root: epath.Path) -> tuple[Study, list[tuple[str, Product]]]:
  """The study, and what of it the stages ask for, under its folders below the workdir."""
  known = (*STAGES, *ON_REQUEST)
  for stage in command.stages:
    if stage not in known:
      raise UserError(f"--stages: no stage {stage!r}{nearest(stage, known)}")
  study = design(command.config, root, command.line, command.stages)
  if study.studies and "predict" in command.stages:
    raise UserError(
      f"--stages predict: a matrix has many studies; name one of them, with its own config and --workdir {root}/STUDY"
    )
  titled = [(name, p) for name, p in study.titled if not command.stages or p.stage in command.stages]
  if devices.is_main_process():
    for note in (*command.notes, *study.notes):
      print(f"note: {note}", file=sys.stderr)
  return study, titled


def _run(command: Command, root: epath.Path) -> None:
  study, titled = _designed(command, root)
  chosen = [p for _, p in titled]
  pages = [p for one in study.each for p in one.of(DerivedPage) if p in chosen and devices.is_main_process()]
  with snapshot.one_look():
    check_inputs(chosen)
    _check_devices(chosen)
    for network in (n for n in study.of(Network) if n in chosen):
      network.status()  # one that others were made from, and now asks for more, is refused before hours of training
    unfinished = [page for page in pages if page.status().state != DONE]
    pending = to_make(chosen)
  if chosen and devices.is_main_process():  # to verify changes nothing
    leftovers.sweep((root, *(root / name for name in study.studies)), study.spec.runtime)
  lines: list[str] = []
  with (
    Stop(study.spec.runtime.grace_seconds) as stop,
    _growing(unfinished, study.spec.report.refresh_seconds),
  ):
    make(chosen, stop, study.spec.runtime.stale_seconds, pending, lambda: lines.extend(_summary(pages)))
  if devices.is_main_process():
    for line in lines:
      print(line)
    if "verify" in command.stages:
      verify(study.titled, [root, *(root / name for name in study.studies)])
    if "predict" in command.stages:
      print(predict(study.spec, root, study.of(Arm), study.of(Learner)))
    if "export" in command.stages:
      print(export(study, root))
    for path in _to_look_at(study, chosen):
      print(path)


def _summary(pages: Sequence[DerivedPage]) -> Iterator[str]:
  return (line for page in pages for line in page.summary())


@contextlib.contextmanager
def _growing(pages: Sequence[DerivedPage], seconds: int) -> Iterator[None]:
  """Renders the page anew now and then while the study runs, and a last time when it fails; it never fails itself."""
  over = threading.Event()

  def render_all(refresh_seconds: int) -> None:
    for page in pages:
      try:
        page.render(refresh_seconds)
      except (UserError, OSError):
        continue  # what is wrong is reported by the stage that meets it
      except Exception as e:  # noqa: BLE001  a page is not worth a study
        print(f"the page could not be rendered: {type(e).__name__}: {e}", file=sys.stderr)
        over.set()

  def render() -> None:
    pause = 1.0  # the first one soon
    while not over.wait(pause):
      began = time.monotonic()
      render_all(seconds)
      pause = max(seconds, 20 * (time.monotonic() - began))  # a twentieth of one core at most

  thread = threading.Thread(target=render, name="page", daemon=True)
  if pages and seconds:
    thread.start()
  try:
    yield
  except UserError:
    over.set()
    render_all(0)  # as far as it came
    raise
  finally:
    over.set()
    if thread.is_alive():
      thread.join(timeout=5.0)  # who was asked to stop has no time for a page


def _to_look_at(study: Study, chosen: Sequence[Product]) -> list[epath.Path]:
  """The page; with --stages that leave it out, the sheets of the sets."""
  if pages := [page.page for page in study.of(DerivedPage) if page in chosen]:
    return pages
  return [s.folder / SHEET for one in study.each for s in one.of(ImageSet) if s in chosen]


def _check_devices(chosen: Sequence[Product]) -> None:
  """What cannot be made on these devices is refused before anything is made for it; a finished run is shown on any."""
  for product in chosen:
    try:
      product.check_devices()
    except UserError:
      if product.status().state != DONE:
        raise
