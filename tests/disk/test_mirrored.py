"""A training's folder in a bucket: whatever put a death comes after, what the next one begins with fits together."""

import json

import pytest

from synthjax.disk import bucket, mirrored
from synthjax.disk.mirrored import MIRROR, Mirror
from synthjax.runtime.errors import Interrupted


@pytest.fixture
def folder(in_memory, tmp_path, monkeypatch):
  monkeypatch.setenv("SYNTHJAX_DATA", str(tmp_path / "cache"))
  return in_memory / "runs" / "0" / "seed-0"


def save(local, step: int, *, keep: int = 2) -> None:
  """As a training does: a step, its checksums, the note of the best, a row of metrics; and the oldest step goes."""
  for name in (f"checkpoints/{step}/default/d", f"best/{step}/d"):
    (local / name).parent.mkdir(parents=True)
    (local / name).write_text(f"state {step}")
  for of in ("checkpoints", "best"):
    (local / f"{of}.sums").mkdir(exist_ok=True)
    (local / f"{of}.sums" / f"{step}.json").write_text(json.dumps({"d": f"sum of {step}"}))
  (local / "best" / "best.json").write_text(json.dumps({"step": step}))
  with (local / "metrics.jsonl").open("a") as file:
    file.write(f'{{"step": {step}}}\n')
  for of, kept in (("checkpoints", keep), ("best", 1)):
    for old in sorted((p for p in (local / of).iterdir() if p.is_dir()), key=lambda p: int(p.name))[:-kept]:
      import shutil

      shutil.rmtree(old)
      (local / f"{of}.sums" / f"{old.name}.json").unlink()


def restored(folder) -> int:
  """The newest step that a next process finds, having looked whether all of it fits together."""
  with mirrored.held(folder) as local:
    steps = (
      sorted(int(p.stem) for p in (local / "checkpoints.sums").glob("*.json"))
      if (local / "checkpoints.sums").exists()
      else []
    )
    for step in steps:
      assert (local / "checkpoints" / str(step) / "default" / "d").read_text() == f"state {step}"
      assert json.loads((local / "checkpoints.sums" / f"{step}.json").read_text()) == {"d": f"sum of {step}"}
    if steps:
      best = json.loads((local / "best" / "best.json").read_text())["step"]
      assert (local / "best" / str(best) / "d").read_text() == f"state {best}"
      assert (local / "best.sums" / f"{best}.json").exists()
      rows = [json.loads(line)["step"] for line in (local / "metrics.jsonl").read_text().splitlines()]
      assert rows[: len(range(0, steps[-1], 100))] == list(range(100, steps[-1] + 1, 100))
    return steps[-1] if steps else 0


def test_on_a_disk_it_is_the_folder_itself(tmp_path):
  from etils import epath

  with mirrored.held(epath.Path(tmp_path)) as local:
    assert local == epath.Path(tmp_path)


def test_steps_metrics_and_notes_are_there_for_the_next_one_and_for_people(folder):
  with mirrored.held(folder) as local:
    for step in (100, 200, 300):
      save(local, step)
  assert restored(folder) == 300
  names = bucket.below(folder)
  assert {"metrics.jsonl", "best/best.json", "checkpoints/200/default/d", "checkpoints.sums/300.json"} <= set(
    names
  )
  assert not any(name.startswith("checkpoints/100/") or name == "checkpoints.sums/100.json" for name in names)
  assert not local.exists()


def test_a_death_after_any_put_leaves_a_state_that_is_whole(folder, monkeypatch):
  """Of a training that saves at 100 and 200, and dies after the n-th request that changes something."""
  real, seen = {name: getattr(bucket, name) for name in ("put", "remove")}, set()

  class Died(BaseException):
    pass

  def train(deaths: int) -> bool:
    left = [deaths]

    def counted(name):
      def ask(*args):
        if not left[0]:
          raise Died
        left[0] -= 1
        return real[name](*args)

      return ask

    for name in real:
      monkeypatch.setattr(bucket, name, counted(name))
    mirror = Mirror(folder)
    try:
      mirror.pull()
      for step in (100, 200):
        save(mirror.local, step, keep=1)
        mirror.push()
      return True
    except Died:
      return False
    finally:
      for name, function in real.items():
        monkeypatch.setattr(bucket, name, function)

  for deaths in range(60):
    bucket.remove_folder(folder)
    is_over = train(deaths)
    seen.add(restored(folder))
    if is_over:
      break
  assert is_over and seen == {0, 100, 200}


def test_it_goes_on_with_what_was_copied_from_a_disk(folder, tmp_path):
  save(tmp_path / "disk", 100)
  for path in (p for p in (tmp_path / "disk").rglob("*") if p.is_file()):
    (folder / path.relative_to(tmp_path / "disk")).write_bytes(path.read_bytes())
  assert restored(folder) == 100
  with mirrored.held(folder) as local:
    save(local, 200)
  assert restored(folder) == 200


def test_who_was_stopped_while_another_went_on_changes_nothing(folder):
  first, second = Mirror(folder), Mirror(folder)
  first.pull()
  save(first.local, 100)
  first.push()
  second.pull()
  save(second.local, 200)
  second.push()
  save(first.local, 150)
  with pytest.raises(bucket.Changed, match="another process has gone on"):
    first.push()
  assert restored(folder) == 200


def test_it_is_put_when_the_process_is_asked_to_stop_and_whatever_fails(folder):
  for i, error in enumerate((Interrupted(15), RuntimeError("a bug"))):
    with pytest.raises(type(error)), mirrored.held(folder) as local:
      save(local, 100 * (i + 1))
      raise error
    assert restored(folder) == 100 * (i + 1)


def test_a_step_is_put_while_training_goes_on(folder, monkeypatch):
  monkeypatch.setattr(mirrored, "_POLL_SECONDS", 0.01)
  import time

  with mirrored.held(folder) as local:
    save(local, 100)
    until = time.monotonic() + 20
    while not (folder / MIRROR).exists() and time.monotonic() < until:
      time.sleep(0.02)
    assert "checkpoints/100/default/d" in json.loads((folder / MIRROR).read_text())["files"]
