"""Stage export, on request: a set, or what a filter kept of it, in a layout that others read, with a data card.

The JPEG bytes are copied as stored. A folder appears whole or not at all. The same request again finds nothing to do; where
the set has grown, the export is made again in its place; nobody else's folder is touched (`store/export_folder.py`).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from etils import epath

from synthjax.disk import faults, workdir
from synthjax.labels.spaces import LabelSpace
from synthjax.products.base import DONE
from synthjax.products.image_set import ImageSet
from synthjax.products.keep_list import KeepList
from synthjax.runtime import devices
from synthjax.runtime.errors import UserError
from synthjax.spec.references import ImagesRef
from synthjax.store import card, export_folder, image_folder, parquet, records, schema, tar
from synthjax.store.export import Examples
from synthjax.study.graph import Study

_WRITERS: dict[str, Callable[..., None]] = {
  "webdataset": tar.write,
  "folder": image_folder.write,
  "parquet": parquet.write,
}


def export(study: Study, root: epath.Path) -> epath.Path:
  """Writes `config.export.images` and returns the folder."""
  fields = study.spec.export
  if not fields.images:
    raise UserError("--stages export needs images: --config.export.images=SET or SET/FILTER")
  chosen = ImagesRef.parse(fields.images)
  name, rule = chosen.set, chosen.filter
  if study.spec.benchmark.rounds:
    raise UserError("config.benchmark.rounds: a benchmark has no images to export")
  labels, image_set = study.labels, study.get(ImageSet, name)
  keep = study.get(KeepList, name, rule) if rule else None
  for product in (image_set, keep):
    if product is not None and product.status().state != DONE:
      raise UserError(f"{product.name} is {product.status().state}; run the study first, then export it")
  out = export_folder.locate(fields.out, root, f"{fields.images.replace('/', '-')}-{fields.format}")
  export_folder.sweep(out)
  stays = list(keep.ids()) if keep else None
  plan, needed = image_set.requested()
  basis = {"images": fields.images, "format": fields.format, "licence": fields.licence}
  basis |= {"set": image_set.identity_hash(), "n": plan.size(needed) if stays is None else len(stays)}
  basis |= {"ids": records.digest(stays), "images_per_shard": fields.images_per_shard}
  if keep and (made := records.load(keep.folder)):
    basis["keep"] = made.hash
  if export_folder.is_made(out, basis):
    if export_folder.is_changed(out) and devices.is_main_process():
      print(f"note: files of {out} were added, changed or removed since it was exported", file=sys.stderr)
    return out
  if fields.format == "parquet":
    parquet.library()  # refused before anything is written
  draft = export_folder.begin(out, root)
  try:
    with faults.needing_room(out):
      _write(draft, basis, image_set, plan.size(needed), keep, stays, labels)
      export_folder.publish(draft, out, basis)
  finally:
    if draft.exists():
      draft.rmtree()
  return out


def _write(
  draft: epath.Path,
  basis: dict[str, Any],
  image_set: ImageSet,
  n: int,
  keep: KeepList | None,
  stays: Sequence[str] | None,
  labels: LabelSpace,
) -> None:
  counts: Counter[int] = Counter()
  texts: Counter[str] = Counter()

  def examples() -> Iterator[dict[str, Any]]:
    whole, wanted = Examples(image_set.folder), None if stays is None else set(stays)
    for i in range(n):
      example = schema.parse(whole[i])
      if wanted is None or example["image_id"] in wanted:
        counts[example["label"]] += 1
        texts[example["prompt"]] += 1
        yield example

  per_file = basis["images_per_shard"]
  _WRITERS[basis["format"]](Path(draft), examples(), labels, per_file, basis["n"])
  if sum(counts.values()) != basis["n"]:
    raise UserError(
      f"{image_set.name} holds {sum(counts.values())} of {basis['n']} images; --stages verify says why"
    )
  body = card.Card(
    title=basis["images"],
    licence=basis["licence"],
    format=basis["format"],
    files=-(-basis["n"] // per_file),
    classes=[(c, labels.names[k], counts[k]) for k, c in enumerate(labels.ids)],
    made=workdir.read_json(image_set.folder / "record.json", "record"),
    prompts=image_set.record_of_prompts(),
    texts=[text for text, _ in texts.most_common()],
    n_texts=len(texts),
    filter=workdir.read_json(keep.folder / "record.json", "record") if keep else None,
    kept=keep.summary() if keep else None,
  )
  (draft / "README.md").write_text(card.render(body))
