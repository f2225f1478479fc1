"""The writer `server:URL` against a server that somebody else wrote: fakellm, of the extra `test`."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from synthjax.prompts.requests import Decoding, chat
from synthjax.prompts.server import Server
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec import fields

RULES = """
version: 1
rules:
- {name: first, when: {messages_contain: flaky, turn: 1}, respond: {status: 429, error: slow down}}
- {name: then, when: {messages_contain: flaky}, respond: {content: a crane at last}}
- {name: refused, when: {messages_contain: forbidden}, respond: {status: 400, error: not this}}
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
  if importlib.util.find_spec("fakellm") is None:
    if os.environ.get("CI"):
      pytest.fail("CI must have fakellm: it is in the extra `test`")
    pytest.skip("needs fakellm: pip install -e '.[test]'")
  folder = tmp_path_factory.mktemp("fakellm")
  (folder / "rules.yaml").write_text(RULES)
  line = [sys.executable, "-m", "fakellm.cli", "serve", "--port", "0", "--config", "rules.yaml"]
  process = subprocess.Popen(line, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
  with process:
    assert process.stderr
    found = next(m for row in process.stderr if (m := re.search(r"running on (http://[\d.:]+)", row)))
    yield found[1]
    process.kill()
    process.communicate()


def test_answers_failures_and_refusals(url):
  model = Server(url, "crane-1", fields.Server(max_concurrent=4, retry_seconds=20.0))
  model.check("config.prompts.LE.writer")  # it lists no models
  conversation = model.open()
  schema = {"type": "object"}
  requests = [
    chat("Write.", f"About crane {i}.", decoding=Decoding(50), seed=i, schema=schema) for i in range(9)
  ]
  requests.append(chat("Write.", "Something flaky."))
  for request in requests:
    conversation.ask(request)
  found = {}
  while len(found) < len(requests):
    found |= {id(request): answer for request, answer in conversation.answers(Stop())}
  answers = [found[id(request)] for request in requests]
  assert answers[-1].text == "a crane at last"
  assert all(a.text.startswith("[mock response for crane-1, fingerprint ") for a in answers[:-1])
  assert len({a.text for a in answers}) == 10  # each of another question
  assert all(a.prompt_tokens > 2 and a.answer_tokens > 2 and a.ended for a in answers)
  conversation.ask(chat("The forbidden."))
  with pytest.raises(UserError, match="400 Bad Request: not this; it refuses what it is asked"):
    list(conversation.answers(Stop()))
  conversation.close()
