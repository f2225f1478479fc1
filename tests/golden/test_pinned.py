"""Numbers that users' disks are joined by, as literals: what else pins noise and image ids is
tests/sampling/test_plan.py."""

import pytest

from synthjax.data.draws import draw
from synthjax.data.order import indices
from synthjax.data.pictures import Pictures, batches, ids_hash
from synthjax.data.selection import digest, part_digest
from synthjax.data.sources import open_source
from synthjax.labels import spaces
from synthjax.store import records
from synthjax.store.plan import Plan, Segment, key_words
from synthjax.store.prompt import Prompt

# Shard, class, sample, round, prompt, parent, noise id and image id, in the order of the plan.
PLAN = """
0 0 0 0 an-ant p0 4272f628e356880bc7fa37dc62dbf58a 3b2043861db6370510dcf19110f7fa14
0 1 0 0 a-bee q0 0beec6bc025e3447f7574d924b688602 d7499b6edb7fa9504330cd5a962cc9b4
0 0 1 0 ants p1 975a7d74c2eedf889bbab62b5872cb30 2ff7c529b108dfb5bfd1fdd20c81f9ea
1 1 1 0 a-bee q0 e8a9c667658010588feda0018f98c8cf 4cf17c636515957489709a07881674c7
2 1 2 1 a-bee q0 12e495778919be666ceae2513bec7735 d37f60a0b226ee6836bcb7f76b02f108
3 0 2 0 ants p2 725fe4d0e21700eb710186997e8db452 8aabaf7b54e8f4f5fabefb6f09575582
3 0 3 0 an-ant p0 3138fcba1a7f3a1782e14e42ad916c90 a3089aeb8824222a9597d7aca5ce3092
3 1 3 0 a-bee q0 5d70eb615c99fd588098bf045d948d59 e1974bfbd07df316bfc3ca2ec61ebab6
"""


def test_a_plan_with_parents_a_round_of_a_filter_and_growth():
  prompts = [Prompt("ant", "an ant"), Prompt("ant", "ants", repeat=2), Prompt("bee", "a bee")]
  segments = [Segment((2, 2)), Segment((0, 1), 1, "CF-clip 2 a class"), Segment((2, 1))]
  parents = (("p0", "p1", "p2"), ("q0",))
  of_drawing = dict(drawing="d" * 8, guidance=2.0, seed=7, parents=parents, strength=0.5)
  plan = Plan(("ant", "bee"), prompts, segments, images_per_shard=3, **of_drawing)
  found = [
    (shard.index, i.label, i.sample_index, i.round, i.prompt, i.parent_id, i.noise_id, i.image_id)
    for shard in plan.shards
    for i in plan.images(shard)
  ]
  assert [" ".join(str(x).replace(" ", "-") for x in row) for row in found] == PLAN.split("\n")[1:-1]


def test_the_key_of_an_image_is_the_first_sixteen_digits_of_its_noise():
  assert key_words("0123456789abcdef" * 2).tolist() == [0x01234567, 0x89ABCDEF]


def test_the_hash_of_a_record_and_the_digest_of_a_value():
  identity = {"steps": 2, "size": None, "sizes": (1, 2), "text": "é", "x": 0.1, "b": True}
  record = records.Record("images/LE", identity, growth={"n": 1}, inputs={"prompts/LE": "abc"})
  assert record.hash == "a4d8f0be4f732e57633966b33c59aa44f143ee230c83996cba2b42339c3dc696"
  value = {"b": [1, 2.5, None], "a": "ü"}
  assert records.digest(value) == "91ff63a7ddb19a1b9c7a2e722d40ba9baba03223f291c89743abfd71bb743cb5"


def test_the_digest_of_chosen_images():
  assert digest(["a", "b"]) == "35f74aa818321b35637f0bed78c3c48c62c10feb2379fbe44707f55c3609939e"
  part = part_digest(["a", "b", "c"], ["a"])
  assert part == "6e064a179f7eaf27a5cadedd843ee4f475255b6cb5ac451d9c576949c9cd1049"


@pytest.fixture
def digits():
  return open_source("embedded:digits:first", spaces.load("digits"))


@pytest.mark.parametrize(
  "asked, keys",
  [
    (dict(shots=1), "63 127 146 179 187 367 609 625 644 689"),
    (dict(shots=1, seed=1), "3 171 195 233 332 642 723 731 781 888"),
    (dict(fraction=0.01), "63 127 146 179 187 367 609 625 644 689"),
    (dict(shots=4, imbalance=100.0), "0 63 127 146 179 187 298 311 367 487 609 625 644 689"),
  ],
)
def test_which_real_images_are_drawn(digits, asked, keys):
  assert draw(digits, spaces.load("digits"), **asked).keys == keys.split()


def test_the_digest_of_real_images(digits):
  assert digits.digest == "2c4a663c5e65984ea1fdf0926fd045e9f52fbe714988a5941de63ae41d9f8a18"
  part = draw(digits, spaces.load("digits"), shots=1).digest
  assert part == "4c396e5034c230e89ee8b91ee560299a2e15a6710bd20432f3a9a190aa1ac4ea"


def test_the_order_of_batches(digits):
  assert [indices(step, 4, 10, seed=3).tolist() for step in range(3)] == [
    [9, 6, 0, 2],
    [1, 4, 7, 5],
    [3, 8, 4, 1],
  ]
  # Six of domain 0, then two of domain 1, whose order has the next seed.
  parts = [(0, Pictures(draw(digits, spaces.load("digits"), shots=2), 16)), (1, Pictures(digits, 16))]
  batch_at = batches(parts, [6, 2], seed=4)
  assert [batch_at(step)["labels"].tolist() for step in range(3)] == [
    [3, 9, 2, 0, 7, 7, 3, 0],
    [2, 1, 8, 5, 8, 1, 8, 9],
    [4, 9, 6, 0, 6, 4, 3, 0],
  ]
  assert batch_at(0)["domain"].tolist() == [0] * 6 + [1] * 2
  known = "1bedd88fb7248c029bd71a29f123a46016fb933d57afaa88ffae2c482edf61e8"
  assert ids_hash(parts, [6, 2], 4, 3) == known
