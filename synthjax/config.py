"""What a config file is written with: `get_config(arg="")` starts from `study_config()` and names what differs."""

from synthjax.runtime.errors import UserError
from synthjax.spec.config import (
  arm,
  encoder,
  encoding_case,
  grid,
  image_filter,
  image_set,
  imported_set,
  learner,
  log,
  matrix,
  network,
  photograph_copies,
  prompt_list,
  real_images,
  sampling_case,
  set_metrics,
  study_config,
  sweep,
  training_case,
)
from synthjax.spec.fields import BY_SHOTS

__all__ = [
  "BY_SHOTS",
  "UserError",
  "arm",
  "encoder",
  "encoding_case",
  "grid",
  "image_filter",
  "image_set",
  "imported_set",
  "learner",
  "log",
  "matrix",
  "network",
  "photograph_copies",
  "prompt_list",
  "real_images",
  "sampling_case",
  "set_metrics",
  "study_config",
  "sweep",
  "training_case",
]
