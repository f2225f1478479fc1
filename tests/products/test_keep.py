"""Keep-lists: the same whatever was tried or drawn before, published as one thing, every byte covered."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from etils import epath

from synthjax.disk import workdir
from synthjax.products.base import DONE, STALE
from synthjax.products.keep_list import KeepList
from synthjax.runtime.errors import UserError
from synthjax.store import dataset
from synthjax.store.plan import Segment
from tests.products.planted import IMAGES, keep_list, make


def files(keep: KeepList) -> tuple[list[str], dict, dict]:
  """ids, scores and summary, as they lie there."""
  with np.load(keep.folder / "scores.npz") as arrays:
    scores = dict(arrays)
  ids = (keep.folder / "ids.txt").read_text().split()
  return ids, scores, json.loads((keep.folder / "summary.json").read_text())


def of_one_run(keep: KeepList) -> bool:
  ids, scores, summary = files(keep)
  kept = [row["kept"] for row in summary["classes"]]
  quota = summary["basis"]["kept_per_class"]
  return (
    ids == scores["ids"][scores["stays"]].tolist()
    and kept == np.bincount(scores["labels"][scores["stays"]], minlength=10).tolist()
    and max(kept) <= quota
    and min(kept) >= min(quota, IMAGES)
  )


# --- what is kept follows from the scores of the first images of each class alone -----------------------


@pytest.mark.parametrize("between", [(9,), (5, 12), (4,)])
def test_a_quota_that_was_tried_and_taken_back_changes_nothing(tmp_path, between):
  ids, scores, summary = files(make(keep_list(tmp_path, 5)))
  assert summary["rounds"] > 1
  for quota in between:
    make(keep_list(tmp_path, quota))
  again, scores_again, summary_again = files(make(keep_list(tmp_path, 5)))
  assert again == ids and summary_again == summary
  assert all((scores[name] == scores_again[name]).all() for name in scores)


@pytest.mark.parametrize("other", [dict(quota=12), dict(quota=3, threshold=0.6), dict(quota=8, max_rounds=1)])
def test_what_another_filter_had_drawn_changes_nothing(tmp_path, other):
  alone = set(files(make(keep_list(tmp_path / "alone", 7)))[0])
  make(keep_list(tmp_path / "shared", name="other", **other))
  before = len(dataset.segments(epath.Path(tmp_path / "shared/images/LE")))
  assert set(files(make(keep_list(tmp_path / "shared", 7)))[0]) == alone
  if other["quota"] == 12:  # it had them all drawn already
    assert len(dataset.segments(epath.Path(tmp_path / "shared/images/LE"))) == before


def test_images_that_a_larger_study_had_drawn_count_like_fresh_ones(tmp_path):
  """The config asks for fewer than there are: a filter uses what is there, and what is beyond that is drawn."""
  alone = set(files(make(keep_list(tmp_path / "alone", 7)))[0])
  make(keep_list(tmp_path / "shared", 0, images=4 * IMAGES))
  keep = make(keep_list(tmp_path / "shared", 7))
  assert set(files(keep)[0]) == alone
  fresh = keep_list(tmp_path / "shared", 7)  # of another process: it needs the same images after one look
  assert fresh.status().state == DONE
  assert set(fresh._embeddings[0].names(fresh._set.requested()[1])[1]) >= alone


def test_killed_at_every_write_it_ends_with_the_same_list(tmp_path, monkeypatch):
  wanted = files(make(keep_list(tmp_path / "undisturbed", 5)))[0]
  for place in range(200):
    root, left = tmp_path / str(place), [place]
    with monkeypatch.context() as patch:
      on_write(patch, lambda left=left: killed(left))
      try:
        make(keep_list(root, 5))
        break
      except KeyboardInterrupt:
        pass
    assert files(make(keep_list(root, 5)))[0] == wanted
  assert place > 5


# --- a list is published as one thing ---------------------------------------------------------------


NAMING = ("link", "replace")
CHANGING = (*NAMING, "fsync", "symlink", "unlink", "rmdir", "mkdir")


def on_write(patch, happens, calls=NAMING) -> None:
  """Something happens before each file gets its name, or before each change on the disk."""

  def wrapped(call):
    def wrapper(*args, **kwargs):
      if threading.current_thread() is threading.main_thread():  # not in a heartbeat
        happens()
      return call(*args, **kwargs)

    return wrapper

  for call in calls:
    patch.setattr(os, call, wrapped(getattr(os, call)))


def killed(left: list[int]) -> None:
  left[0] -= 1
  if left[0] < 0:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
  ("calls", "quota"),
  [(NAMING, (5, 3)), *(pytest.param(CHANGING, q, marks=pytest.mark.slow) for q in ((5, 3), (3, 5), (5, 5)))],
)
def test_an_owner_stopped_at_any_write_and_woken_later_leaves_no_list_of_two_runs(
  tmp_path, monkeypatch, calls, quota
):
  """Stopped, taken for dead, and woken when the other has finished."""
  for stopped_at in range(500):
    root, left, others = tmp_path / f"{stopped_at}", [stopped_at], []

    def another_takes_over(root=root, left=left, others=others):
      left[0] -= 1
      if left[0] == -1:
        others.append(make(keep_list(root, quota[1], stale=-1.0)))

    with monkeypatch.context() as patch:
      on_write(patch, another_takes_over, calls)
      make(keep_list(root, quota[0]))
    if not others:
      break
    keep = keep_list(root, quota[0])
    assert of_one_run(keep), stopped_at
    make(keep)
    assert files(keep)[2]["basis"]["kept_per_class"] == quota[0] and of_one_run(keep), stopped_at
    assert keep.faults() == [], stopped_at
  print(f"stopped at {stopped_at} places")
  assert stopped_at > 10


STOPPED = """
import os, signal, sys
from tests.products.planted import keep_list, make
from tests.products.test_keep import on_write
import pytest
left = [int(sys.argv[2])]
def stop():
  left[0] -= 1
  if left[0] == -1:
    os.kill(os.getpid(), signal.SIGSTOP)
