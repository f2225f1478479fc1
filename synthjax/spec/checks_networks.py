"""Networks of the small world that would fail late, or wait for themselves."""

from __future__ import annotations

from ml_collections import ConfigDict

from synthjax.runtime.errors import UserError, nearest
from synthjax.spec import config as fields_of
from synthjax.spec.checks import at_least, known


def check_network(where: str, own: ConfigDict, networks: ConfigDict) -> None:
  known(f"{where}: task", own.task, ("contrast", "autoencode", "denoise"))
  known(f"{where}: styles", own.styles, ("all", "familiar"))
  known(f"{where}: tower", own.tower, ("vit", "resnet"))
  for name, low in dict(pictures=1, batch=1, steps=1, warmup=0, weight_decay=0).items():
    at_least(f"{where}: {name}", own[name], low)
  if not own.learning_rate > 0:
    raise UserError(f"{where}: learning_rate is above 0, not {own.learning_rate}")
  if not 0 <= own.ema < 1:
    raise UserError(f"{where}: ema is from 0 to below 1, not {own.ema}")
  for field, task in dict(autoencoder="autoencode", text_encoder="contrast", begin_with="denoise").items():
    if own.task != "denoise" or (field != "autoencoder" and not own[field]):
      continue
    if own[field] == "embedded:generator":
      continue
    of_task = [name for name in networks if networks[name].task == task]
    if own[field] not in of_task:
      raise UserError(
        f"{where}: {field} {own[field]!r} is none of config.networks of task {task}{nearest(own[field], of_task)}"
      )
  _check_order(where.rpartition(".")[2], networks)


def _check_order(name: str, networks: ConfigDict) -> None:
  """A network that waits for itself, by whichever way, is never trained."""
  seen = {name}

  def follow(one: str, path: tuple[str, ...]) -> None:
    for field in fields_of.OF_NETWORKS:
      other = networks[one][field]
      if other == name:
        raise UserError(
          f"config.networks.{name}: it would be made from itself: {' <- '.join([*path, name])}; change {field} of "
          f"{one}"
        )
      if other in networks and other not in seen:
        seen.add(other)
        follow(other, (*path, other))

  follow(name, (name,))
