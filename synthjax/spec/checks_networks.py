"""Networks of the small world that would fail late, or wait for themselves."""

from __future__ import annotations

from collections.abc import Mapping

from synthjax.runtime.errors import UserError, nearest
from synthjax.spec import fields
from synthjax.spec.study import StudySpec


def check_network(study: StudySpec, name: str) -> None:
  where, own, networks = f"config.networks.{name}", study.networks[name], study.networks
  for field, task in dict(autoencoder="autoencode", text_encoder="contrast", begin_with="denoise").items():
    if own.task != "denoise" or (field != "autoencoder" and not getattr(own, field)):
      continue
    if getattr(own, field) == "embedded:generator":
      continue
    of_task = [other for other in networks if networks[other].task == task]
    if getattr(own, field) not in of_task:
      raise UserError(
        f"{where}: {field} {getattr(own, field)!r} is none of config.networks of task {task}{nearest(getattr(own, field), of_task)}"
      )
  _check_order(name, networks)


def _check_order(name: str, networks: Mapping[str, fields.Network]) -> None:
  """A network that waits for itself, by whichever way, is never trained."""
  seen = {name}

  def follow(one: str, path: tuple[str, ...]) -> None:
    for field in fields.OF_NETWORKS:
      other = getattr(networks[one], field)
      if other == name:
        raise UserError(
          f"config.networks.{name}: it would be made from itself: {' <- '.join([*path, name])}; change {field} of "
          f"{one}"
        )
      if other in networks and other not in seen:
        seen.add(other)
        follow(other, (*path, other))

  follow(name, (name,))
