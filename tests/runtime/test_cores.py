"""How many cores a process may use, whatever the machine has."""

import os
from pathlib import Path

import pytest

from synthjax.runtime import devices


@pytest.mark.parametrize(
  ("quota", "cores"), [("max 100000", 16), ("350000 100000", 4), ("20000 100000", 1), ("9900000 100000", 16)]
)
def test_the_quota_of_a_container_counts(quota, cores, monkeypatch):
  monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
  monkeypatch.setattr(Path, "read_text", lambda self: quota)
  assert devices.cores() == cores and devices.threads() == 8