on_write(pytest.MonkeyPatch(), stop)
make(keep_list(sys.argv[1], 5))
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", [4, 7, 9])
def test_a_process_stopped_and_woken_leaves_one_list(tmp_path, place):
  """The same by the kernel: the heartbeat stops too, and goes stale by the clock."""
  line = [sys.executable, "-c", STOPPED, str(tmp_path), str(place)]
  with subprocess.Popen(line, stderr=subprocess.PIPE) as first:
    os.waitid(os.P_PID, first.pid, os.WSTOPPED)
    time.sleep(1.0)
    make(keep_list(tmp_path, 3, stale=0.5))
    first.send_signal(signal.SIGCONT)
    said = first.communicate(timeout=120)
  assert first.returncode == 0, said
  keep = keep_list(tmp_path, 5)
  assert of_one_run(keep) and keep.status().state == DONE and keep.faults() == []


def test_a_list_of_another_config_is_never_learnt_from(tmp_path):
  keep = make(keep_list(tmp_path, 5))
  assert len(keep.ids()) == 50
  make(keep_list(tmp_path, 3))
  with pytest.raises(UserError, match="has just been replaced by a process with another config"):
    keep.ids()
  assert keep.status().state == STALE and keep.faults() == []  # nothing is wrong with it


def test_lists_that_hold_no_more_are_swept(tmp_path):
  for quota in (5, 3, 4):
    make(keep_list(tmp_path, quota))
  folder = tmp_path / "keep/LE/CF-clip"
  assert [p.name for p in (folder / "lists").iterdir()] == [os.path.basename(os.readlink(folder / "current"))]


def test_links_that_are_gone_or_wrong_are_mended_and_nothing_depends_on_them(tmp_path):
  keep = make(keep_list(tmp_path, 5))
  ids = keep.ids()
  os.remove(keep.folder / "current")
  os.symlink("lists", keep.folder / "current")
  assert "points at another list" in keep.faults()[0]
  assert keep.ids() == ids and keep.status().state == DONE
  make(keep)
  assert files(keep)[0] == ids and keep.faults() == []


# --- every byte is covered --------------------------------------------------------------------------


