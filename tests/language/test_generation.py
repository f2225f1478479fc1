"""Greedy decoding is PyTorch's, token for token; what stands beside a text, and where it runs, changes nothing."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from etils import epath

from synthjax.language import model as language
from synthjax.language.decoding import Decoding, Program, rows_of
from synthjax.language.placement import mesh_for
from synthjax.runtime import devices, residents
from tests.conftest import said_of
from tests.language import folders

ENDS = {"qwen3": (256, 258), "t5": (1,)}
TEXTS = ["a photo of a cat"[: 1 + i % 16] for i in range(50)]
LONGER = [*TEXTS[:20], *(f"{text}, the bee" for text in TEXTS[8:16])]  # of two padded lengths
GREEDY, SAMPLED = Decoding(24, temperature=0), Decoding(24, temperature=0.9, top_k=30, top_p=0.95)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  return tmp_path_factory.mktemp("language")


@pytest.fixture(scope="module")
def loaded(root):
  """Each on two devices."""
  made = {}

  def get(kind: str) -> language.LanguageModel:
    if kind not in made:
      made[kind] = loaded_from(getattr(folders, kind)(root / kind))
    return made[kind]

  return get


def loaded_from(folder, n: int = 2, **settings) -> language.LanguageModel:
  return language.load(str(folder), epath.Path(folder.parent), of=jax.local_devices()[:n], **settings)


# --- parity ------------------------------------------------------------------------------------------


def prompts(kind: str) -> list[list[int]]:
  rng = np.random.default_rng(0)
  low, high = (3, 20) if kind == "t5" else (0, 256)
  return [rng.integers(low, high, n).tolist() for n in rng.integers(1, 17, 50)]


@pytest.mark.parity
@pytest.mark.parametrize(
  ("kind", "config"),
  [
    ("qwen3", {}),
    ("qwen3", {"tie_word_embeddings": True, "attention_bias": True}),
    ("t5", {}),
    ("t5", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
  ],
)
def test_greedy_tokens_equal_pytorchs(torch, tmp_path, kind, config):
  from transformers import Qwen3ForCausalLM, T5ForConditionalGeneration

  folder = getattr(folders, kind)(tmp_path / kind, **config)
  theirs = {"qwen3": Qwen3ForCausalLM, "t5": T5ForConditionalGeneration}[kind].from_pretrained(folder).eval()
  rows = rows_of(prompts(kind), range(50), 16, 50)
  own = loaded_from(folder)
  mesh = mesh_for(1, jax.local_devices()[:2], 100, "tiny")
  params = jax.device_put(own.read_params(), devices.place(mesh, devices.REPLICATED))
  found = Program(own.network, ENDS[kind], mesh)(params, rows, GREEDY)
  ids, mask = (torch.tensor(x).long() for x in rows[:2])
  asked = dict(do_sample=False, max_new_tokens=24, eos_token_id=list(ENDS[kind]), pad_token_id=0)
  with torch.no_grad():
    want = theirs.generate(ids, attention_mask=mask, **asked).numpy()
  want = want[:, 16:] if kind == "qwen3" else want[:, 1:]
  tokens, counts = np.asarray(found.tokens_BxN), np.asarray(found.count_B)
  for row, count, wanted in zip(tokens, counts, want, strict=True):
    assert row[:count].tolist() == wanted[:count].tolist()
    assert not wanted[count:].any() and not row[count:].any()
  kinds = [len(set(row[:count])) for row, count in zip(tokens, counts, strict=True)]
  print(
    f"\n{kind} {config}: {int(found.ended_B.sum())} of 50 ended, {np.mean(kinds):.1f} different tokens a row"
  )
  assert np.mean(kinds) > 2.5 and len({tuple(row) for row in tokens}) > 25


# --- what does not count -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["qwen3", "t5"])
def test_one_by_one_and_together_are_the_same(loaded, kind):
  """Lengths of several programs, and batches that are not full."""
  own, n = loaded(kind), len(LONGER)
  heard: list[int] = []
  together = own.generate(LONGER, range(n), SAMPLED, heard.append)
  assert sum(heard) == n
  assert len(set(together)) > n / 2
  assert [own.generate([LONGER[i]], [i], SAMPLED)[0] for i in range(0, n, 5)] == together[::5]
  assert own.generate(LONGER[::-1], range(n - 1, -1, -1), SAMPLED)[::-1] == together
  alone = loaded_from(own.folder, n=1)
  assert alone.generate(LONGER[:9], range(9), SAMPLED) == together[:9]


def test_seeds_and_settings_count(loaded):
  own = loaded("qwen3")
  texts = [TEXTS[3]] * 6
  drawn = own.generate(texts, [1, 2, 1, 2**40 + 1, 2**64 + 1, -1], SAMPLED)
  assert drawn[0] == drawn[2] == drawn[4]  # of 64 bits
  assert len({found.text for found in drawn}) == 4
  greedy = own.generate(texts, range(6), GREEDY)
  assert len(set(greedy)) == 1
  for change in ({"temperature": 1e-4}, {"top_k": 1}, {"top_p": 1e-6}):
    assert own.generate(texts[:1], [1], dataclasses.replace(SAMPLED, **change)) == greedy[:1]


@pytest.mark.parametrize("kind", ["qwen3", "t5"])
def test_parameters_that_are_split_say_the_same(loaded, kind, monkeypatch):
  whole = loaded(kind)
  monkeypatch.setattr(
    devices, "memory_limit", lambda: int(whole.bytes)
  )  # no room for the whole, some for half
  split = loaded_from(whole.folder)
  params = split.read_params()
  assert split.data_parallel == 1 and whole.data_parallel == 2
  placed = {x.sharding.is_fully_replicated for x in jax.tree.leaves(params)}
  assert placed == {True, False}  # norms are small
  here = sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(params))
  assert here < 0.9 * whole.bytes
  found = split.generate(TEXTS[:16], range(16), GREEDY)
  assert found == whole.generate(TEXTS[:16], range(16), GREEDY)


def test_no_room_is_one_line(loaded, monkeypatch):
  own = loaded_from(loaded("qwen3").folder)
  monkeypatch.setattr(devices, "memory_limit", lambda: 10**5)
  said = said_of(lambda: own.generate(TEXTS[:1], [0], GREEDY))
  assert "needs 0.0 GB, and 2 devices of 0.0 GB have no room for it; take bfloat16" in said


def test_a_batch_without_room_is_one_line(loaded, monkeypatch):
  own = loaded("qwen3")
  mesh = mesh_for(1, jax.local_devices()[:2], 100, "tiny")
  params = jax.device_put(own.read_params(), devices.place(mesh, devices.REPLICATED))
  rows = rows_of([[1, 2, 3]], [0], 16, 16)
  monkeypatch.setattr(devices, "memory_of", lambda compiled: own.bytes + 8 * 10**6)
  program = Program(own.network, (0,), mesh, limit=own.bytes + 4 * 10**6)
  said = said_of(lambda: program(params, rows, GREEDY))
  assert (
    said.startswith("8 texts at once need 0.0 GB of a device")
    and "about 4 fit: lower per_device_batch" in said
  )
  program = Program(own.network, (0,), mesh, limit=own.bytes)
  assert "not even one fits; lower max_tokens, or take a smaller model" in said_of(
    lambda: program(params, rows, GREEDY)
  )


# --- ends ------------------------------------------------------------------------------------------


def test_a_text_ends_where_the_model_ends_it(loaded, tmp_path):
  """Any of several tokens ends it; what it ended with is counted, and is no part of the text."""
  whole = loaded("t5").generate(TEXTS, range(50), SAMPLED)
  assert {found.ended for found in whole} == {True, False}
  for found in whole:
    assert found.new_tokens == 24 or found.ended
    assert "</s>" not in found.text and found.new_tokens >= 1
  folder = folders.t5(tmp_path / "t5")
  (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, *range(3, 96)]}))
  short = loaded_from(folder).generate(TEXTS[:8], range(8), SAMPLED)
  assert all(found.new_tokens <= 3 for found in short) and any(found.ended for found in short)


def test_as_many_tokens_as_asked_for(loaded):
  own = loaded("qwen3")
  by_length = {n: own.generate(TEXTS[:4], range(4), Decoding(n, temperature=0)) for n in (1, 5, 30)}
  for n, found in by_length.items():
    assert all(f.new_tokens == n or f.ended for f in found)
  assert by_length[5][0].text.startswith(by_length[1][0].text.rstrip("\ufffd"))
  assert own.generate([], [], GREEDY) == []


def test_half_precision_runs(loaded):
  own = loaded_from(loaded("qwen3").folder, dtype="bfloat16")
  assert own.bytes * 2 == loaded("qwen3").bytes
  assert {x.dtype.name for x in jax.tree.leaves(own.read_params())} == {"bfloat16"}
  found = own.generate(TEXTS[:3], range(3), SAMPLED)
  assert found == own.generate(TEXTS[:3], range(3), SAMPLED) and all(f.new_tokens for f in found)


# --- what is asked for -------------------------------------------------------------------------


def test_what_cannot_be_is_one_line(loaded):
  own = loaded("qwen3")
  assert "the text '' has no token" in said_of(lambda: own.generate(["a", ""], [0, 1], GREEDY))
  said = said_of(lambda: own.generate(["a" * 250], [0], GREEDY))
  assert "has 250 tokens, and 24 new ones are asked for: it knows 256 positions" in said
  assert "max_tokens=0; it must be at least 1" in said_of(lambda: Decoding(0))
  assert "top_p=0; it must be above 0 and at most 1" in said_of(lambda: Decoding(1, top_p=0))
  assert "temperature=nan" in said_of(lambda: Decoding(1, temperature=float("nan")))
  assert "top_k=-1" in said_of(lambda: Decoding(1, top_k=-1))
  assert "dtype='float16'; it must be float32 or bfloat16" in said_of(
    lambda: loaded_from(own.folder, dtype="float16")
  )


def test_parameters_are_released(loaded):
  own = loaded("t5")
  own.generate(TEXTS[:1], [0], GREEDY)
  before = sum(x.nbytes for x in jax.live_arrays())
  residents.begin(())
  assert sum(x.nbytes for x in jax.live_arrays()) <= before - own.bytes
  assert own.generate(TEXTS[:1], [0], GREEDY)  # read again
