"""Every field a study has, its default, and what happens when it changes.

A field is of one kind:
  identity  another value is another product; under an existing name it is refused, with both values;
  growth    may grow, and only what is missing is made;
  runtime   how, where and how fast; recorded, never refused.

What a value may be is in `validation.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

IDENTITY, GROWTH, RUNTIME = "identity", "growth", "runtime"


@dataclasses.dataclass(frozen=True)
class Field:
  kind: str
  default: Any
  young: bool = False  # products are older than it: it counts in their identity once it says something


def identity(default: Any, young: bool = False) -> Field:
  return Field(IDENTITY, default, young)


def growth(default: Any) -> Field:
  return Field(GROWTH, default)


def runtime(default: Any) -> Field:
  return Field(RUNTIME, default)


# A prompt list: what one strategy asks for.
PROMPTS = {
  "strategy": identity("B"),  # B, templates, LE or file
  "template": identity(""),  # with {} for the class name; "" = the label space's own
  "file": identity(""),  # for strategy file: .jsonl, .tsv or .txt with class id, prompt, repeat count
  "writer": identity("grammar"),  # for LE: who writes the sentences; the grammar, of digits and letters alone
  "draws": identity(250),  # for LE: sentences drawn a class, before exact repeats are dropped
  "per_class": identity(200),  # for LE: sentences kept a class
  "seed": identity(0),  # for LE
  "labels": identity(
    ""
  ),  # what it asks for; "" = the study's. Learners may begin with what is learnt from others
}

# Real images to learn from, or a part of them. What is tested on is config.tests.
REAL = {
  "source": identity(""),  # where they lie, like config.tests: embedded:digits:first, folder:PATH
  "shots": identity(0),  # so many of each class; 0 = not limited
  "fraction": identity(1.0),  # of each class
  "imbalance": identity(1.0),  # a long tail: the first class keeps so many times the images of the last
  "draw": identity(0),  # which images: the same on every machine, and a larger draw holds the smaller
}

ORDERS = (MIX, REAL_FIRST, SYNTHETIC_FIRST) = ("mix", "real-synthetic", "synthetic-real")
METRICS = (COSINE, EUCLIDEAN) = ("cosine", "euclidean")
BY_SHOTS = -1.0  # a strength: the less the more real images there are a class, by the table of He et al.
SAMPLERS = ("ddim", "dpmpp_2m", "euler", "euler_ancestral", "lcm")
# Drawing an image set. `config.sets.NAME` may override any of these for one set.
SAMPLING = {
  "generator": identity(""),  # a folder, org/name[@revision] of the hub, network:NAME, or random:ARCHITECTURE
  "images_per_class": growth(100),
  "sampler": identity(
    "ddim"
  ),  # ddim, dpmpp_2m (20 to 25 steps), euler, euler_ancestral, lcm (4, distilled models)
  "steps": identity(50),
  "guidance": identity(2.0),  # to 1: none; 7.5, the aesthetic default, narrows the images (Fan et al.)
  "negative_prompt": identity(""),  # what guidance leads away from
  "parents": identity(""),  # real images to begin as, like config.tests; or real:NAME of config.real
  "strength": identity(
    1.0
  ),  # how far a parent is noised: 0 = it is only decoded, 1 = parents are ignored, BY_SHOTS
  "eta": identity(0.0),  # DDIM: 0 = deterministic, 1 = as much fresh noise as the ancestral sampler
  "size": identity(0),  # pixels the generator draws at; 0 = its native size
  "stored_size": identity(0),  # pixels kept on disk; 0 = as drawn
  "jpeg_quality": identity(90),
  "mark": identity(True),  # an XMP packet in each JPEG: made by a trained model
  "dtype": identity("float32"),  # bfloat16 on accelerators
  "seed": identity(0),
  "cpu_group": identity(8),  # on CPUs, images computed at once: with it no byte depends on the batch size
  "long_prompts": identity("refuse"),  # a prompt longer than the text encoder takes: refuse, or cut
  "images_per_shard": identity(512),  # the unit of claiming and of loss at a kill
  "per_device_batch": runtime(16),
  "decode_batch": runtime(0),  # pictures decoded at once; 0 = by their size: 16 of 512 px, 4 of 1024
  "preview": runtime(0),  # > 0: only the first n images a class, and their contact sheet
}

# Bringing images of elsewhere in as an image set: another generator's, a retrieval's, an export's.
IMPORT = {
  "source": identity(
    ""
  ),  # labelled images, like config.tests: folder:PATH, webdataset:PATH, synthjax:PATH, ...
  "images_per_class": growth(0),  # the first so many, in the order of the source; 0 = all
  "stored_size": identity(
    0
  ),  # larger images are made smaller, to a short side of so many pixels; 0 = as they are
  "jpeg_quality": identity(
    90
  ),  # of images that must be encoded: JPEGs are copied as stored where that can be
  "images_per_shard": identity(512),
}

EXPORT_FORMATS = ("webdataset", "folder", "parquet")
# Exporting a set, or what a filter kept of it: `--stages export`.
EXPORT = {
  "images": runtime(""),  # SET or SET/FILTER
  "format": runtime("webdataset"),  # webdataset, folder or parquet
  "out": runtime(""),  # an absent or empty folder, or an older export; "" = exports/ in the workdir
  "licence": runtime(""),  # for the data card: the licence's name, as cc-by-4.0
  "images_per_shard": runtime(1000),  # of tars and Parquet files
}

# How this process works; nothing here changes a byte of a product.
RUNTIME_FIELDS = {
  "encode_threads": runtime(0),  # JPEG encoders; 0 = one a core, at most 8
  "heartbeat_seconds": runtime(5.0),
  "stale_seconds": runtime(60.0),  # a claim whose owner has not been heard of for so long is re-taken
  "grace_seconds": runtime(20.0),  # after SIGTERM: the shard in hand is finished if it fits in here
  "unreadable": runtime(0.01),  # share of a source's images that may be corrupt: they are named and left out
  "cpu_devices": runtime(
    0
  ),  # devices that a CPU is split into, each computing on its own; 0 = one a core, from 2 to 8
  "device_memory_gb": runtime(0.0),  # of each device, to be used; 0 = all that it says it has
  "compile_cache": runtime("~/.cache/synthjax/xla"),  # "" = off
  "save_seconds": runtime(300.0),  # between checkpoints of a training
  "fsdp": runtime(1),  # devices that large parameters of learners are split over; the others share the batch
  "profile_from": runtime(0),  # steps of a learner whose profile is written: from, to
  "profile_to": runtime(0),
  "log_seconds": runtime(30.0),  # a note in a log; on a terminal the line moves by itself
}

# Fields of a network that name others, which it is made from.
OF_NETWORKS = ("autoencoder", "text_encoder", "begin_with")
# Training one of the small world's own networks.
NETWORK = {
  "task": identity("contrast"),  # contrast (CLIP), autoencode, denoise (latent diffusion)
  "labels": identity(""),  # of the glyphs learnt; "" = the study's
  "tower": identity("vit", young=True),  # for contrast: the image tower, vit or resnet
  "styles": identity("all"),  # of the pictures learnt from; familiar = hardly any scans
  "pictures": identity(40_000),  # rendered once, before the first step
  "autoencoder": identity(""),  # for denoise: the network of this study whose latents are denoised
  "text_encoder": identity(""),  # for denoise: the network of this study whose text tower it begins with
  "begin_with": identity(""),  # for denoise: the network of this study whose UNet it begins with
  "batch": identity(128),
  "steps": growth(1000),
  "learning_rate": identity(1e-3),
  "warmup": identity(200),
  "weight_decay": identity(0.0),
  "ema": identity(0.0),  # decay of the averaged weights, which are then the result; 0 = off
  "seed": identity(0),
}

THUMBNAIL = "thumbnail"  # in the place of an encoder's weights: small pictures, by which filters find copies
# Who judges images: features, and the zero-shot classifier that filters and tuning start from.
ENCODER = {
  "weights": identity("embedded:clip"),  # a folder, org/name[@revision] of the hub, or thumbnail
  "ensemble": identity(
    False
  ),  # the classifier's prompts: False = the label space's one template, True = all of them
  "dtype": identity("float32"),
  "per_device_batch": runtime(64),
}

# clip    CF (He et al.): image x of class c stays when softmax_k(scale * cos(f(x), h(k)))[c] exceeds the threshold.
# real    RF (He et al.): an image stays when the nearest of the real images `against` is of its own class, by the margin.
# unlike  an image stays when no image of `against`, or no earlier one of its set, is as similar as the threshold.
#         At 0.95 thumbnails find no mirrored, hardly any cropped or rotated copies of photographs: photograph_copies().
FILTER = {
  "rule": identity("clip"),
  "encoder": identity("clip"),  # of config.encoders; it need not be the one that is tuned
  "threshold": identity(0.0),  # 0 = for clip 1/N for N classes, for unlike 0.95
  "against": identity(""),  # for unlike: of config.tests; "" = the set itself. For real: of config.real
  "mirrored": identity(False, young=True),  # for unlike, by thumbnails: mirror images are repeats too
  "second_encoder": identity("", young=True),  # for unlike: what either of the two finds is a repeat
  "second_threshold": identity(0.0, young=True),  # of its similarity; 0 = 0.95
  "metric": identity("cosine", young=True),  # for real, of features: cosine or euclidean
  "margin": identity(
    0.0, young=True
  ),  # for real: how much nearer the own class must be; 0 = a tie stays, above 0 is stricter
  "kept_per_class": growth(0),  # the quota: the first n kept, in plan order; 0 = all that pass
  "when_short": identity(
    "top"
  ),  # of a class that misses the quota: top = the best-scored of the rest (not by unlike), fewer = leave it
  "max_rounds": growth(3),  # of drawing more for the classes that fall short; 0 = never
  "max_drawn": growth(4.0),  # ... up to so many times the quota
  "write": runtime(False),  # also as a data set of its own, `keep/<set>/<filter>-<encoder>/dataset`
}

# Classifier tuning (He et al., C.4): a linear head on frozen, normalised features, begun as the zero-shot classifier.
TUNING = {
  "encoder": identity("clip"),
  "loss": identity("CE"),  # CE, or SCE: the mean of it and the soft targets of the zero-shot classifier
  "images_per_class": identity(
    0
  ),  # the first n a class (of the kept ones, with a filter); 0 = all that were asked for
  "learning_rate": identity(2e-3),
  "weight_decay": identity(0.1),
  "epochs": identity(30),
  "batch": identity(512),
  "clip_norm": identity(1.0),
  "temperature": identity(2.0),  # of the teacher; the student is not tempered
  "real": identity("", young=True),  # of config.real: learnt from too, or alone, always by CE
  "order": identity("mix", young=True),  # with both: mix, or a phase on each: real-synthetic, synthetic-real
  "real_batch": identity(32, young=True),  # beside `batch` synthetic ones
  "real_weight": identity(1.0, young=True),  # of the real images' loss in a mix
  "steps": identity(
    0, young=True
  ),  # in the place of epochs, of each phase; an epoch is a pass over the synthetic images
  "adapter": identity("", young=True),  # tip: Tip-Adapter-F on the real images
  "validation": identity(
    "", young=True
  ),  # of config.real: what an adapter's ratio and sharpness are chosen on
  # Of adapter tip, under the published code's names. Its configs differ by data set: configs/few_shot.py.
  "init_alpha": identity(1.0, young=True),  # the memory's weight while its keys learn
  "init_beta": identity(1.0, young=True),  # its sharpness likewise
  "search_scale": identity((7.0, 3.0), young=True),  # largest beta and alpha tried on the validation images
  "search_step": identity((200, 20), young=True),  # how many of each are tried
  "views": identity(0, young=True),  # random views that a key begins as the mean of; 0 = one plain view
  "epsilon": identity(1e-8, young=True),  # of AdamW, in every arm
  "batch_norm": identity("frozen", young=True),  # unfrozen: through the images, statistics follow
  "learns": identity(
    "", young=True
  ),  # of the encoder: a pattern of its paths, or a share of its parameters, from the output back
  "method": runtime(""),  # what the page calls it beside other shots and draws; "" = a line of its own
}

# Learning a network's own weights from real images, synthetic ones, or both in every batch.
LEARNING = {
  "task": identity("classify"),
  "model": identity(
    "resnet18-cifar"
  ),  # resnet18, 50, 101, each also -cifar; vit-ti16, -s, -b, -l; resnet-mini, vit-mini
  "size": identity(32),  # pixels a side
  "stored_size": identity(0),  # pixels a side that crops are cut from; 0 = size
  "real": identity(""),  # of config.real; seed s learns from draw + s of it
  "images_per_class": identity(0),  # of the set: the first n a class; 0 = all that were asked for
  "ratio": identity(0.0),  # of the set: so many times the real images; 0 = images_per_class says it
  "share": identity(0.5),  # of each batch that is synthetic, where there are both
  "norm": identity("shared"),  # auxiliary: synthetic images have norms of their own (Yu et al.)
  "test_norm": identity("main"),  # whose statistics and parameters the test uses: main or auxiliary
  "init": identity(
    ""
  ),  # "" = random, learner:NAME, or folder:PATH of safetensors (timm's or transformers' names)
  "steps": identity(0),  # how long: steps, or
  "epochs": identity(0.0),  # passes over the larger of the two parts, or
  "examples": identity(0),
  "batch": identity(128),
  "optimizer": identity("adamw"),  # or sgd
  "learning_rate": identity(1e-3),
  "momentum": identity(0.9),
  "nesterov": identity(False),
  "weight_decay": identity(0.05),
  "decay_all": identity(False),  # norms, biases and a ViT's positions and class token too
  "schedule": identity("cosine"),  # step, wsd, constant
  "warmup": identity(0.0),  # share of the steps
  "drops": identity(()),  # of schedule step: shares of the steps
  "drop_factor": identity(0.1),
  "cooldown": identity(0.2),  # of schedule wsd
  "clip_norm": identity(1.0),
  "accumulate": identity(1),
  "freeze": identity(""),  # a pattern of parameters that stay
  "ema": identity(0.0),
  "smoothing": identity(0.0),
  "drop_path": identity(0.0),
  "crop": identity(1.0),  # random resized crop: least share of the area
  "flip": identity(False),
  "jitter": identity(0.0),
  "hue": identity(
    0.0, young=True
  ),  # share of the colour circle; MoCo v2: 0.1, beside jitter 0.4, grey 0.2, blur 0.5
  "grey": identity(0.0, young=True),  # probability
  "blur": identity(0.0, young=True),  # probability
  "randaugment": identity(0.0),  # magnitude; DeiT: 9
  "rotate": identity(0.0),  # degrees
  "shift": identity(0.0),  # share of the side
  "stretch": identity(0.0),  # log2
  "shear": identity(0.0),
  "elastic": identity(0.0),  # pixels
  "erasing": identity(0.0),
  "mixup": identity(0.0),
  "cutmix": identity(0.0),
  "dtype": identity("float32"),  # bfloat16: of products and convolutions
  # Other values of these two, and of test_norm, are measured on the same weights: nothing is learnt again.
  "probe": identity(""),  # of config.real: k-NN and a linear probe on these
  "neighbours": identity(20),  # of k-NN
  "subset_tests": identity(
    ""
  ),  # names, by commas: logits are restricted to the classes that these tests hold
  "remat": runtime(False),  # less memory, more time
  "evaluate_steps": runtime(
    0
  ),  # between evaluations on the tests while training goes on; 0 = only at the end
  "keep_steps": runtime(0),  # checkpoints of every n-th step stay
  "ahead": runtime(2),  # batches that are read ahead
  "per_device_batch": runtime(256),  # of evaluations
}

# Using a tuned classifier: `--stages predict`.
PREDICT = {
  "images": runtime(""),  # folder:PATH
  "arm": runtime(""),  # an arm or a learner; "" = the last arm, or the last learner where there are no arms
  "seed": runtime(0),
  "output": runtime(""),  # "" = predictions.csv in the workdir
}

REPORT = {
  "refresh_seconds": runtime(
    20
  ),  # between two versions of the page while the study runs; 0 = only at the end
  "images": runtime(12),  # of each class and set
}

# Measuring instead of making: with rounds > 0 a study is its benchmark, and nothing is drawn that stays.
BENCHMARK = {
  "rounds": runtime(0),  # each measures everything once, in turn
  "seconds": runtime(
    2.0
  ),  # about, of each measurement: one batch at least, two where the host works beside it
  "torch": runtime(True),  # PyTorch is timed beside, where it is installed
}
# What is measured: `config.benchmark.sampling.NAME`, `config.benchmark.encoding.NAME`, `config.benchmark.training.NAME`.
SAMPLING_CASE = {
  "generator": runtime("random:tiny"),  # as config.sampling.generator; random weights are made on the devices
  "size": runtime(0),  # pixels; 0 = the generator's native size
  "steps": runtime(50),
  "guided": runtime(True),  # two forwards a step
  "dtype": runtime("float32"),
  "per_device_batch": runtime(8),
}
ENCODING_CASE = {
  "weights": runtime("random:clip-b16"),  # as config.encoders.NAME.weights, or random:ARCHITECTURE
  "dtype": runtime("float32"),
  "per_device_batch": runtime(64),  # on CPUs 32 at once, whatever is asked for
}
TRAINING_CASE = {
  "model": runtime("resnet50"),  # as config.learners.NAME.model
  "size": runtime(224),  # pixels a side
  "stored_size": runtime(256),  # pixels a side that crops are cut from; 0 = size
  "classes": runtime(1000),
  "norm": runtime("shared"),  # auxiliary: half the batch is of the other domain
  "remat": runtime(False),
  "dtype": runtime("float32"),
  "per_device_batch": runtime(64),
}


def identity_of(fields: dict[str, Field], values: Mapping[str, Any]) -> dict[str, Any]:
  """The values that decide what a product is."""
  told = {name: values[name] for name in of_kind(fields, IDENTITY)}
  return {k: v for k, v in told.items() if not fields[k].young or v != fields[k].default}


def of_kind(fields: dict[str, Field], kind: str) -> tuple[str, ...]:
  return tuple(name for name, field in fields.items() if field.kind == kind)
