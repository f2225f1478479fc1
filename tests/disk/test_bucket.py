"""A workdir in an object store is like one on a disk, and asks for little within a look."""

import contextlib

import pytest
from etils import epath

from synthjax.disk import bucket, cached, checksums, drafts, in_bucket, listing, snapshot, workdir
from synthjax.disk.bucket import BucketPath
from synthjax.runtime.errors import UserError

FILES = (
  "results.jsonl",
  "images/LE/record.json",
  "images/LE/train.array_record-00000",
  "images/LE/shards/0.json",
)


def filled(root):
  for i, name in enumerate(FILES):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    checksums.publish(root / name, name.encode() * i)
  return root


@pytest.fixture
def both(in_memory, tmp_path):
  """The same files in a bucket and on a disk."""
  return filled(in_memory), filled(epath.Path(tmp_path))


@pytest.mark.parametrize("look", [contextlib.nullcontext, snapshot.one_look], ids=["now", "in a look"])
def test_it_shows_what_a_disk_shows(both, look):
  there, here = both
  with look():
    for place in ("", "images", "images/LE", "images/LE/.checksums", "none", FILES[0], FILES[1]):
      a, b = there / place, here / place
      assert (a.exists(), a.is_dir(), a.is_file()) == (b.exists(), b.is_dir(), b.is_file()), place
      assert workdir.is_file(a) == b.is_file()
      assert (workdir.modified(a) is None) == (not b.is_file())
      if not b.is_file():
        assert workdir.names(a) == workdir.names(b), place
        assert workdir.names(a, "*.json") == workdir.names(b, "*.json")
        assert listing.listing(a) == listing.listing(b)
    for name in FILES:
      assert (there / name).read_bytes() == (here / name).read_bytes()
      assert workdir.size(there / name) == workdir.size(here / name) == (there / name).stat().length
      assert (checksums.read(there / name, "file") and checksums.is_covered(there / name)) or name == FILES[0]
    assert [str(p.relative_to(there)) for p in checksums.files(there)] == [
      str(p.relative_to(here)) for p in checksums.files(here)
    ]
    assert sorted(there.glob("*.jsonl")) == [there / FILES[0]]


def test_paths_are_paths(in_memory):
  path = in_memory / "images" / "LE"
  assert str(path) == "s3://birds/study/images/LE" and isinstance(path.parent, BucketPath)
  assert path.bucket == "s3://birds" and path.key == "study/images/LE" and path.name == "LE"
  assert path == BucketPath(str(path)) == in_memory.parent / "study" / "images/LE"
  assert len({path, BucketPath(str(path))}) == 1
  assert str(path.relative_to(in_memory)) == "images/LE" and path.with_name("B") == in_memory / "images/B"


def test_one_look_is_one_listing_and_reads_what_changed_alone(both):
  root, _ = both
  with snapshot.one_look():
    checksums.read(root / FILES[1], "file")
  bucket.counts.clear()
  with snapshot.one_look():
    for name in FILES * 10:
      assert (root / name).exists() and workdir.names((root / name).parent)
    checksums.read(root / FILES[1], "file")
    assert dict(bucket.counts) == {"list": 1}
    checksums.replace(root / FILES[1], b"another")
    assert (root / FILES[1]).read_bytes() == b"another"  # what this process did itself is seen
  with snapshot.one_look():
    assert (root / FILES[1]).read_bytes() == b"another"


def test_the_first_of_two_stays(in_memory, tmp_path):
  final, made = in_memory / "train-0", [epath.Path(tmp_path / name) for name in "ab"]
  for i, file in enumerate(made):
    file.write_bytes(b"%d" % i)
  assert workdir.publish(made[0], final) and not workdir.publish(made[1], final)
  assert final.read_bytes() == b"0" and not any(file.exists() for file in made)
  assert workdir.publish_bytes(in_memory / "x", b"1") and not workdir.publish_bytes(in_memory / "x", b"2")
  assert workdir.create_exclusive(in_memory / "y", "") and not workdir.create_exclusive(in_memory / "y", "")


def test_of_a_put_whose_answer_was_lost_its_own_text_tells(in_memory):
  """The store has done it, and refuses it when it is repeated."""
  claim = in_memory / "a.claim.0000"
  assert workdir.create_exclusive(claim, "owner 1")
  assert workdir.create_exclusive(claim, "owner 1") and not workdir.create_exclusive(claim, "owner 2")


def test_who_was_stopped_between_reading_and_replacing_looks_whether_it_is_still_its_own(
  in_memory, monkeypatch
):
  path, looks, read = in_memory / "record.json", [], bucket.read_now
  path.write_bytes(b"old")

  def stopped(of):
    found = read(of)
    if not looks:
      bucket.put(of, b"of another")
    return found

  monkeypatch.setattr(bucket, "read_now", stopped)
  with drafts.before_writing_again(lambda: looks.append(1)):
    workdir.replace_bytes(path, b"mine")
  assert looks == [1] and path.read_bytes() == b"mine"

  def lost():
    raise InterruptedError

  looks.clear()
  with drafts.before_writing_again(lost), pytest.raises(InterruptedError):
    workdir.replace_bytes(path, b"never")
  assert path.read_bytes() == b"of another"


