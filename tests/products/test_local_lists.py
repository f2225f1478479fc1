"""Lists by language models on this process's devices: tiny ones with random weights, whose texts are noise."""

import json

import pytest

from synthjax import study
from synthjax.runtime.errors import UserError
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from tests.language import folders


@pytest.fixture
def made(tmp_path):
  """Runs stage prompts of a study with one list, and gives its prompts."""

  def run(name="L", **fields) -> list[dict]:
    config = fields_of.study_config("digits")
    config.prompts[name] = fields_of.prompt_list("LE", **dict(draws=12, per_class=6, max_tokens=6) | fields)
    validation.check(config)
    study.run(Command(config, str(tmp_path / "w"), line="", stages=("prompts",)))
    file = tmp_path / "w/prompts" / name / "prompts.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]

  return run


def test_a_t5_writes_sentences_which_its_seed_decides(made, tmp_path):
  weights = folders.t5(tmp_path / "t5")
  first = made(writer=f"t5:{weights}")
  assert {p["class_id"] for p in first} == set("0123456789")
  assert all(p["text"].startswith("a photo of ") and p["origin"].startswith("LE: t5 ") for p in first)
  again = [json.loads(line) for line in (tmp_path / "w/prompts/L/prompts.jsonl").read_text().splitlines()]
  assert made(name="same", writer=f"t5:{weights}", per_device_batch=2) == again
  assert made(name="other", writer=f"t5:{weights}", seed=1) != again
  assert made(name="recorded", writer="recorded:L") == again
  record = json.loads((tmp_path / "w/prompts/L/record.json").read_text())
  assert record["identity"]["model"].keys() == {"model", "weights", "dtype"}
  answers = next((tmp_path / "w/prompts/L/answers").glob("*.jsonl")).read_text().splitlines()
  assert len(answers) == 1 + 10 * 12  # a draw each, whatever the prompts that are left of them


def test_a_chat_model_that_writes_no_lists_is_asked_again_and_then_named(made, tmp_path, capsys):
  weights = folders.qwen3(tmp_path / "qwen3", max_position_embeddings=2048)
  with pytest.raises(UserError, match=r"10 classes got no prompt of use from the model \('0', '1'"):
    made(writer=f"lm:{weights}", per_request=6, reasks=1)
  prompts = made(name="M", writer=f"lm:{weights}", per_request=6, reasks=0, when_missing="basic")
  assert [p["text"] for p in prompts] == [f"a photo of a digit {i}" for i in range(10)]


@pytest.mark.parametrize(
  "writer, line",
  [
    ("t5:{qwen3}", "is the other kind; write lm:"),
    ("lm:{t5}", "is the other kind; write t5:"),
    ("t5:nowhere", "nowhere"),
    ("t5:", "writer"),
    ("words:", "writer 'words:'"),
  ],
)
def test_a_wrong_reference_is_one_line_and_makes_nothing(made, tmp_path, writer, line):
  names = {"qwen3": tmp_path / "qwen3", "t5": tmp_path / "t5"}
  if "qwen3" in writer:
    folders.qwen3(names["qwen3"])
  if "{t5}" in writer:
    folders.t5(names["t5"])
  with pytest.raises(UserError, match=line) as e:
    made(writer=writer.format(**names))
  assert "config.prompts.L" in str(e.value)
  assert not list(tmp_path.glob("w/prompts/*"))
