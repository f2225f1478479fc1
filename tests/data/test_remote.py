"""Sources in object stores: the same images and identities as on a disk, fetched once, whatever happens meanwhile."""

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthjax.data.sources import open_source
from synthjax.disk import fetched, objects
from synthjax.labels.spaces import LabelSpace
from synthjax.runtime import absence
from synthjax.runtime.errors import NotHere, UserError

obstore = pytest.importorskip("obstore", reason="needs the extra buckets")
LABELS = LabelSpace(("n01", "n02"), ("crane", "heron"))


def pictures(root: Path, n: int = 3) -> Path:
  """A folder of class folders, with a split and a file of class names beside it."""
  for split in ("train", "test"):
    for k, name in enumerate(("crane", "heron")):
      (root / split / name).mkdir(parents=True)
      for i in range(n):
        Image.new("RGB", (4, 4), (40 * k, 20 * i, len(split))).save(root / split / name / f"{i}.png")
  (root / "classes.yaml").write_text("crane: n01\nheron: n02\n")
  return root


@pytest.fixture
def store(tmp_path, monkeypatch):
  """A folder that stands for a bucket, and what was fetched of it: `s3://birds` is its `birds`."""
  root, got = tmp_path / "bucket", []
  pictures(root / "birds")

  def open_store(url: str, is_impatient: bool = False):
    folder = root / url.split("://", 1)[1]
    if not folder.parent.exists():
      raise objects.Unreachable(f"{url}: NoSuchBucket")
    if not folder.is_dir():
      return obstore.store.MemoryStore()
    return obstore.store.LocalStore(folder)

  get = objects.fetch
  monkeypatch.setattr(objects, "open_store", open_store)
  monkeypatch.setattr(objects, "fetch", lambda url, one, to: got.append(one.name) or get(url, one, to))
  monkeypatch.setattr(fetched, "_READ", {})
  monkeypatch.setenv("SYNTHJAX_DATA", str(tmp_path / "cache"))
  monkeypatch.delenv("SYNTHJAX_DATA_GB", raising=False)
  yield root, got
  forget()


def forget() -> None:
  """As another process would begin."""
  for _, lock in fetched._READ.values():
    lock.close()
  fetched._READ.clear()


def test_images_labels_and_identity_are_those_of_the_same_folder_on_a_disk(store):
  root, got = store
  there = open_source("folder:s3://birds:test", LABELS)
  here = open_source(f"folder:{root}/birds:test", LABELS)
  assert there.keys == here.keys and there.digest == here.digest
  np.testing.assert_array_equal(there.labels, here.labels)
  assert there.encoded(4) == here.encoded(4) and there.name == here.name == "birds"
  assert "classes.yaml" in got and not any(name.startswith("train/") for name in got)  # of the split alone


def test_a_later_process_fetches_what_has_changed_and_no_more(store, monkeypatch):
  root, got = store
  open_source("folder:s3://birds:test", LABELS)
  assert len(got) == 7 and (got.clear() or open_source("folder:s3://birds:test", LABELS)) and not got
  forget()
  open_source("folder:s3://birds:test", LABELS)
  assert not got
  forget()
  time.sleep(0.01)
  Image.new("RGB", (4, 4), "red").save(root / "birds/test/crane/0.png")
  (root / "birds/test/heron/2.png").unlink()
  changed = open_source("folder:s3://birds:test", LABELS)
  assert got == ["test/crane/0.png"] and len(changed) == 5
  assert changed.digest == open_source(f"folder:{root}/birds:test", LABELS).digest


def test_after_a_death_only_the_rest_is_fetched(store, monkeypatch):
  _, got = store
  fetch = objects.fetch

  def dies(url, one, to):
    if len(got) == 4:
      raise KeyboardInterrupt
    fetch(url, one, to)

  monkeypatch.setattr(fetched, "_AT_ONCE", 1)
  monkeypatch.setattr(objects, "fetch", dies)
  with pytest.raises(KeyboardInterrupt):
    open_source("folder:s3://birds:test", LABELS)
  before = list(got)
  monkeypatch.setattr(objects, "fetch", fetch)
  assert len(open_source("folder:s3://birds:test", LABELS)) == 6
  assert len(before) == 4 and sorted(got) == sorted(set(got)) and len(got) == 7
  assert not list(Path(os.environ["SYNTHJAX_DATA"]).rglob(".*"))  # no draft


def test_processes_of_one_machine_fetch_once(store, monkeypatch):
  _, got = store
  monkeypatch.setattr(fetched, "_LOOK_SECONDS", 0.01)
  sources, errors = [], []

  def one():
    try:
      path, lock = fetched._read("s3://birds", lambda name: True, "", True)
      sources.append(path)
      lock.close()
    except BaseException as e:  # noqa: BLE001
      errors.append(e)

  threads = [threading.Thread(target=one) for _ in range(4)]  # a lock is of an open file, not of a process
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not errors and len(set(sources)) == 1 and len(got) == len(set(got)) == 13


def test_a_pattern_and_a_single_object(store):
  root, got = store
  for name in ("a-0.parquet", "a-1.parquet", "b-0.parquet"):
    (root / name).write_text(name)
  (root / "more").mkdir()
  (root / "more/a-0.parquet").write_text("x")
  found = fetched.local("s3://more/*.parquet")
  assert found.name == "*.parquet" and [p.name for p in found.parent.iterdir()] == ["a-0.parquet"]
  one = fetched.local("s3://birds/classes.yaml")
  assert one.read_bytes() == (root / "birds/classes.yaml").read_bytes() and got[-1] == "classes.yaml"


