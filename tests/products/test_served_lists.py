"""A list written by a server, by the command: killed in the middle, shared by processes, with a key that nobody sees again."""

import collections
import json
import time

import pytest

from synthjax.prompts.requests import Message, Request
from tests.prompts.scripted import Scripted
from tests.prompts.stub_server import Stub, answer

KEY = "sk-not-to-be-seen-anywhere-2026"
CONCURRENT = 4
CONFIG = """
from synthjax.config import prompt_list, study_config

def get_config(arg=""):
  config = study_config(labels="digits")
  config.prompts.CD = prompt_list(
    "CD", writer="server:{url}", model="crane-1", per_class=40, per_request=5, items=12, overlap=1.0)
  config.server.max_concurrent = {concurrent}
  config.server.key_variable = "LISTS_KEY"
  config.server.retry_seconds = 2.0
  config.runtime.heartbeat_seconds, config.runtime.stale_seconds = 0.5, 3.0
  return config
"""


@pytest.fixture
def stub():
  made, scripted = Stub(), Scripted(spoilt=0.1)

  def reply(body: dict, n: int) -> dict:
    messages = tuple(Message(m["role"], m["content"]) for m in body["messages"])
    schema = body["response_format"]["json_schema"]["schema"]
    return answer(scripted._answer(Request(messages, seed=body["seed"], schema=schema)).text)

  made.reply = reply
  yield made
  made.close()


@pytest.fixture
def start(stub, tmp_path, forked):
  config = tmp_path / "served.py"
  config.write_text(CONFIG.format(url=stub.url, concurrent=CONCURRENT))
  line = [f"--config={config}", f"--workdir={tmp_path / 'w'}", "--stages=prompts", "--distributed=off"]
  return lambda *more: forked(*line, *more, env={"LISTS_KEY": KEY})


def asked(stub: Stub) -> collections.Counter:
  return collections.Counter(json.dumps(body, sort_keys=True) for body in stub.bodies)


def prompts(tmp_path) -> bytes:
  return (tmp_path / "w/prompts/CD/prompts.jsonl").read_bytes()


def test_killed_in_the_middle_it_asks_again_only_what_was_in_flight(stub, start, tmp_path):
  stub.latency = 0.05
  first = start()
  while len(stub.bodies) < 40:
    assert first.poll() is None, first.communicate()
    time.sleep(0.01)
  first.kill()
  first.wait(30)
  known = sum(file.read_bytes().count(b"\n") for file in tmp_path.glob("w/prompts/CD/answers/*")) - 1
  assert 20 <= known < 90
  stub.latency = 0.0
  second = start()
  assert second.wait(120) == 0, second.communicate()
  counts = asked(stub)
  # In flight, or answered in the moment before and not written yet.
  assert max(counts.values()) == 2 and sum(n == 2 for n in counts.values()) <= 2 * CONCURRENT
  assert len(prompts(tmp_path).splitlines()) == 400
  third = start()
  assert third.wait(60) == 0 and asked(stub) == counts
  output = "".join("".join(p.communicate()) for p in (first, second, third))
  files = [f for f in tmp_path.rglob("w/**/*") if f.is_file()]
  assert files and KEY not in output and all(KEY.encode() not in f.read_bytes() for f in files)
  assert stub.keys[-1] == f"Bearer {KEY}"


def test_three_processes_share_a_list_and_ask_nothing_twice(stub, start, tmp_path):
  stub.latency = 0.1
  processes = [start() for _ in range(3)]
  for process in processes:
    assert process.wait(180) == 0, process.communicate()
  assert set(asked(stub).values()) == {1}
  files = list(tmp_path.glob("w/prompts/CD/answers/*.jsonl"))
  assert len(files) >= 2  # more than one of them asked
  assert len(prompts(tmp_path).splitlines()) == 400


def test_a_server_that_fails_for_too_long_ends_in_a_line_and_the_command_goes_on(stub, start, tmp_path):
  reply, failing = stub.reply, True
  stub.reply = lambda body, n: (503, {}, {"error": "down"}) if n >= 20 and failing else reply(body, n)
  first = start()
  assert first.wait(120) == 75
  said = first.communicate()[1].splitlines()[-1]
  assert said.startswith("synthjax: ") and "503" in said and "same command" in said
  failing = False
  second = start()
  assert second.wait(120) == 0, second.communicate()
  assert len(prompts(tmp_path).splitlines()) == 400


def test_a_key_that_is_not_set_is_one_line_and_makes_nothing(stub, tmp_path, forked):
  config = tmp_path / "served.py"
  config.write_text(CONFIG.format(url=stub.url, concurrent=1))
  process = forked(
    f"--config={config}", f"--workdir={tmp_path / 'w'}", "--stages=prompts", "--distributed=off"
  )
  assert process.wait(60) == 2 and "LISTS_KEY" in process.communicate()[1]
  assert not (tmp_path / "w").exists()
