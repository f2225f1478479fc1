"""Sampling images, as a case of the benchmark."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from synthjax.benchmark.case import Theirs
from synthjax.benchmark.loop import Loop
from synthjax.generators import random_weights
from synthjax.generators.stable_diffusion import StableDiffusion
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.sampling.program import SamplingProgram, Setting
from synthjax.small_world import weights as embedded
from synthjax.spec.study import StudySpec


class SamplingCase:
  def __init__(self, config: StudySpec, name: str, loop: Loop):
    self.name, self._loop = name, loop
    self._fields = fields = config.benchmark.sampling[name]
    try:
      self._generator = StableDiffusion(self._folder(), fields.dtype)
      size = fields.size or self._generator.native_size
      group = min(fields.per_device_batch, config.sampling.cpu_group) if devices.platform() == "cpu" else 0
      self._setting = Setting(fields.steps, fields.guided, size, stored_size=size, group=group)
      self._generator.latent_shape(size)  # refuses the size
      self._setting.table(self._generator)  # refuses the steps
    except UserError as e:
      where = f"config.benchmark.sampling.{name}"
      message = str(e).replace("config.sampling.", f"{where}.")
      raise UserError(message if message.startswith(where) else f"{where}: {message}") from None
    self.dtype = self._generator.dtype
    self.facts = {
      "network": fields.generator,
      "size": size,
      "steps": fields.steps,
      "guided": self._setting.is_guided(self._generator),
      "per_device_batch": fields.per_device_batch,
    }

  def _folder(self) -> Path:
    """With random weights, of configs alone, and gone with this case."""
    scheme, _, architecture = self._fields.generator.partition(":")
    self._is_random = scheme == "random"
    if not self._is_random:
      return embedded.folder(self._fields.generator)
    passing = tempfile.mkdtemp(prefix="synthjax-")
    weakref.finalize(self, shutil.rmtree, passing, ignore_errors=True)
    random_weights.write_configs(architecture, Path(passing))
    return Path(passing)

  def flops(self) -> float:
    return self._setting.flops(self._generator)

  def mesh(self) -> Mesh:
    return devices.local_mesh()

  def load(self, mesh: Mesh) -> None:
    source = random_weights.params if self._is_random else StableDiffusion.load_params
    params = source(self._generator, mesh)
    self._program = SamplingProgram(
      self._generator, params, self._setting, mesh, self._fields.per_device_batch
    )
    self.batch_size = self._program.batch_size

  def compile(self) -> tuple[jax.stages.Compiled, Any]:
    return self._program.compiled, self._program.kernels

  def bare(self, n: int) -> float:
    return self._loop.bare(self._program, n)

  def whole(self, n: int) -> float:
    return self._loop.whole(self._program, n)

  def theirs(self) -> Theirs:
    from synthjax.benchmark import pytorch  # the only place that may import it

    return pytorch.Sampling(self._generator, self._setting, self._fields.per_device_batch)

  def release(self) -> None:
    vars(self).pop("_program", None)
