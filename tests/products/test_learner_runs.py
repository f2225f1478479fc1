"""Where a learner's run lies: by what it learns from, whatever lies beside that, and by nothing that only evaluates."""

import numpy as np
import pytest
from etils import epath

from synthjax.data.sources import open_real, open_source
from synthjax.evaluation.accuracy import Tally
from synthjax.products.base import DONE
from synthjax.products.learner import Learner
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec import config as fields_of
from synthjax.spec.study import resolve
from synthjax.store import records
from synthjax.weights import image_networks
from tests.products.planted import IMAGES, LABELS, PlantedSet, keep_list
from tests.products.planted import make as made

TEST = "embedded:digits:second"


@pytest.fixture
def work(monkeypatch) -> list[str]:
  """What is learnt and measured; nothing is."""
  done = []

  def learn(self, seed, mesh, stop):
    done.append(f"learn {self.learner}")
    self.learnt_file(seed).parent.mkdir(parents=True, exist_ok=True)
    self.learnt_file(seed).write_bytes(image_networks.to_bytes({"params": {"x": np.zeros(2, np.float32)}}))
    return {}

  def measured(self, task, variables, test, metric, mesh):
    done.append(f"{metric} {self.learner}")
    labels = np.asarray(self.tests[test].labels)
    return Tally.empty(10).update(np.eye(10)[labels], labels)

  monkeypatch.setattr(Learner, "_learn", learn)
  monkeypatch.setattr(Learner, "_measured", measured)
  return done


def learner(
  root, images: str = "LE", begun_from=None, keep=None, image_set=None, name="one", **fields
) -> Learner:
  config = fields_of.study_config(labels="digits")
  config.real.few = fields_of.real_images("embedded:digits:first", shots=2)
  config.learning.update(model="resnet-mini", size=8, batch=8, steps=3)
  config.learners[name] = fields_of.learner(images, **fields)
  config.tests.digits, config.seeds = TEST, 1
  if images and keep is None and "/" in images:
    keep = keep_list(root, 0)
  image_set = (
    (keep._set if keep else image_set or PlantedSet(resolve(config), epath.Path(root), IMAGES))
    if images
    else None
  )
  tests = {"digits": open_source(TEST, LABELS)}
  return Learner(resolve(config), epath.Path(root), name, LABELS, LABELS, tests, image_set, keep, begun_from)


def make(one: Learner) -> Learner:
  with Stop() as stop:
    if one._keep:
      made(one._keep)
    elif one._set:
      one._set.make(stop)
    assert one.make(stop) and one.status().state == DONE
  return one


# --- which images -----------------------------------------------------------------------------------


def test_a_filter_without_a_quota_gives_all_that_pass(tmp_path, work):
  one = make(learner(tmp_path, "LE/CF", real="few"))
  passed = sum(row["passed"] for row in one._keep.summary()["classes"])
  assert one.synthetic_images == len(one._keep.ids()) == passed > 10


def test_no_image_at_all_is_an_error_and_not_a_training_on_real_ones_alone(tmp_path, work):
  one = learner(tmp_path, "LE/CF", real="few", keep=keep_list(tmp_path, 0, threshold=0.999))
  with pytest.raises(UserError, match="learner one: its filter kept no image; lower its threshold"):
    make(one)
  assert work == []


def test_a_ratio_that_makes_no_image_is_an_error_and_not_the_whole_set(tmp_path):
  one = learner(tmp_path, real="few", ratio=0.1)
  with pytest.raises(UserError, match=r"ratio 0.1 of 20 real images is no image a class; raise it"):
    make(one)


def test_a_class_with_too_few_images_is_an_error(tmp_path):
  with pytest.raises(UserError, match="learner one needs 9 synthetic images a class, and one has 6; raise"):
    make(learner(tmp_path, images_per_class=9))


def test_a_result_learnt_without_the_images_of_the_filter_is_named(tmp_path, work):
  one = make(learner(tmp_path, "LE/CF", real="few"))
  older = one.folder.parent / older_hash(one, [])
  one.folder.rename(older)
  status = learner(tmp_path, "LE/CF", real="few").status()
  assert status.state != DONE
  assert status.why == f"an older result, runs/{older.name}, was trained without any image of keep/LE/CF-clip"


def test_what_was_looked_at_before_a_list_was_made_anew_is_not_remembered(tmp_path):
  """The page looks while the study runs."""
  one = learner(tmp_path, "LE/CF", real="few")
  made(one._keep)
  before = one.folder, one.synthetic_images
  one._set._images *= 3
  made(one._keep)
  assert one.synthetic_images == len(one._keep.ids()) > before[1] and one.folder != before[0]


# --- what its hash covers ---------------------------------------------------------------------------


def test_how_jpegs_are_decoded_counts_once_it_is_not_as_ever(tmp_path):
  as_ever = learner(tmp_path, "", real="few")
  assert "decode" not in as_ever.fields.identity()
  assert learner(tmp_path, "", real="few", decode="full").folder == as_ever.folder
  assert learner(tmp_path, "", real="few", decode="scaled").folder != as_ever.folder


def older_hash(one: Learner, chosen: list[str], whole: list[str] | None = None, **evaluated) -> str:
  """As releases hashed it that took the whole set, and the fields that evaluate, into account."""
  from synthjax.data.selection import part_digest

  identity = one.fields.identity() | evaluated
  for field in ("real", "probe"):
    if identity[field]:
      digest = open_real(one._config.real[identity[field]], LABELS).digest
      identity[field] = one._config.real[identity[field]].to_dict() | {"digest": digest}
  for field in ("images_per_class", "ratio", "subset_tests"):
    del identity[field]
  whole = list(one._set.as_source().keys) if whole is None and one._set else whole
  images = part_digest(whole, chosen) if one._set else ""
  return records.digest(identity | {"class_ids": LABELS.ids, "images": images, "init": ""})[:12]