@pytest.mark.parametrize("mode", ["create", "version"])
def test_a_store_that_ignores_conditions_is_refused(in_memory, monkeypatch, mode):
  put = bucket.put

  def ignorant(path, data, condition="overwrite"):
    ignored = condition == "create" if mode == "create" else isinstance(condition, dict)
    return put(path, data, "overwrite" if ignored else condition)

  monkeypatch.setattr(bucket, "put", ignorant)
  with pytest.raises(UserError, match="conditional puts"):
    workdir.open_workdir("s3://birds/other")


def test_nothing_is_left_of_looking_whether_it_can_be_used(in_memory):
  assert workdir.names(in_memory) == []
  (drafts.draft_of(in_memory / workdir.PROBE)).write_bytes(b"")
  in_bucket.sweep_probes(in_memory, workdir.PROBE)
  assert len(workdir.names(in_memory)) == 1  # it may be a living process's


def test_urls_that_are_none_are_one_line(in_memory):
  for url, line in {"s3://": "names no bucket", "ftp://a/b": "begins with s3://, gs://, az://"}.items():
    with pytest.raises(UserError, match=line):
      workdir.open_workdir(url)


# --- files of this machine ------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv("SYNTHJAX_DATA", str(tmp_path / "cache"))
  monkeypatch.delenv("SYNTHJAX_DATA_GB", raising=False)
  return tmp_path / "cache"


def test_an_object_is_fetched_once_and_another_version_anew(in_memory, cache):
  path = in_memory / "train-0"
  path.write_bytes(b"one")
  bucket.counts.clear()
  assert cached.local(path).read_bytes() == cached.local(path).read_bytes() == b"one"
  assert bucket.counts["get"] == 1
  path.write_bytes(b"two")
  assert cached.local(path).read_bytes() == b"two"
  cached.local(path).write_bytes(b"")  # by a loss of power
  assert cached.local(path).read_bytes() == b"two"
  with pytest.raises(FileNotFoundError):
    cached.local(in_memory / "none")


def test_what_was_put_is_not_fetched(in_memory, cache, tmp_path):
  made = epath.Path(tmp_path / "made")
  made.write_bytes(b"shard")
  workdir.publish(made, in_memory / "train-0")
  bucket.counts.clear()
  assert workdir.local_file(in_memory / "train-0").read_bytes() == b"shard" and not bucket.counts["get"]


def test_what_was_used_longest_ago_makes_room(in_memory, cache, monkeypatch):
  monkeypatch.setenv("SYNTHJAX_DATA_GB", "25e-9")
  paths = [in_memory / f"train-{i}" for i in range(3)]
  for path in paths:
    path.write_bytes(b"0123456789")
  first = cached.local(paths[0])
  with first.open("rb") as reading:
    second = cached.local(paths[1])
    assert cached.local(paths[0]) == first  # it is used again
    cached.local(paths[2])
    assert first.exists() and not second.exists()
    cached.local(paths[1])
    assert not first.exists() and reading.read() == b"0123456789"  # who reads it goes on
  (in_memory / "large").write_bytes(b"0" * 26)
  with pytest.raises(UserError, match="raise SYNTHJAX_DATA_GB"):
    cached.local(in_memory / "large")


def test_a_connection_that_breaks_in_the_middle_is_made_again(in_memory, cache, monkeypatch):
  import obstore

  path, get, broken = in_memory / "train-0", obstore.get, []
  path.write_bytes(b"0123456789")

  class Broken:
    def __init__(self, got):
      self.meta = got.meta

    def stream(self, **_):
      yield b"01234"
      if not broken:
        broken.append(1)
        raise ConnectionResetError("reset")

  monkeypatch.setattr(
    obstore, "get", lambda store, key: Broken(get(store, key)) if len(broken) < 2 else get(store, key)
  )
  with pytest.raises(UserError, match="5 of 10 bytes came"):
    cached.local(path)
  broken.append(2)
  assert cached.local(path).read_bytes() == b"0123456789"
  assert [
    p.name for p in cached.local(path).parent.iterdir() if p.name[0] == "." and "lock" not in p.name
  ] == []


def test_a_folder_is_a_folder_of_its_objects(in_memory, cache):
  for name in ("config.json", "unet/weights"):
    (in_memory / "weights" / name).write_bytes(name.encode())
  folder = cached.local_folder(in_memory / "weights")
  assert (folder / "unet" / "weights").read_bytes() == b"unet/weights"
  assert cached.local_folder(in_memory / "weights") == folder
  (in_memory / "weights" / "config.json").write_bytes(b"{}")
  assert (cached.local_folder(in_memory / "weights") / "config.json").read_bytes() == b"{}"
  with pytest.raises(FileNotFoundError):
    cached.local_folder(in_memory / "none")


def test_a_folder_takes_the_place_of_another(in_memory, tmp_path):
  for i, names in enumerate((("a", "b"), ("b", "c/d"))):
    made = epath.Path(tmp_path / str(i))
    for name in names:
      (made / name).parent.mkdir(parents=True, exist_ok=True)
      (made / name).write_text(f"{name}{i}")
    workdir.replace_folder(made, in_memory / "weights")
    assert not made.exists()
  assert sorted(bucket.below(in_memory / "weights")) == ["b", "c/d"]
  assert (in_memory / "weights" / "b").read_text() == "b1"
