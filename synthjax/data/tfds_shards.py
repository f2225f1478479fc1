"""The shards of a TFDS split against its description, before an image is asked for.

TFDS believes `shardLengths`: a number too small leaves images out, and nothing shows it; one too large fails at the
image that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]  compiled, without stubs

from synthjax.disk import regular_files
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError


def check(what: str, info: Any, splits: Iterable[str]) -> None:
  """Every shard of these splits is opened, which reads the end of each."""
  claims = [
    (Path(file), int(length))
    for split in sorted(set(splits))
    for file, length in zip(info.splits[split].filepaths, info.splits[split].shard_lengths, strict=True)
  ]
  with ThreadPoolExecutor(devices.threads(), thread_name_prefix="shards") as pool:
    for (file, length), found in zip(claims, pool.map(lambda claim: _count(*claim), claims), strict=True):
      if found != length:
        state = f"holds {found} records" if isinstance(found, int) else found
        raise UserError(
          f"{what}: {file} {state}, and dataset_info.json says that it holds {length}; build or fetch the data set again"
        )


def _count(file: Path, claimed: int) -> int | str:
  """Of its records; or what is wrong with it. One without any has no file."""
  try:
    regular_files.check(file)
    reader = array_record_module.ArrayRecordReader(str(file), "readahead_buffer_size:0")
    return reader.num_records() if reader.ok() else "does not end as a shard ends"
  except FileNotFoundError:
    return "is missing" if claimed else 0
  except OSError as e:
    return f"cannot be read ({e.strerror})"
  except RuntimeError as e:
    return f"is damaged ({' '.join(str(e).split())[:120]})"
