"""The learning rate at a step, computed within a program from numbers that are its arguments.

So runs whose rate, kind of schedule or number of steps differ share what is compiled. The numbers are made on the host: a
compiler that knew them as constants would multiply by their reciprocals, as is done here, and so gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

SCHEDULES = ("cosine", "step", "wsd", "constant")
_DROPS = 4  # places for drops come in so many: runs with fewer share a program
_NEVER = 2**31 - 1  # a step


@struct.dataclass
class Schedule:
  """`schedule(step)` is the rate. Linear warm-up from 0, then as its kind says; cosine and wsd reach 0 after the last step."""

  rate: float
  kind: int  # a place in SCHEDULES
  warmup: int  # steps
  warmup_share: float  # 1 / warmup
  rest: float  # of cosine: steps after the warm-up
  angle: float  # pi / rest
  drops: np.ndarray  # of step: steps after the warm-up at which the rate falls, in order
  drop_factor: float
  falls_at: int  # of wsd: steps after the warm-up
  falling: int
  falling_share: float  # 1 / falling

  def __call__(self, count: jax.typing.ArrayLike) -> jax.Array:
    step = jnp.asarray(count)
    after = step - self.warmup
    warming = (0.0 - self.rate) * (1 - jnp.clip(step, 0, self.warmup) * self.warmup_share) + self.rate
    cosine = self.rate * (0.5 * (1 + jnp.cos(jnp.minimum(after.astype(jnp.float32), self.rest) * self.angle)))
    fallen = jnp.clip(after - self.falls_at, 0, self.falling) * self.falling_share
    dropped = jnp.asarray(self.rate, jnp.float32)
    for i in range(len(self.drops)):
      dropped = jnp.where(after < self.drops[i], dropped, self.drop_factor * dropped)
    kinds = [cosine, dropped, self.rate * (1 - fallen), jnp.asarray(self.rate, jnp.float32)]
    return jnp.where(
      step < self.warmup, warming, jnp.select([self.kind == i for i in range(len(kinds))], kinds)
    )


def schedule_of(
  kind: str,
  rate: float,
  steps: int,
  warmup: int,
  *,
  drops: Sequence[float],
  drop_factor: float,
  cooldown: float,
) -> Schedule:
  """`drops` and `cooldown` are shares of all steps."""
  falls = sorted({max(round(share * steps) - warmup, 0) for share in drops})
  places = -(-max(len(falls), 1) // _DROPS) * _DROPS
  rest, falling = max(steps - warmup, 1), max(round(cooldown * steps), 1)
  return Schedule(
    rate=rate,
    kind=SCHEDULES.index(kind),
    warmup=warmup,
    warmup_share=_reciprocal(max(warmup, 1)),
    rest=float(rest),
    angle=float(np.float32(np.pi) * np.float32(_reciprocal(rest))),
    drops=np.array(falls + [_NEVER] * (places - len(falls)), np.int32),
    drop_factor=drop_factor,
    falls_at=max(rest - falling, 0),
    falling=falling,
    falling_share=_reciprocal(falling),
  )


def _reciprocal(n: int) -> float:
  """In 32 bits, as the compiler has it of a constant."""
  return float(np.float32(1) / np.float32(n))