def test_every_damaged_byte_is_noticed_and_an_undamaged_list_is_not(tmp_path):
  keep = make(keep_list(tmp_path, 5))
  assert keep.faults() == []
  tried = 0
  for file in [*sorted((keep.folder / "lists").glob("*/*.*")), keep.folder / "record.json"]:
    whole = file.read_bytes()
    for damaged in (
      *(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(0, len(whole), len(whole) // 12)),
      whole[: len(whole) // 2],
      b"",
    ):
      file.write_bytes(damaged)
      found = keep.faults()
      assert len(found) == 1 and str(file) in found[0] and "\n" not in found[0]
      tried += 1
    file.write_bytes(whole)
  assert keep.faults() == [] and tried >= 50


@pytest.mark.parametrize("file", ["ids.txt", "scores.npz", "summary.json"])
def test_a_damaged_file_is_refused_when_it_is_read_and_made_anew_once_removed(tmp_path, file):
  keep = make(keep_list(tmp_path, 5))
  ids = keep.ids()
  path = next((keep.folder / "lists").glob(f"*/{file}"))
  path.write_bytes(path.read_bytes()[:-20])
  with pytest.raises(UserError, match=r"damaged: .* remove it and run again"):
    keep.ids(), keep.load(), keep.summary()
  path.unlink()
  assert keep.faults() != []
  assert make(keep_list(tmp_path, 5)).ids() == ids and keep.faults() == []


# --- what an older release left ---------------------------------------------------------------------


def as_older_release(keep: KeepList, order: tuple[int, ...] = ()) -> list[str]:
  """Its rule: the images asked for and those drawn for this very filter; its layout: files beside the record."""
  for quota in order:  # quotas that were tried before
    as_older_release(keep_list(keep.folder.parents[2], quota))
  own, asks_as = "CF-clip ", f"CF-clip {keep.quota} a class"
  keep._set.make(None)
  while True:
    plan, needed = keep._set.requested()
    features = keep._embeddings[0].embedded(needed).at(np.arange(plan.size(needed)))
    rank = np.array([np.sum(features.labels[:i] == c) for i, c in enumerate(features.labels)])
    seen = features.at(np.flatnonzero(np.char.startswith(plan.asked_by(), own) | (rank < keep._set.asked)))
    scores = keep_scores(seen)
    choice = keep._chosen(scores, seen.labels) if hasattr(keep, "_chosen") else None
    assert choice is not None
    from synthjax.filters.choose import further

    rounds = sum(s.asked_by == asks_as for s in plan.segments)
    more = further(choice, keep.quota, round(6.0 * keep.quota)) if rounds < 3 else ()
    if not any(more):
      break
    keep._set.top_up(more, len(plan.segments), asks_as)
  own_images = sum(sum(s.counts) for s in plan.segments if s.asked_by.startswith(own))
  basis = dict(kept_per_class=keep.quota, max_rounds=3, max_drawn=6.0, images_per_class=keep._set.asked)
  counts = {name: getattr(choice, name).tolist() for name in ("drawn", "passed", "kept", "filled")}
  rows = [
    {"id": c, "acceptance": None} | {name: counts[name][k] for name in counts}
    for k, c in enumerate("0123456789")
  ]
  for row in rows:
    row["acceptance"] = row["passed"] / row["drawn"]
  keep.folder.mkdir(parents=True, exist_ok=True)
  ids = seen.ids[choice.stays_N].tolist()
  workdir.replace_bytes(keep.folder / "ids.txt", "".join(f"{i}\n" for i in ids).encode())
  with (keep.folder / "scores.npz").open("wb") as file:
    np.savez(file, ids=seen.ids, labels=seen.labels, scores=scores, stays=choice.stays_N)
  summary = {
    "basis": basis | {"drawn_for_it": own_images},
    "threshold": 0.1,
    "rounds": rounds,
    "classes": rows,
  }
  workdir.replace_bytes(keep.folder / "summary.json", workdir.to_json(summary))
  workdir.replace_bytes(keep.folder / "record.json", keep._record(summary["basis"]).to_json())
  return ids


def keep_scores(features) -> np.ndarray:
  from synthjax.filters.clip import own_class_probability

  return own_class_probability(features.features, features.labels, np.eye(10, dtype=np.float32) * 8)


@pytest.mark.parametrize("quota", [0, 2, 5, 12])
def test_a_list_of_an_older_release_that_nothing_else_had_moved_is_done(tmp_path, quota):
  ids = as_older_release(keep_list(tmp_path, quota))
  before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
  keep = keep_list(tmp_path, quota)
  assert keep.status().state == DONE and keep.faults() == []
  assert make(keep).ids() == ids and len(keep.load()["ids"]) >= len(ids)
  assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before
  assert set(make(keep_list(tmp_path / "anew", quota)).ids()) == set(ids)


def test_one_that_other_quotas_had_moved_is_made_again_and_says_why(tmp_path):
  ids = as_older_release(keep_list(tmp_path, 5), order=(5, 12))
  keep = keep_list(tmp_path, 5)
  status = keep.status()
  assert status.state == STALE and "an older release chose among other images" in status.why
  anew = make(keep).ids()
  assert set(anew) != set(ids)
  assert set(anew) == set(make(keep_list(tmp_path / "anew", 5)).ids())
  assert os.path.islink(keep.folder / "ids.txt") and keep.faults() == []


def test_one_that_another_filter_had_moved_is_made_again(tmp_path):
  keep_list(tmp_path, 5)._set.make(None)
  dataset.add_segment(epath.Path(tmp_path / "images/LE"), 1, Segment((4,) * 10, 1, "other-clip 3 a class"))
  as_older_release(keep_list(tmp_path, 5))
  assert keep_list(tmp_path, 5).status().state == STALE
