"""A checkpoint in which a byte has changed is named and set aside, and the one before it is trained on from."""

import shutil
import time

import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from synthjax.learning import checkpoint_sums
from synthjax.learning.checkpoint import Checkpoints
from synthjax.runtime.errors import Interrupted, UserError
from synthjax.runtime.stopping import Stop
from tests.learning.test_loop import Line, StopAt, assert_same, batch_at, run

STATE = {"a": jnp.arange(6.0).reshape(2, 3), "b": {"c": jnp.ones(4), "n": jnp.int32(7)}}


def saved(folder, steps=(3, 6), keep=2):
  with Checkpoints(epath.Path(folder), keep=keep) as checkpoints:
    for step in steps:
      checkpoints.save(step, {**STATE, "a": STATE["a"] + step})


def restored(folder):
  with Checkpoints(epath.Path(folder)) as checkpoints:
    state = checkpoints.restore(STATE)
    return state, checkpoints.latest


def files_of(folder):
  return sorted(f for f in folder.rglob("*") if f.is_file())


def flip(file, at, bit=0):
  data = bytearray(file.read_bytes())
  data[at] ^= 1 << bit
  file.write_bytes(data)


@pytest.mark.parametrize("places", [2, pytest.param(40, marks=pytest.mark.slow)])
def test_no_flipped_bit_of_any_file_is_restored(tmp_path, capfd, places):
  saved(tmp_path / "whole")
  tried = 0
  for file in files_of(tmp_path / "whole/checkpoints/6"):
    size = file.stat().st_size
    for i, at in enumerate(sorted(set(np.linspace(0, size - 1, min(size, places)).astype(int)))):
      shutil.copytree(tmp_path / "whole", damaged := tmp_path / "damaged")
      flip(damaged / file.relative_to(tmp_path / "whole"), at, bit=i % 8)
      state, latest = restored(damaged)
      assert latest == 3 and np.asarray(state["a"])[0, 0] == 3, (file, at)
      said = capfd.readouterr().err
      assert str(damaged / file.relative_to(tmp_path / "whole")) in said and said.count("\n") == 1
      assert (damaged / "checkpoints.damaged/6").is_dir()
      if at == 0:
        assert restored(damaged)[1] == 3 and not capfd.readouterr().err  # told once
      shutil.rmtree(damaged)
      tried += 1
  assert tried >= 10 * places


def test_files_that_are_gone_or_cut_are_noticed(tmp_path, capfd):
  saved(tmp_path / "whole")
  for file in files_of(tmp_path / "whole/checkpoints/6"):
    for damage in (lambda f: f.unlink(), lambda f: f.write_bytes(f.read_bytes()[:-1])):
      shutil.copytree(tmp_path / "whole", damaged := tmp_path / "damaged")
      damage(damaged / file.relative_to(tmp_path / "whole"))
      if file.stat().st_size:
        assert restored(damaged)[1] == 3
        assert str(file.name) in capfd.readouterr().err
      shutil.rmtree(damaged)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
  """A run stopped at step 6 of 9, with a checkpoint of step 3 too; and the end of one that nobody disturbed."""
  folder = tmp_path_factory.mktemp("stopped")
  with Stop() as stop, pytest.raises(Interrupted):
    run(folder / "run", 9, batches=StopAt(5, stop), stop=stop, keep_steps=3)
  assert {f.name for f in (folder / "run/checkpoints").iterdir()} == {"3", "6"}
  return folder / "run", run(folder / "straight", 9)


def test_training_goes_on_from_the_one_before_to_the_same_bits(stopped, tmp_path, capfd):
  folder, straight = stopped
  largest = max(files_of(folder / "checkpoints/6"), key=lambda f: f.stat().st_size)
  for n, at in enumerate((0.3, 0.5, 0.7)):
    shutil.copytree(folder, own := tmp_path / str(n))
    flip(own / largest.relative_to(folder), int(at * largest.stat().st_size), bit=6)
    assert_same(straight, run(own, 9))
    assert f"{own / largest.relative_to(folder)} is damaged" in capfd.readouterr().err
    assert list(checkpoint_sums.faults(epath.Path(own))) == []


def test_a_run_whose_only_checkpoint_is_damaged_says_so_each_time(tmp_path, capfd):
  saved(tmp_path, steps=(3, 6))
  for step in ("3", "6"):
    flip(files_of(tmp_path / "checkpoints" / step)[-1], 5)
  for _ in range(2):
    with pytest.raises(UserError, match=r"no step in .*checkpoints is whole .*; remove .* to start again"):
      restored(tmp_path)
  assert not capfd.readouterr().err
  assert len(list(checkpoint_sums.faults(epath.Path(tmp_path)))) == 2


