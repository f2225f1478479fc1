"""What a trained learner answers to pictures of a source."""

from __future__ import annotations

import jax
import numpy as np

from synthjax.data.pictures import Pictures
from synthjax.data.source import Source
from synthjax.evaluation.predictions import predicted
from synthjax.products.learner import Learner
from synthjax.runtime import devices, sharding
from synthjax.weights import image_networks


def by_learner(learner: Learner, source: Source) -> np.ndarray:
  """Classes [n] of all images, by its first seed; on this process's devices."""
  local = jax.local_devices() if devices.is_joined() else None
  mesh = sharding.training_mesh(learner.mesh_request["fsdp"], local)
  everywhere = devices.place(mesh, devices.REPLICATED)
  variables = image_networks.on_devices(learner.learnt_file(0), learner.name, everywhere)
  pictures, fields = Pictures(source, learner.fields.size), learner.fields
  logits = predicted(learner.task, variables, pictures, mesh=mesh, per_device_batch=fields.per_device_batch)
  return logits.argmax(axis=1)
