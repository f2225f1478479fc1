import subprocess

import pytest
from etils import epath

from synthjax.runtime.errors import UserError
from synthjax.store import shards


@pytest.fixture
def folder(tmp_path) -> epath.Path:
  return epath.Path(tmp_path)


def write(folder, index=0, records=(b"a" * 5000, b"b" * 5000), scratch="part"):
  writer = shards.ShardWriter(folder, index, folder / scratch)
  for record in records:
    writer.write(record)
  return writer


def test_a_shard_appears_when_it_is_whole(folder):
  writer = write(folder)
  assert shards.published(folder) == []
  assert writer.publish()
  assert shards.published(folder) == [0]
  assert list(shards.ShardReader(folder / shards.shard_name(0))) == [b"a" * 5000, b"b" * 5000]
  assert shards.facts(folder, 0) == shards.derive_facts(folder, 0)
  assert not (folder / "part").exists()


def test_the_second_ones_file_is_thrown_away(folder):
  late = write(folder, records=[b"late"], scratch="part2")
  assert write(folder).publish()
  first = (folder / shards.shard_name(0)).read_bytes()
  assert not late.publish()
  assert (folder / shards.shard_name(0)).read_bytes() == first and not (folder / "part2").exists()


def test_facts_lost_to_a_death_are_derived_again(folder):
  write(folder).publish()
  before = shards.facts(folder, 0)
  (folder / shards.FACTS / f"{shards.shard_name(0)}.json").unlink()
  assert shards.facts(folder, 0) == before


@pytest.mark.parametrize("cut", [1, 10_000, 60_000])
def test_a_cut_file_is_no_empty_shard(folder, cut):
  write(folder).publish()
  path = folder / shards.shard_name(0)
  path.write_bytes(path.read_bytes()[:-cut])
  with pytest.raises(UserError, match=r"is corrupt .*; remove it and run again"):
    list(shards.ShardReader(path))
  with pytest.raises(UserError, match="is corrupt"):
    shards.check_published(folder, 0, 2)


def test_a_flipped_byte_is_found_on_reading(folder):
  write(folder).publish()
  path = folder / shards.shard_name(0)
  body = bytearray(path.read_bytes())
  body[body.index(b"bbbb") + 100] ^= 1
  path.write_bytes(bytes(body))
  with pytest.raises(UserError, match="is corrupt"):
    list(shards.ShardReader(path))


def test_names_of_other_things_are_no_shards(folder):
  (folder / "train.array_record-0000x").write_text("")
  (folder / "train.array_record-00003.part").write_text("")
  (folder / "train.array_record-100000").write_text("")
  assert shards.published(folder) == [100000]


@pytest.fixture
def tiny_disk(tmp_path):
  disk = tmp_path / "disk"
  disk.mkdir()
  if subprocess.run(
    ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True
  ).returncode:
    pytest.skip("needs the right to mount a small disk")
  yield epath.Path(disk)
  subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_line_and_leaves_no_half_shard(tiny_disk):
  with pytest.raises(
    UserError, match=r"the disk of .* is full; free some room and run the same command again"
  ):
    write(tiny_disk, records=[bytes([i]) * 100_000 for i in range(40)]).publish()
  assert [p.name for p in tiny_disk.iterdir()] == []


def test_a_disk_that_fills_up_at_the_last_write(folder, monkeypatch):
  writer = write(folder)

  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(shards.workdir.os, "fsync", full)
  with pytest.raises(UserError, match="is full"):
    writer.publish()
  monkeypatch.undo()
  assert shards.published(folder) == [] and not (folder / "part").exists()


def test_a_process_taken_for_dead_drops_what_it_was_writing(folder):
  """It slept; another swept its file, and made the shard. It comes back and goes on."""
  sleeper = write(folder, scratch="part")
  (folder / "part").unlink()
  assert not sleeper.publish()
  assert shards.published(folder) == []
  assert write(folder, scratch="part2").publish()
