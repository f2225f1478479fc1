"""Keeps diffusers and transformers from importing torchvision, which nothing here uses.

One that does not fit the torch beside it fails while it is imported, and with it every class of the two libraries.
"""

from __future__ import annotations


def hide_torchvision() -> None:
  """Before the first class of theirs is imported; they ask these flags."""
  import diffusers.utils.import_utils
  import transformers.utils.import_utils

  diffusers.utils.import_utils._torchvision_available = False
  transformers.utils.import_utils._torchvision_available = False
