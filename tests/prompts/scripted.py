"""A language model of tests: answers are made from the question, some of them of no use at first."""

import json
import re

from synthjax.prompts.requests import Answer

MEANINGS: dict[str, list[str]] = {}  # by class name


class Scripted:
  """`spoilt` of its answers, at most one a question, are no JSON. `asked` counts requests over all its conversations."""

  def __init__(self, spoilt: float = 0.0, dry: str = ""):
    self.identity, self.capacity = {"server": "scripted"}, 8
    self.asked: list = []
    self._spoilt, self._dry = spoilt, dry
    self._queue: list = []

  def check(self, where):
    del where

  def open(self):
    return self

  def ask(self, request):
    self.asked.append(request)
    self._queue.append(request)

  def answers(self, stop):
    stop.check()
    while self._queue:
      request = self._queue.pop(0)
      yield request, self._answer(request)

  def close(self):
    self._queue.clear()

  def _answer(self, request):
    text = request.text or request.messages[1].text
    if not request.messages:
      return Answer(f"a {text.removesuffix(' </s>')} number {request.seed % 40} on a table", 5, 9)
    again = len(request.messages) > 2
    if not again and request.seed % 100 < 100 * self._spoilt:
      return Answer("Sure! Here is <b>what you want</b>", 30, 8)
    name = next(iter(re.findall(r'contains the words "(.*?)"', text)), "")
    lines = re.findall(r"^\d+\. (.*)$", text, re.MULTILINE)
    body = {}
    for key in request.schema["properties"]:
      if key == "prompts":
        body[key] = ["" if name == self._dry else f"a {name} seen so: {line}" for line in lines]
      elif key == "sentences":
        body[key] = [f"a thing called {i} at {request.seed}" for i in range(10)]
      elif key == "caption":
        body[key] = [f"a picture of {len(request.images[0])} bytes"]
      elif key == "meanings":
        body[key] = MEANINGS.get(re.findall(r'The name "(.*?)"', text)[0], ["a thing"])
      else:
        body[key] = [f"{key} {i}" for i in range(12)]
    return Answer(f"```json\n{json.dumps(body)}\n```", 60, 200)
