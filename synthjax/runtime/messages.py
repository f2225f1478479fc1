"""Short texts between joined processes, by the service through which they joined: no collective, nothing on a device."""

from __future__ import annotations

import itertools

from jax._src import distributed  # jax shows its service nowhere else; orbax goes the same way

from synthjax.runtime.errors import of_library

_numbers = itertools.count()  # of exchanges: all processes make the same ones, in one order


class Exchange:
  """Texts by name; whoever asks for one waits for it."""

  def __init__(self, seconds: float):
    self._milliseconds, self._prefix = int(seconds * 1000), f"synthjax/{next(_numbers)}"
    assert distributed.global_state.client, "only joined processes exchange messages"
    self._client = distributed.global_state.client

  def tell(self, name: str, text: str) -> None:
    self._client.key_value_set(f"{self._prefix}/{name}", text)

  def ask(self, name: str) -> str:
    with of_library(lambda why: f"joined processes: no word of {name} ({why}); run the same command again"):
      return self._client.blocking_key_value_get(f"{self._prefix}/{name}", self._milliseconds)
