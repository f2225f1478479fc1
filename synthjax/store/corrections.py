"""Rules that were wrong and have been corrected: what an older release made under one is named, never mixed in silently.

A correction that changes ids, pixels, features or weights for the same config adds its name to the identity of the
products that it affects, and to no others: every product that it leaves alone keeps its hash and is found done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEY = "corrections"
# What is true since the correction, in the words that a user reads.
RULES: dict[str, str] = {
  "decay": "norms of two domains, and a ViT's pos_embed and cls_token, have no weight decay",
  "unguided": "guidance at or below 1 samples with the prompt alone, unguided",
  "clean_text": (
    "texts are cleaned as CLIP's own tokenizers clean them (typographic quotes, HTML entities, full-width letters, "
    "broken encodings), and a special token's name in a text is words"
  ),
  "scheduler_keys": "every key of the generator's scheduler_config.json that its sampler reads is followed, or refused",
  "trailing_steps": "timestep_spacing trailing takes as many steps as requested (for some numbers the first one was lost)",
}


def applied(**affected: bool) -> dict[str, list[str]]:
  """What the identity of a product gains: `identity | corrections.applied(clean_prompts=..., unguided=...)`."""
  assert not affected.keys() - RULES.keys(), f"unknown corrections: {affected.keys() - RULES.keys()}"
  names = sorted(name for name, affects in affected.items() if affects)
  return {KEY: names} if names else {}


def before(identity: Mapping[str, Any]) -> dict[str, Any]:
  """The identity that the same product had before any correction."""
  return {field: value for field, value in identity.items() if field != KEY}


def since(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
  """Which corrections separate a product on disk from the wanted one, in words; "" where none does."""
  new = [name for name in wanted.get(KEY, []) if name not in found.get(KEY, [])]
  return "; ".join(RULES[name] for name in new)
