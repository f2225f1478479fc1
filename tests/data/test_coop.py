"""CoOp's split files: their layout, and classes by name although the file numbers them in its own order."""

import json

import pytest

from synthjax.data.sources import open_source
from synthjax.labels import spaces
from synthjax.runtime.errors import UserError
from tests.data.tfds_files import picture

LABELS = spaces.load("eurosat")
ROWS = {  # numbers that are not the places in our space
  "train": [["Forest/Forest_1.jpg", 7, "Forest"], ["SeaLake/SeaLake_3.jpg", 0, "Sea or Lake"]],
  "val": [["Forest/Forest_2.jpg", 7, "Forest"]],
  "test": [["AnnualCrop/AnnualCrop_9.jpg", 3, "Annual Crop Land"]],
}


@pytest.fixture
def file(tmp_path):
  path = tmp_path / "split_zhou_EuroSAT.json"
  path.write_text(json.dumps(ROWS))
  for k, (image, *_) in enumerate(row for rows in ROWS.values() for row in rows):
    (tmp_path / "2750" / image).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "2750" / image).write_bytes(picture(k, "JPEG"))
  return path


def test_a_split_file_is_a_source(file):
  source = open_source(f"coop:{file}:train:{file.parent / '2750'}", LABELS)
  assert [LABELS.ids[k] for k in source.labels] == ["Forest", "SeaLake"]
  assert source.keys == ["Forest/Forest_1.jpg", "SeaLake/SeaLake_3.jpg"]
  assert source.encoded(1) == picture(1, "JPEG") and source.image(0).size == (12, 12)
  assert source.name == "split_zhou_EuroSAT"


def test_the_files_hash_is_in_the_split_and_the_digest(file):
  root = file.parent / "2750"
  before = open_source(f"coop:{file}:test:{root}", LABELS)
  digests = {open_source(f"coop:{file}:{split}:{root}", LABELS).digest for split in ROWS}
  assert len(digests) == 3
  file.write_text(json.dumps(ROWS) + "\n")
  after = open_source(f"coop:{file}:test:{root}", LABELS)
  assert before.split != after.split and before.digest not in (after.digest, *digests - {before.digest})
  (root / ROWS["test"][0][0]).write_bytes(picture(99, "JPEG"))
  assert open_source(f"coop:{file}:test:{root}", LABELS).digest != after.digest


def test_images_may_lie_beside_the_file(file):
  (file.parent / "2750" / "split.json").write_bytes(file.read_bytes())
  assert len(open_source(f"coop:{file.parent / '2750' / 'split.json'}:val", LABELS)) == 1


@pytest.mark.parametrize("space", ["caltech101", "cars", "sun397", "pets", "flowers102", "food101", "dtd"])
def test_coops_names_are_ours(space, tmp_path):
  """As CoOp writes them: in lower case with underscores, or turned round (2000 AM General Hummer SUV)."""
  labels = spaces.load(space)
  said = [name.lower().replace(" ", "_") if space in ("pets", "food101") else name for name in labels.names]
  (tmp_path / "a.jpg").write_bytes(picture(0, "JPEG"))
  rows = [["a.jpg", 5, name] for name in said]
  (tmp_path / "s.json").write_text(json.dumps({"train": [], "val": [], "test": rows}))
  source = open_source(f"coop:{tmp_path / 's.json'}:test", labels)
  assert source.labels.tolist() == list(range(len(labels)))


@pytest.mark.parametrize(
  "reference, said",
  [
    ("coop:{file}:tests", "no split 'tests' (did you mean 'test'?)"),
    ("coop:{file}", "expected coop:FILE:train|val|test[:ROOT]"),
    ("coop:/no/such.json:test", "/no/such.json does not exist"),
    ("coop:{file}:test", "AnnualCrop/AnnualCrop_9.jpg is not below"),
  ],
)
def test_mistakes_are_one_line(file, reference, said):
  with pytest.raises(UserError) as e:
    open_source(reference.format(file=file), LABELS)
  assert said in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize(
  "body",
  ["[]", '{"test": 3}', '{"test": [["a.jpg", 1]]}', '{"test": [["/etc/hosts", 1, "Forest"]]}',
   '{"test": [["../a.jpg", 1, "Forest"]]}'],
)  # fmt: skip
def test_what_is_no_split_file_is_one_line(file, body):
  file.write_text(body)
  with pytest.raises(UserError, match="is no split file of CoOp's"):
    open_source(f"coop:{file}:test", LABELS)


def test_a_class_that_is_not_ours_is_one_line_with_both_sides(file):
  with pytest.raises(
    UserError, match=r"'Forest' is no class.* it has 2 labels \('Forest', .*, the space 47 labels"
  ):
    open_source(f"coop:{file}:train:{file.parent / '2750'}", spaces.load("dtd"))
