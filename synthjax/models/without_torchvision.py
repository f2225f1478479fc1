"""Keeps diffusers and transformers from importing torchvision, which nothing here uses.

One that does not fit the torch beside it fails while it is imported, and with it every class of the two libraries.
"""

from __future__ import annotations

import os


def hide_torchvision() -> None:
  """Before the first class of theirs is imported; they ask these flags."""
  os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")  # read once, when it is first imported
  import diffusers.utils.import_utils
  import transformers.utils.import_utils

  diffusers.utils.import_utils._torchvision_available = False
  transformers.utils.import_utils._torchvision_available = False