def test_what_was_used_longest_ago_goes_where_room_is_short(store, monkeypatch):
  root, _ = store
  for name in ("one", "two", "three"):
    (root / name).mkdir()
    (root / name / "x.bin").write_bytes(bytes(1000))
  paths = {}
  for name in ("one", "two"):
    paths[name] = fetched.local(f"s3://{name}")
    time.sleep(0.02)
  monkeypatch.setenv("SYNTHJAX_DATA_GB", "2.5e-6")
  with pytest.raises(
    UserError, match=r"s3://three: 1e-06 GB are to be fetched, and .* has room for 5e-07 GB; raise"
  ):
    fetched.local("s3://three")  # both are being read
  forget()
  fetched.local("s3://three")
  assert not paths["one"].exists() and (paths["two"] / "x.bin").exists()
  monkeypatch.setenv("SYNTHJAX_DATA_GB", "some")
  forget()
  with pytest.raises(UserError, match="SYNTHJAX_DATA_GB is 'some'"):
    fetched.local("s3://one")


def test_a_plan_fetches_nothing_and_says_how_much_it_would_be(store):
  _, got = store
  with absence.passed_over() as noted:
    absence.attempt(lambda: open_source("folder:s3://birds:test", LABELS))
  assert "7 files" in noted["folder:s3://birds:test"].fix and not got
  open_source("folder:s3://birds:test", LABELS)
  with absence.passed_over():
    assert len(open_source("folder:s3://birds:test", LABELS)) == 6


@pytest.mark.parametrize(
  ("reference", "said"),
  [
    ("folder:s3://nowhere/at/all", "folder:s3://nowhere/at/all: s3://nowhere/at/all: NoSuchBucket"),
    ("folder:s3://birds/none", "there is no object below it"),
    ("folder:s3://birds:val", "there is no such folder"),
    (
      "coop:s3://birds/split.json:test",
      "coop reads files of this machine; of URLs, folder, webdataset, parquet, synthjax do",
    ),
  ],
)
def test_what_is_not_there_is_one_line(store, reference, said):
  with pytest.raises(UserError) as e:
    open_source(reference, LABELS)
  assert said in str(e.value)


def test_without_credentials_or_package_it_is_one_line(monkeypatch):
  for name in [n for n in os.environ if n.startswith(("AWS_", "GOOGLE_", "AZURE_"))]:
    monkeypatch.delenv(name)
  with pytest.raises(UserError, match=r"source folder:az://container/x: az://container/x: "):
    open_source("folder:az://container/x", LABELS)
  monkeypatch.setitem(__import__("sys").modules, "obstore.store", None)
  with pytest.raises(UserError, match=r"reading object stores needs `pip install synthjax\[buckets\]`"):
    open_source("folder:s3://birds", LABELS)


def test_an_object_that_comes_short_is_fetched_again(store, monkeypatch):
  times = []
  place = objects.Place("s3://birds")
  (one,) = [o for o in place.objects()[0] if o.name == "classes.yaml"]

  class Breaking:
    def __init__(self, inner):
      self._inner = inner

    def stream(self, **_):
      times.append(1)
      data = bytes(self._inner.bytes())
      yield data if len(times) > 2 else data[:5]

  get = obstore.get
  monkeypatch.setattr(obstore, "get", lambda store, name: Breaking(get(store, name)))
  target = Path(os.environ["SYNTHJAX_DATA"]) / "x"
  objects.fetch(place.folder, one, target)
  assert len(times) == 3 and target.stat().st_size == one.size
  times.clear()
  monkeypatch.setattr(objects, "_TRIES", 2)
  with pytest.raises(objects.Unreachable, match=r"5 of \d+ bytes came"):
    objects.fetch(place.folder, one, target.with_name("y"))
  assert not list(target.parent.glob(".y*"))


# --- a server ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_source_is_read_from_an_s3_server(tmp_path, monkeypatch):
  """A whole way: keys in the environment, listing in pages, bytes by HTTP; then keys that are wrong, and no server."""
  server = pytest.importorskip("moto.server", reason="needs the extra parity")
  monkeypatch.setenv("SYNTHJAX_DATA", str(tmp_path / "cache"))
  monkeypatch.setattr(fetched, "_READ", {})
  running = server.ThreadedMotoServer(port=0)
  running.start()
  try:
    host, port = running.get_host_and_port()
    for name, value in {
      "AWS_ENDPOINT_URL": f"http://{host}:{port}",
      "AWS_ALLOW_HTTP": "true",
      "AWS_ACCESS_KEY_ID": "a",
      "AWS_SECRET_ACCESS_KEY": "b",
      "AWS_REGION": "us-east-1",
    }.items():
      monkeypatch.setenv(name, value)
    import boto3

    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="lab")
    folder = pictures(tmp_path / "birds", n=600)  # more than a page
    for path in folder.rglob("*.*"):
      client.put_object(Bucket="lab", Key=f"sets/birds/{path.relative_to(folder)}", Body=path.read_bytes())
    there, here = (open_source(f"folder:{p}:train", LABELS) for p in ("s3://lab/sets/birds", folder))
    assert len(there) == 1200 and there.digest == here.digest
    with pytest.raises(NotHere, match=r"s3://other/sets: .*"):
      open_source("folder:s3://other/sets", LABELS)
  finally:
    running.stop()
    forget()
  manifest = json.loads(next((tmp_path / "cache").glob("*/objects.json")).read_text())
  assert manifest["url"] == "s3://lab/sets/birds" and len(manifest["objects"]) == 1201
