"""The command: `python -m synthjax.main --config configs/X.py --workdir W`. What it does lives in study/."""

from __future__ import annotations

import os
import sys

from synthjax.cli import flags
from synthjax.runtime import processes


def main(argv: list[str]) -> int:
  """The exit code: 0 done, 2 something to fix (in one line), 75 a server or another process failed, 128 + n stopped in order by signal n."""
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
  except KeyboardInterrupt:
    return 130
  except Exception as e:
    from synthjax.cli import endings

    if not (found := endings.ending(e, argv)):
      raise
    print(f"synthjax: {found[0]}", file=sys.stderr)
    return found[1]
  return 0


def script() -> None:
  """The console script: `synthjax COMMAND ...`."""
  from synthjax.cli import commands

  processes.leave(main(commands.flags_or_exit(sys.argv[1:])))


if __name__ == "__main__":
  processes.leave(main(sys.argv[1:]))
