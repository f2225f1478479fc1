"""What one image of a set is on disk: JPEG bytes and where they came from, as a TFDS example.

No clock, host or duration stands in an example: the bytes of a shard must repeat.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.proto import tf_example_pb2

from synthjax.runtime.errors import UserError
from synthjax.store.plan import Image

# IPTC's term for "made by a trained model", as an XMP packet: it travels with the JPEG into every export.
_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
MARK = (
  '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
  '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
  '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
  f'Iptc4xmpExt:DigitalSourceType="{_SOURCE}"/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
).encode()


def features(class_ids: Sequence[str]) -> tfds.features.FeaturesDict:
  """ClassLabel's names are class *ids*: TFDS refuses repeated names, and display names may repeat."""
  text, scalar = tfds.features.Text, tfds.features.Scalar
  return tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
      "label": tfds.features.ClassLabel(names=list(class_ids)),
      "image_id": text(),
      "noise_id": text(),
      "prompt": text(),
      "prompt_id": text(),
      "sample_index": scalar(np.int32),
      "guidance": scalar(np.float32),
      "parent_id": text(),
      "strength": scalar(np.float32),
      "round": scalar(np.int32),
    }
  )


def encode_jpeg(pixels_HxWx3: np.ndarray, quality: int, mark: bool) -> bytes:
  buffer = io.BytesIO()
  extra = {"xmp": MARK} if mark else {}
  PIL.Image.fromarray(pixels_HxWx3).save(buffer, "JPEG", quality=quality, **extra)
  return buffer.getvalue()


def serializer(class_ids: Sequence[str]) -> Callable[[Image, bytes], bytes]:
  """`(image, its JPEG) -> example`, without TensorFlow."""
  writer = example_serializer.ExampleSerializer(
    features(class_ids).get_serialized_info()  # pyright: ignore[reportArgumentType]  TFDS has two names for this tree
  )

  def serialize(image: Image, jpeg: bytes) -> bytes:
    row = dataclasses.asdict(image)
    row = {k: v.encode() if isinstance(v, str) else v for k, v in row.items()}
    # An example is a protobuf map, whose order is free, and differs from process to process, unless asked for.
    return writer.get_tf_example(row | {"image": jpeg}).SerializeToString(deterministic=True)

  return serialize


_Example = tf_example_pb2.Example  # pyright: ignore[reportAttributeAccessIssue]  protobuf makes it when imported


def parse(example: bytes) -> dict[str, Any]:
  """An example as it was given to the serializer: texts as str, the image as its JPEG bytes.

  A tenth of the time of TFDS' own parser, which checks every field: what feeds a decoder must not wait for it.
  """
  found: dict[str, Any] = {}
  for name, feature in _Example.FromString(example).features.feature.items():
    kind = feature.WhichOneof("kind")
    value = getattr(feature, kind).value[0]
    found[name] = value.decode() if kind == "bytes_list" and name != "image" else value
  return found


def parse_image(example: bytes, image_id: str = "") -> bytes:
  """Its JPEG bytes alone, in a quarter of that time again; refused where they are another image than the one named."""
  found, jpeg = identified(example)
  if image_id and found != image_id:
    raise UserError(
      f"image {image_id} is not where it was: {found} is there instead; --stages verify says what to remove"
    )
  return jpeg


def identified(example: bytes) -> tuple[str, bytes]:
  """(image id, JPEG bytes), as quickly. A record that is no example has no id."""
  try:
    feature = _Example.FromString(example).features.feature
    return feature["image_id"].bytes_list.value[0].decode(), feature["image"].bytes_list.value[0]
  except (DecodeError, IndexError, UnicodeDecodeError):
    return "", b""
