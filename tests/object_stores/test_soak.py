"""Four processes on one study, of which chance kills, stops, wakes and starts one every few seconds: `SYNTHJAX_SOAK=30` minutes.

Whenever the study is done, what it made is compared with what an undisturbed process makes on a disk, and another one begins.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.object_stores import studies
from tests.object_stores.servers import SERVERS

MINUTES = float(os.environ.get("SYNTHJAX_SOAK") or 0)
PROCESSES = 4


@pytest.fixture(scope="module")
def file(tmp_path_factory, weights) -> str:
  return studies.config_file(tmp_path_factory.mktemp("config"), weights)


@pytest.mark.skipif(not MINUTES, reason="SYNTHJAX_SOAK=30 soaks for half an hour")
@pytest.mark.slow
@pytest.mark.parametrize("where", ["disk", "gs"])
def test_soak(where, file, forked, tmp_path):
  wanted, rng = studies.undisturbed(forked, file, "all", tmp_path), random.Random(0)
  until, rounds = time.monotonic() + 60 * MINUTES, 0
  done = dict.fromkeys(("killed", "stopped", "started"), 0)
  with SERVERS["gs"]() as server:
    while time.monotonic() < until:
      own = server.fresh()
      workdir = f"{own.url}/w" if where == "gs" else str(tmp_path / f"w{rounds}")

      def start(own=own, workdir=workdir):
        done["started"] += 1
        environment = {
          **own.environment,
          "SYNTHJAX_DATA": str(tmp_path / f"cache-{rng.randrange(PROCESSES)}"),
        }
        return forked(f"--config={file}:all", f"--workdir={workdir}", "--distributed=off", env=environment)

      at_work, ended = [start() for _ in range(PROCESSES)], []
      while at_work and time.monotonic() < until:
        time.sleep(rng.uniform(0.2, 3.0))
        process = rng.choice(at_work)
        if rng.random() < 0.5:
          process.kill()
          process.wait()
          done["killed"] += 1
          at_work[at_work.index(process)] = start()
        else:
          process.send_signal(signal.SIGSTOP)
          time.sleep(rng.choice((0.3, 1.0, 6.0)))
          process.send_signal(signal.SIGCONT)
          done["stopped"] += 1
        ended += [p for p in at_work if p.poll() == 0]
        for p in [p for p in at_work if p.poll() is not None]:
          out, err = p.communicate()
          assert p.returncode == 0 or p.returncode == -signal.SIGKILL, f"{out[-500:]}\n{err[-3000:]}"
          at_work.remove(p)
      for process in at_work:
        studies.finish(process)
      studies.finish(start())  # who was killed may have been the last at work
      found = studies.made(own) if where == "gs" else studies.made_on_disk(Path(workdir))
      studies.assert_equal(found, wanted)
      names = studies.names(own) if where == "gs" else [str(p) for p in Path(workdir).rglob("*")]
      assert [name for name in names if "/.working/" in name] == []
      rounds += 1
      print(f"{where}: {rounds} studies, {done}", flush=True)
  assert rounds
