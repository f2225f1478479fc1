"""The command: `python -m synthjax.main --config configs/X.py --workdir W`. What it does lives in study/."""

from __future__ import annotations

import os
import sys

from synthjax.cli import flags
from synthjax.runtime import processes
from synthjax.runtime.errors import Interrupted, UserError, one_line


def main(argv: list[str]) -> int:
  """The exit code: 0 done, 2 something to fix (in one line), 75 a server failed, 128 + n stopped in order by signal n."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # the XLA runtime's notes
  try:
    flags.read(argv)
    # Each import takes longer than the one before: none is made before what it reads is known to be right.
    from synthjax.cli import command_line

    command = command_line.parse(argv)
    from synthjax import study
    from synthjax.runtime import devices

    runtime = command.config.runtime
    devices.start(command.distributed, runtime.compile_cache, runtime.cpu_devices)
    study.run(command)
  except UserError as e:
    from synthjax.cli import config_lines

    print(f"synthjax: {one_line(e)}{config_lines.about(str(e), argv)}", file=sys.stderr)
    return e.exit_code
  except Interrupted as e:
    print(f"synthjax: {e}; run the same command again to go on", file=sys.stderr)
    return e.exit_code
  except KeyboardInterrupt:
    return 130
  except Exception as e:
    from synthjax.disk import faults

    fault = faults.disk_fault(e)
    if not fault and isinstance(e, OSError):  # of a network, as it may be
      fault = f"{e.filename or 'input/output'}: {e.strerror or e}; run the same command again to go on"
    if not fault:
      raise
    print(f"synthjax: {fault}", file=sys.stderr)
    return 2
  return 0


def script() -> None:
  """The console script: `synthjax COMMAND ...`."""
  from synthjax.cli import commands

  processes.leave(main(commands.flags_or_exit(sys.argv[1:])))


if __name__ == "__main__":
  processes.leave(main(sys.argv[1:]))
