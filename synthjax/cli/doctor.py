"""`synthjax doctor --workdir FOLDER`: whether this machine and this folder are fit, a line each.

The exit code is 1 where a study could not be made here, or not rightly. Of a launch's processes, process 0 prints its lines,
and each other one what it alone has to say.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

from etils import epath

from synthjax.cli.command_line import parse
from synthjax.cli.flags import Parser
from synthjax.disk import drafts, faults, workdir
from synthjax.disk.documents import is_writable
from synthjax.doctor import folder, launch, machine, network
from synthjax.doctor.finding import Finding, failed, probed
from synthjax.runtime import devices
from synthjax.runtime.errors import Interrupted, UserError, one_line
from synthjax.runtime.stopping import Stop
from synthjax.spec.config import Config, study_config

_WAIT = 60.0  # seconds for the other processes of a launch


def doctor(words: Sequence[str]) -> int:
  """The exit code."""
  for word in words:
    if not is_writable(word):
      raise UserError(f"argument {word[:200]!a} is not UTF-8; rename the file, or write the value otherwise")
  args, overrides = _parser().parse_known_args(list(words))
  if not 0 < args.wait <= 3600:
    raise UserError(f"--wait is {args.wait:g}; it is a number of seconds above 0, and at most 3600")
  config = _config(args.config, args.workdir, overrides)
  launched = devices.launched() if args.distributed != "off" else devices.Launched()
  fails = False
  findings = _findings(args.workdir, args.distributed, config, bool(args.config), launched, args.wait)
  with Stop() as stop, contextlib.closing(findings):
    try:
      for finding in findings:
        fails |= finding.fails
        if launched.index == 0:
          print(finding.line(), flush=True)
        elif finding.fix:
          print(f"{finding.line()} (process {launched.index} on {socket.gethostname()})", flush=True)
        stop.check()
    except Interrupted as e:
      return e.exit_code
  return int(fails)


def _parser() -> Parser:
  parser = Parser(
    prog="synthjax doctor",
    allow_abbrev=False,
    description="Are this machine and this folder fit for studies?",
  )
  parser.add_argument(
    "--workdir", required=True, help="the folder, or the URL of one in a bucket; it is left as it was"
  )
  parser.add_argument("--config", default="", metavar="FILE.py[:arg]", help="a study that shall run here")
  parser.add_argument(
    "--distributed",
    default="auto",
    choices=("auto", "on", "off"),
    help="on: also join the processes of the launch by jax.distributed, and measure an all-reduce",
  )
  parser.add_argument(
    "--wait",
    default=_WAIT,
    type=float,
    metavar="SECONDS",
    help="for the other processes of a launch (default: %(default)g)",
  )
  return parser


def _config(file: str, folder: str, overrides: Sequence[str]) -> Config:
  """A study's, with its overrides; the default one where none is named."""
  if file:
    return parse([f"--config={file}", f"--workdir={folder}", *overrides]).config
  if overrides:
    raise UserError(f"unexpected argument {overrides[0]!r}: fields are set beside --config; see --help")
  return study_config()


def _findings(
  path: str, distributed: str, config: Config, named: bool, launched: devices.Launched, wait: float
) -> Generator[Finding]:
  """What takes the others of a launch comes first: they would time out while one of them measures."""
  runtime = config.runtime
  try:
    devices.start(distributed, "", runtime.cpu_devices)
  except UserError as e:
    if distributed != "on":
      raise
    yield failed("join", one_line(e))
    return
  with contextlib.ExitStack() as stack:
    try:
      root = stack.enter_context(workdir.opened(path))
    except UserError as e:
      if not isinstance(e.__cause__, OSError):  # a mistake in the command, and nothing of the disk
        raise
      yield failed("workdir", one_line(e))
    else:
      yield from _of_folder(root, launched, wait)
      yield probed("hub", lambda: network.of_hub(config if named else None, root), essential=False)
  yield (found := probed("devices", machine.of_devices))
  if not found.fails:
    yield probed("memory", lambda: machine.device_memory(runtime.device_memory_gb))
  yield probed("host", machine.decoding_rate, essential=False)
  yield probed("compile cache", lambda: machine.compile_cache(runtime.compile_cache))


def _of_folder(root: epath.Path, launched: devices.Launched, wait: float) -> Iterator[Finding]:
  """Nothing of it stays: all is made in a folder that has the name of a draft, which is removed even after a kill."""
  own = drafts.draft_of(root / workdir.PROBE)
  try:
    own.mkdir()
    if launched.count > 1:
      yield from _of_launch(root, own, launched, wait)
    if launched.index == 0:  # of one disk once
      probes: Mapping[str, Callable[[epath.Path], Finding]] = {
        "exclusive": folder.exclusive_creation,
        "listings": folder.listings,
        "clock": folder.clock,
        "room": folder.room,
        "rate": folder.rates,
        "publishing": folder.publications,
      }
      for name, probe in probes.items():
        place = own / name
        yield probed(name, lambda probe=probe, place=place: probe(_made(place)))
  except OSError as e:
    said = one_line(e) if isinstance(e, UserError) else faults.disk_fault(e) or f"{e.filename}: {e.strerror}"
    yield failed("workdir", said)
  finally:
    workdir.remove_folder(own)


def _of_launch(
  root: epath.Path, own: epath.Path, launched: devices.Launched, wait: float
) -> Iterator[Finding]:
  found: list[epath.Path] = []

  def meet() -> Finding:
    finding, place = launch.same_folder(root, own, launched, wait)
    found.extend([place] if place else [])
    return finding

  yield probed("launch", meet)
  if found:
    yield from filter(None, [launch.exclusive_creation(found[0], launched, wait)])
    if devices.is_joined():  # at once: nobody waits in a collective for what process 0 does to the disk
      yield probed("all-reduce", launch.all_reduce)


def _made(place: epath.Path) -> epath.Path:
  place.mkdir()
  return place