def chosen(one: Learner, per_class: int) -> list[str]:
  return list(one._set.as_source().keys)[: 10 * per_class]


def test_hashes_of_learners_that_use_a_whole_set_or_none_are_as_ever(tmp_path):
  real = learner(tmp_path, "", real="few")
  assert real.folder.name == older_hash(real, []) == "3545a4eece89"
  whole = learner(tmp_path, real="few")
  whole._set.make(None)
  assert whole.folder.name == older_hash(whole, chosen(whole, IMAGES)) == "0030fc5f785c"


KINDS = {
  "whole": dict(),
  "part": dict(images_per_class=2),
  "ratio": dict(real="few", ratio=1.0),
  "kept": dict(images="LE/CF"),
  "kept, with a quota": dict(images="LE/CF", keep=3),
}


def of_kind(root, kind: str, **fields) -> Learner:
  fields = KINDS[kind] | fields
  quota = fields.pop("keep", 0)
  images = fields.pop("images", "LE")
  return learner(root, images, keep=keep_list(root, quota) if "/" in images else None, **fields)


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_that_grows_for_others_leaves_a_learner_done(tmp_path, work, kind):
  before = make(of_kind(tmp_path, kind)).folder
  one = of_kind(tmp_path, kind)
  one._set.top_up((3,) * 10, len(one._set.requested()[0].segments), "other-clip 9 a class")
  assert one.status().state == DONE and one.folder == before
  assert work == ["learn one", "top1 one"]


@pytest.mark.parametrize("grown", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_run_of_an_older_release_is_found(tmp_path, work, kind, grown):
  one = make(of_kind(tmp_path, kind))
  ids = list(one._set.as_source().keys)
  older = one.folder.parent / older_hash(one, [ids[i] for i in one._selection.now().places])
  if older != one.folder:
    one.folder.rename(older)
  if grown:
    one._set.top_up((3,) * 10, len(one._set.requested()[0].segments), "other-clip 9 a class")
  again = of_kind(tmp_path, kind)
  assert again.status().state == DONE and again.folder.name == older.name
  make(again)
  assert work == ["learn one", "top1 one"]


def test_other_images_are_another_run(tmp_path):
  names = []
  for n in (0, 2, 3):
    one = learner(tmp_path, images_per_class=n)
    one._set.make(None)
    names.append(one.folder.name)
  assert len(set(names)) == 3


# --- what only evaluates ----------------------------------------------------------------------------


def test_another_evaluation_is_of_the_same_weights(tmp_path, work):
  both = dict(real="few", norm="auxiliary")
  first = make(learner(tmp_path, **both)).folder
  for fields, wanted in (
    (dict(probe="few"), ["knn", "linear_probe"]),
    (dict(probe="few", neighbours=5), ["knn"]),
    (dict(test_norm="auxiliary"), ["top1"]),
    (dict(test_norm="auxiliary", probe="few"), ["knn", "linear_probe"]),
    (dict(probe="few"), []),
    (dict(), []),
  ):
    work.clear()
    one = make(learner(tmp_path, **both, **fields))
    assert one.folder == first and {f"{metric} one" for metric in wanted} <= set(work), fields
    assert "learn one" not in work and bool(work) == bool(wanted), fields


@pytest.mark.parametrize(
  "fields",
  [
    dict(probe="few"),
    dict(probe="few", neighbours=5),
    dict(norm="auxiliary", test_norm="auxiliary", weight_decay=0.0),
  ],
)
def test_a_run_that_an_older_release_named_by_its_evaluation_is_found(tmp_path, work, fields):
  fields = dict(real="few", images_per_class=2) | fields
  one = make(learner(tmp_path, **fields))
  older = one.folder.parent / older_hash(one, chosen(one, 2))
  one.folder.rename(older)
  for file in (older / "tests").iterdir():  # their names said nothing of it then
    parts = [part.partition("+")[0] for part in file.name.split(".")]
    if ".".join(parts) != file.name:
      file.rename(older / "tests" / ".".join(parts))
  work.clear()
  again = learner(tmp_path, **fields)
  assert again.status().state == DONE and again.folder.name == older.name
  make(learner(tmp_path, **(fields | dict(probe="", test_norm="main"))))  # another study's, learnt anew
  assert learner(tmp_path, **fields).folder.name == older.name


def test_what_begins_with_a_learner_depends_on_the_domain_it_takes_and_not_on_its_probes(tmp_path, work):
  def begun(**fields) -> str:
    first = make(learner(tmp_path, real="few", norm="auxiliary", name="first", **fields))
    return learner(tmp_path, "", begun_from=first, real="few", init="learner:first").folder.name

  assert begun() == begun(probe="few") == begun(neighbours=7, probe="few")
  assert begun() != begun(test_norm="auxiliary")


def test_what_begins_with_a_learner_of_an_older_release_is_found(tmp_path, work):
  def two():
    first = learner(tmp_path, real="few", images_per_class=2, probe="few", name="first")
    return first, learner(tmp_path, "", begun_from=first, real="few", init="learner:first", name="second")

  first, second = map(make, two())
  older = older_hash(first, chosen(first, 2))
  identity = next(i for i in first._naming.identities if records.digest(i)[:12] == older)
  origin = second.identity | {"init": records.digest(identity)}
  second.folder.rename(second.folder.parent / records.digest(origin)[:12])
  work.clear()
  assert two()[1].status().state == DONE and work == []
