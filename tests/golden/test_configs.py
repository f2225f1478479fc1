"""Every shipped config resolves to what lies in tests/golden/configs: a changed default, name or identity
shows in review."""

import json

import pytest

from tests.golden import resolved

COMMAND = "python -m tests.golden.write configs"


def differences(was, now, where: str = "") -> list[str]:
  """A line a value."""
  if isinstance(was, dict) and isinstance(now, dict):
    keys = [*was, *(k for k in now if k not in was)]
    return [
      line for k in keys for line in differences(was.get(k, "absent"), now.get(k, "absent"), f"{where}: {k}")
    ]
  return [] if was == now else [f"{where}: was {json.dumps(was)}, is {json.dumps(now)}"]


def told(lines: list[str], most: int = 30) -> str:
  more = [f"... and {len(lines) - most} more"] if len(lines) > most else []
  how = f"if this is meant, write the files anew and review their diff: {COMMAND}"
  return "\n".join(["", *lines[:most], *more, how])


def known() -> dict:
  return json.loads((resolved.FOLDER / resolved.DEFAULTS).read_text())


def test_defaults_are_those_of_the_last_review():
  was = known()
  del was["identities"]
  lines = differences(was, resolved.flat_defaults(), "defaults")
  assert not lines, told(lines)


@pytest.mark.parametrize(
  "config",
  [pytest.param(c, marks=pytest.mark.slow) if c in resolved.HASHES_ALONE else c for c in resolved.CONFIGS],
)
def test_a_shipped_config_resolves_as_before(config):
  fields, products, said = resolved.resolve(config)
  was, now = resolved.read_hashes()[config], resolved.hashes(products)
  lines = []
  if config not in resolved.HASHES_ALONE:
    always = {kind: names.split() for kind, names in known()["identities"].items()}
    body = resolved.body(config, fields, products, said, resolved.defaults(), always)
    before = json.loads((resolved.FOLDER / resolved.file_of(config)).read_text())
    lines = differences(before, json.loads(json.dumps(body)), config)
  lines += differences(was, now, f"{config}: hash")
  if list(was) != list(now) and sorted(was) == sorted(now):
    lines.append(f"{config}: the same products come in another order")
  assert not lines, told(lines)


def test_every_config_that_ships_is_among_them():
  shipped = {file.stem for file in (resolved.ROOT / "configs").glob("*.py")}
  assert shipped and shipped == {config.partition(":")[0] for config in resolved.CONFIGS} | {
    *resolved.WITHOUT
  }
  files = {file.name for file in resolved.FOLDER.iterdir()}
  written = {resolved.file_of(config) for config in resolved.CONFIGS if config not in resolved.HASHES_ALONE}
  assert files == written | {resolved.DEFAULTS, resolved.HASHES}