def test_sums_come_while_training_goes_on_and_go_with_their_step(tmp_path):
  with Checkpoints(epath.Path(tmp_path), keep=2) as checkpoints:
    checkpoints.save(1, STATE)
    deadline = time.monotonic() + 30
    while not (sums := tmp_path / "checkpoints.sums/1.json").exists():
      assert time.monotonic() < deadline
      time.sleep(0.01)
    for step in (2, 3, 4):
      checkpoints.save(step, STATE)
  assert not sums.exists()
  assert {f.stem for f in (tmp_path / "checkpoints.sums").glob("*.json")} == {"3", "4"}


# --- of older releases, or of a process that died before it had written the sums ------------------------


def without_sums(folder):
  shutil.rmtree(folder / "checkpoints.sums")


def test_one_without_sums_is_taken_where_it_restores_and_is_finite(tmp_path, capfd):
  saved(tmp_path)
  without_sums(tmp_path)
  state, latest = restored(tmp_path)
  assert latest == 6 and np.asarray(state["a"])[0, 0] == 6
  assert not capfd.readouterr().err


def test_one_without_sums_is_not_taken_where_it_is_torn_or_not_finite(tmp_path, capfd):
  saved(tmp_path)
  without_sums(tmp_path)
  (tmp_path / "checkpoints/6/default/_METADATA").write_text("{")
  assert restored(tmp_path)[1] == 3
  assert "checkpoints/6 cannot be restored" in capfd.readouterr().err
  with Checkpoints(epath.Path(tmp_path)) as checkpoints:
    checkpoints.save(7, {**STATE, "a": STATE["a"].at[0, 0].set(jnp.nan)})
  without_sums(tmp_path)
  assert restored(tmp_path)[1] == 3
  assert "checkpoints/7 holds NaN or inf" in capfd.readouterr().err


class BreaksAt(Line):
  def __init__(self, step):
    self._step = step

  def loss(self, variables, batch, key, step):
    loss, aux = super().loss(variables, batch, key, step)
    return jnp.where(step == self._step, jnp.nan, loss), aux


def test_a_loss_that_breaks_after_one_without_sums_is_not_put_down_to_the_learning_rate(stopped, tmp_path):
  for name, known in (("known", True), ("unknown", False)):
    shutil.copytree(stopped[0], folder := tmp_path / name)
    if not known:
      without_sums(folder)
    with pytest.raises(UserError) as e:
      run(folder, 9, task=BreaksAt(7), batches=batch_at)
    assert ("loss is nan at step 8; lower the learning rate" in str(e.value)) is known
    assert ("checkpoints/6, which has no checksums and may be damaged" in str(e.value)) is not known


# --- the best -------------------------------------------------------------------------------------------


def test_a_damaged_best_is_no_longer_called_so(tmp_path, capfd):
  def resumed(value):
    with Checkpoints(epath.Path(tmp_path)) as checkpoints:
      checkpoints.restore(STATE)
      checkpoints.save_best(8, STATE, "top1", value)

  saved(tmp_path)
  with Checkpoints(epath.Path(tmp_path)) as checkpoints:
    checkpoints.save_best(5, STATE, "top1", 0.9)
  resumed(0.5)
  assert (tmp_path / "best/5").is_dir() and not capfd.readouterr().err
  flip(files_of(tmp_path / "best/5")[-1], 3)
  assert len(list(checkpoint_sums.faults(epath.Path(tmp_path)))) == 1
  resumed(0.5)
  assert "best/5" in capfd.readouterr().err
  assert (tmp_path / "best/8").is_dir() and not (tmp_path / "best/5").exists()
  assert (tmp_path / "best.damaged/5").is_dir()


def test_a_death_before_the_note_of_a_new_best_is_no_damage(tmp_path, capfd):
  """Orbax has removed the best that the note names."""
  saved(tmp_path)
  with Checkpoints(epath.Path(tmp_path)) as checkpoints:
    checkpoints.save_best(5, STATE, "top1", 0.9)
  shutil.rmtree(tmp_path / "best/5")
  assert restored(tmp_path)[1] == 6
  assert not capfd.readouterr().err and (tmp_path / "best/best.json").exists()
  assert list(checkpoint_sums.faults(epath.Path(tmp_path))) == []
