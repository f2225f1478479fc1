"""Every field a study has: its type and bounds, its default, and what happens when it changes (see `group.py`).

What a field may be beside others is in `validation.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from synthjax.spec.group import (
  AboveToAtMost,
  AboveZero,
  Amount,
  AtLeast,
  Count,
  Dtype,
  FromToBelow,
  Group,
  Growth,
  Identity,
  IdentityUnlessDefault,
  Positive,
  Quality,
  Renamed,
  Runtime,
  Share,
)

Sampler = Literal["ddim", "dpmpp_2m", "euler", "euler_ancestral", "lcm"]
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)
Order = Literal["mix", "real-synthetic", "synthetic-real"]
ORDERS: tuple[Order, ...] = get_args(Order)
MIX, REAL_FIRST, SYNTHETIC_FIRST = ORDERS
Metric = Literal["cosine", "euclidean"]
METRICS: tuple[Metric, ...] = get_args(Metric)
COSINE, EUCLIDEAN = METRICS
Norm = Literal["shared", "auxiliary"]
NetworkTask = Literal["contrast", "autoencode", "denoise"]
AtLeastOne = Annotated[float, AtLeast(1)]
BelowOne = Annotated[float, FromToBelow(0, 1)]


# A prompt list: what one strategy asks for.
class Prompts(Group):
  # B, templates, file, LE, gloss, hypernyms, captions, LAR, CD, SD or mix.
  strategy: Identity[str] = "B"
  template: Identity[str] = ""  # with {} for the class name; "" = the label space's own
  file: Identity[str] = (
    ""  # for file: .jsonl, .tsv, .txt of class id, prompt, count; for captions: .jsonl, .parquet
  )
  # For LE, CD, SD and LAR: t5:REFERENCE, lm:REFERENCE, server:URL, recorded:LIST; for LE also words, grammar, or one that a
  # config file registers. "" = for LE: grammar where all classes are digits and letters, else words.
  writer: Identity[str] = ""
  draws: Identity[Positive] = 250  # for LE: sentences drawn a class, before exact repeats are dropped
  per_class: Identity[Positive] = 200  # prompts kept a class
  seed: Identity[int] = 0
  labels: Identity[str] = ""  # label space of its prompts, to pre-train on other classes; "" = the study's
  hypernyms: IdentityUnlessDefault[Count] = 0  # for hypernyms: the nearest so many; 0 = all, up to `entity`
  model: IdentityUnlessDefault[str] = ""  # for server: its name of the model
  t5_input: IdentityUnlessDefault[str] = (
    "{}"  # for LE by a T5: what it is given; EuroSAT as published: "a {}"
  )
  temperature: IdentityUnlessDefault[Amount] = 1.0  # of answers; 0 = the likeliest
  top_k: IdentityUnlessDefault[Count] = 50  # for t5: and lm:, not for servers; 0 = off
  top_p: IdentityUnlessDefault[Annotated[float, AboveToAtMost(0, 1)]] = 1.0
  max_tokens: IdentityUnlessDefault[Count] = 0  # of an answer; 0 = 19 for LE by a T5, 1024 otherwise
  dtype: IdentityUnlessDefault[Dtype] = "float32"  # of t5: and lm:
  reasks: IdentityUnlessDefault[Count] = 3  # times that a model is asked again after an answer of no use
  when_missing: IdentityUnlessDefault[Literal["refuse", "basic"]] = "refuse"  # of a class that got no prompt
  described_by: IdentityUnlessDefault[str] = (
    ""  # of config.prompts: a list of LAR or gloss that says what is meant
  )
  per_request: IdentityUnlessDefault[Positive] = 10  # texts that a chat model is asked for at once
  items: IdentityUnlessDefault[Positive] = 20  # for CD: of each list, of objects, lights, camera angles
  styles: IdentityUnlessDefault[Positive] = 40  # for SD
  meanings: IdentityUnlessDefault[Positive] = 8  # for LAR: the most of a class name
  encoder: IdentityUnlessDefault[str] = "clip"  # for LAR: of config.encoders, which scores meanings
  real: IdentityUnlessDefault[str] = (
    ""  # of config.real: for LAR, to score meanings by; for captions, to be described
  )
  lists: IdentityUnlessDefault[str] = ""  # for mix: of config.prompts, by commas: a share of the last one's
  share: IdentityUnlessDefault[Share] = 0.3
  class_column: IdentityUnlessDefault[str] = "class"  # for captions: of its file, the class's id
  caption_column: IdentityUnlessDefault[str] = "caption"
  # What CD, SD and captions drop, beside exact repeats.
  names_class: IdentityUnlessDefault[bool] = True  # those without the class's name
  overlap: IdentityUnlessDefault[Annotated[float, AboveToAtMost(0, 1)]] = (
    0.8  # share of words that two have in common
  )
  fits: IdentityUnlessDefault[str] = ""  # of config.encoders: those longer than its text tower reads
  banned: IdentityUnlessDefault[str] = ""  # words, by commas: those that have one
  per_device_batch: Runtime[Positive] = 32  # of t5: and lm:


# Servers of language models: `writer="server:URL"`.
class Server(Group):
  max_concurrent: Runtime[Positive] = 32  # requests at once
  requests_per_minute: Runtime[Count] = 0  # 0 = as many as it answers
  tokens_per_minute: Runtime[Count] = 0  # asked and answered, likewise
  timeout_seconds: Runtime[AboveZero] = 120.0  # of one request
  retry_seconds: Runtime[Amount] = (
    600.0  # how long a server may fail (429, 5xx, no connection) before the run stops
  )
  key_variable: Runtime[str] = ""  # environment variable that holds the API key; "" = none is sent
  # on: the server holds answers to a JSON schema; off: they are checked here alone; auto: on until it refuses.
  json_schema: Runtime[Literal["auto", "on", "off"]] = "auto"
  price_asked: Runtime[Amount] = 0.0  # of a million tokens asked, for --plan; 0 = not shown
  price_answered: Runtime[Amount] = 0.0  # of a million tokens answered


# Real images to learn from, or a part of them. What is tested on is config.tests.
class Real(Group):
  source: Identity[str] = ""  # where they lie, like config.tests: embedded:digits:first, folder:PATH
  shots: Identity[Count] = 0  # so many of each class; 0 = not limited
  fraction: Identity[Annotated[float, AboveToAtMost(0, 1)]] = 1.0  # of each class
  imbalance: Identity[AtLeastOne] = 1.0  # a long tail: the first class keeps so many times the last one's
  draw: Identity[Count] = (
    0  # seed of the choice, the same on every machine; with one, more shots include fewer
  )


BY_SHOTS = -1.0  # a strength: the less the more real images there are a class, by the table of He et al.


# Sampling an image set. `config.sets.NAME` may override any of these for one set.
class Sampling(Group):
  generator: Identity[str] = ""  # a folder, the hub's org/name[@revision], network:NAME, random:ARCHITECTURE
  images_per_class: Growth[Positive] = 100
  sampler: Identity[Sampler] = "ddim"  # dpmpp_2m takes 20 to 25 steps; lcm 4, by distilled models
  steps: Identity[Positive] = 50
  guidance: Identity[Amount] = (
    2.0  # 1 or less: no guidance; 7.5, the aesthetic default, narrows the images (Fan et al.)
  )
  negative_prompt: Identity[str] = ""  # what guidance leads away from
  parents: Identity[str] = ""  # real images to start from, like config.tests; or real:NAME of config.real
  strength: Identity[float] = 1.0  # how far parents are noised: 0 = decoded only, 1 = ignored; or BY_SHOTS
  eta: Identity[Share] = 0.0  # DDIM: 0 = deterministic, 1 = as much fresh noise as the ancestral sampler
  size: Identity[Count] = 0  # pixels that the generator makes; 0 = its native size
  stored_size: Identity[Count] = 0  # pixels kept on disk; 0 = as generated
  jpeg_quality: Identity[Quality] = 90
  mark: Identity[bool] = True  # an XMP packet in each JPEG: made by a trained model
  dtype: Identity[Dtype] = "float32"  # bfloat16 on accelerators
  seed: Identity[int] = 0
  cpu_group: Identity[Positive] = 8  # on CPUs, images at once: so no byte depends on the batch size
  long_prompts: Identity[Literal["refuse", "cut"]] = "refuse"  # those longer than the text encoder takes
  images_per_shard: Identity[Positive] = 512  # the unit of claiming and of loss at a kill
  per_device_batch: Runtime[Positive] = 16
  decode_batch: Runtime[Count] = 0  # pictures decoded at once; 0 = by their size: 16 of 512 px, 4 of 1024
  preview: Runtime[Count] = 0  # > 0: only the first n images a class, and their contact sheet


# Bringing images of elsewhere in as an image set: another generator's, a retrieval's, an export's.
class Import(Group):
  source: Identity[str] = ""  # labelled images, like config.tests: folder:PATH, webdataset:PATH, ...
  images_per_class: Growth[Count] = 0  # the first so many, in the order of the source; 0 = all
  stored_size: Identity[Count] = 0  # larger images are made smaller, to this short side; 0 = as they are
  jpeg_quality: Identity[Quality] = 90  # of what must be encoded: JPEGs are copied where that can be
  images_per_shard: Identity[Positive] = 512


# Exporting a set, or what a filter kept of it: `--stages export`.
class Export(Group):
  images: Runtime[str] = ""  # SET or SET/FILTER
  format: Runtime[Literal["webdataset", "folder", "parquet"]] = "webdataset"  # webdataset, folder or parquet
  out: Runtime[str] = ""  # an absent or empty folder, or an older export; "" = exports/ in the workdir
  licence: Runtime[str] = ""  # for the data card: the licence's name, as cc-by-4.0
  images_per_shard: Runtime[Positive] = 1000  # of tars and Parquet files


# How this process works; nothing here changes a byte of a product.
class RuntimeFields(Group):
  encode_threads: Runtime[Count] = 0  # JPEG encoders; 0 = one a core, at most 8
  heartbeat_seconds: Runtime[Annotated[float, AtLeast(0.1)]] = 5.0
  stale_seconds: Runtime[float] = 60.0  # a claim whose owner has not been heard of for so long is re-taken
  grace_seconds: Runtime[Amount] = 20.0  # after SIGTERM: the shard in hand is finished if it fits in here
  unreadable: Runtime[float] = (
    0.01  # share of a source that may be unreadable; such images are named and skipped
  )
  cpu_devices: Runtime[Count] = 0  # that a CPU is split into; 0 = one a core, from 2 to 8
  device_memory_gb: Runtime[Amount] = 0.0  # of each device, to be used; 0 = all that it says it has
  compile_cache: Runtime[str] = "~/.cache/synthjax/xla"  # "" = off
  save_seconds: Runtime[Amount] = 300.0  # between checkpoints of a training
  fsdp: Runtime[Positive] = 1  # devices that a learner's parameters are split over; others share the batch
  profile_from: Runtime[int] = 0  # steps of a learner whose profile is written: from, to
  profile_to: Runtime[int] = 0
  log_seconds: Runtime[Amount] = 30.0  # a note in a log; on a terminal the line moves by itself


# Fields of a network that name others, which it is made from.
OF_NETWORKS = ("autoencoder", "text_encoder", "begin_with")


# Training one of the small world's own networks.
class Network(Group):
  task: Identity[NetworkTask] = "contrast"  # contrast (CLIP), autoencode, denoise (latent diffusion)
  labels: Identity[str] = ""  # of the glyphs learnt; "" = the study's
  tower: IdentityUnlessDefault[Literal["vit", "resnet"]] = "vit"  # for contrast: of images
  styles: Identity[Literal["all", "familiar"]] = "all"  # of the pictures; familiar = hardly any scans
  pictures: Identity[Positive] = 40_000  # rendered once, before the first step
  autoencoder: Identity[str] = ""  # for denoise: the network of this study whose latents are denoised
  text_encoder: Identity[str] = ""  # for denoise: the network of this study whose text tower it begins with
  begin_with: Identity[str] = ""  # for denoise: the network of this study whose UNet it begins with
  batch: Identity[Positive] = 128
  steps: Growth[Positive] = 1000
  learning_rate: Identity[AboveZero] = 1e-3
  warmup: Identity[Count] = 200
  weight_decay: Identity[Amount] = 0.0
  ema: Identity[BelowOne] = 0.0  # decay of the averaged weights, which are then the result; 0 = off
  seed: Identity[int] = 0


# Schemes of an encoder's weights that is no CLIP: networks of images alone, for metrics and for filters by likeness.
INCEPTION, DINOV2 = "inception", "dinov2"
THUMBNAIL = "thumbnail"  # in the place of an encoder's weights: small pictures, by which filters find copies


# An encoder of images: features, and the zero-shot classifier that filters and tuning start from.
class Encoder(Group):
  # A folder or org/name[@revision] of the hub: a CLIP's, or after inception: or dinov2: such a network's; or thumbnail.
  weights: Identity[str] = "embedded:clip"
  ensemble: Identity[bool] = False  # the classifier's prompts: all templates of the label space, or one
  dtype: Identity[Dtype] = "float32"
  # For inception: pixels to 299 by an antialiased bicubic, or as the first FID did, by a bilinear without antialiasing.
  resize: IdentityUnlessDefault[Literal["bicubic", "bilinear"]] = "bicubic"
  per_device_batch: Runtime[Positive] = 64


# clip    CF (He et al.): image x of class c stays when softmax_k(scale * cos(f(x), h(k)))[c] exceeds the threshold.
# real    RF (He et al.): an image stays when the nearest of the real images `against` is of its own class, by the margin.
# unlike  an image stays when no image of `against`, or no earlier one of its set, is as similar as the threshold.
#         At 0.95 thumbnails find no mirrored, hardly any cropped or rotated copies of photographs: photograph_copies().
class Filter(Group):
  rule: Identity[str] = "clip"  # clip, real, unlike, or one that a config file registers
  encoder: Identity[str] = "clip"  # of config.encoders; it need not be the one that is tuned
  threshold: Identity[float] = 0.0  # 0 = for clip 1/N for N classes, for unlike 0.95
  against: Identity[str] = ""  # for unlike: of config.tests; "" = the set itself. For real: of config.real
  mirrored: IdentityUnlessDefault[bool] = False  # for unlike, by thumbnails: mirror images are repeats too
  second_encoder: IdentityUnlessDefault[str] = ""  # for unlike: what either of the two finds is a repeat
  second_threshold: IdentityUnlessDefault[float] = 0.0  # of its similarity; 0 = 0.95
  metric: IdentityUnlessDefault[Metric] = "cosine"  # for real, of features
  margin: IdentityUnlessDefault[float] = 0.0  # for real: by how much the own class must be nearer
  kept_per_class: Growth[Count] = 0  # the quota: the first n kept, in plan order; 0 = all that pass
  # Of a class that misses the quota: top = the best-scored of the rest (not by unlike), fewer = leave it so.
  when_short: Identity[Literal["top", "fewer"]] = "top"
  max_rounds: Growth[Count] = 3  # of sampling more for the classes that fall short; 0 = never
  max_drawn: Growth[AtLeastOne] = 4.0  # ... up to so many times the quota
  write: Runtime[bool] = False  # also as a data set of its own, `keep/<set>/<filter>-<encoder>/dataset`


# Classifier tuning (He et al., C.4): a linear head on frozen, normalised features, begun as the zero-shot classifier.
class Tuning(Group):
  encoder: Identity[str] = "clip"
  loss: Identity[Literal["CE", "SCE"]] = "CE"  # SCE: CE and the zero-shot classifier's soft targets
  images_per_class: Identity[Count] = 0  # the first n a class, of those kept; 0 = all that were asked for
  learning_rate: Identity[AboveZero] = 2e-3
  weight_decay: Identity[Amount] = 0.1
  epochs: Identity[Positive] = 30
  batch: Identity[Positive] = 512
  clip_norm: Identity[Amount] = 1.0
  temperature: Identity[AboveZero] = 2.0  # of the teacher; the student is not tempered
  real: IdentityUnlessDefault[str] = ""  # of config.real: learnt from too, or alone, always by CE
  order: IdentityUnlessDefault[Order] = "mix"  # with both: in every batch, or a phase on each
  real_batch: IdentityUnlessDefault[Positive] = 32  # beside `batch` synthetic ones
  real_weight: IdentityUnlessDefault[Amount] = 1.0  # of the real images' loss in a mix
  steps: IdentityUnlessDefault[Count] = 0  # of each phase; 0 = epochs: passes over the synthetic images
  adapter: IdentityUnlessDefault[Literal["", "tip"]] = ""  # tip: Tip-Adapter-F on the real images
  validation: IdentityUnlessDefault[str] = ""  # of config.real: what ratio and sharpness are chosen on
  # Of adapter tip, under the published code's names. Its configs differ by data set: configs/few_shot.py.
  init_alpha: IdentityUnlessDefault[AboveZero] = 1.0  # the memory's weight while its keys learn
  init_beta: IdentityUnlessDefault[AboveZero] = 1.0  # its sharpness likewise
  # The largest beta and alpha that are tried on the validation images.
  search_scale: IdentityUnlessDefault[tuple[float, float]] = (7.0, 3.0)
  search_step: IdentityUnlessDefault[tuple[int, int]] = (200, 20)  # how many of each are tried
  views: IdentityUnlessDefault[Count] = 0  # random views that a key begins as the mean of; 0 = one plain view
  epsilon: IdentityUnlessDefault[AboveZero] = 1e-8  # of AdamW, in every arm
  # Unfrozen: learnt through the images, so that statistics follow.
  batch_norm: IdentityUnlessDefault[Literal["frozen", "unfrozen"]] = "frozen"
  # Of the encoder: a pattern of its paths, or a share of its parameters, from the output back.
  learns: IdentityUnlessDefault[str] = ""
  method: Runtime[str] = ""  # what the page calls it beside other shots and draws; "" = a line of its own


# Learning a network's own weights from real images, synthetic ones, or both in every batch: what every task has.
class Learning(Group):
  task: Identity[str] = "classify"  # classify, or one that a config file registers
  # resnet18, 50, 101, each also -cifar; vit-ti16, -s, -b, -l; resnet-mini, vit-mini.
  model: Identity[str] = "resnet18-cifar"
  size: Identity[Positive] = 32  # pixels a side
  stored_size: Identity[Count] = 0  # pixels a side that crops are cut from; 0 = size
  # scaled: JPEGs to learn from at an eighth, a quarter or half of their size where that suffices, resized by two taps.
  decode: IdentityUnlessDefault[Literal["full", "scaled"]] = "full"
  real: Identity[str] = ""  # of config.real; seed s learns from draw + s of it
  images_per_class: Identity[Count] = 0  # of the set: the first n a class; 0 = all that were asked for
  drawn_from: IdentityUnlessDefault[Count] = (
    0  # > 0: each seed draws its own images_per_class, or ratio, from the first so many
  )
  ratio: Identity[Amount] = 0.0  # of the set: so many times the real images; 0 = images_per_class says it
  share: Identity[Share] = 0.5  # of each batch that is synthetic, where there are both
  init: Identity[str] = ""  # random; learner:NAME; folder:PATH of safetensors, timm's or transformers' names
  steps: Identity[Count] = 0  # how long: steps, or
  epochs: Identity[Amount] = 0.0  # passes over the larger of the two parts, or
  examples: Identity[Count] = 0
  batch: Identity[Positive] = 128
  # Seeds that are trained at once, in one program; config.seeds is a multiple. One device may gain or lose time by it.
  side_by_side: IdentityUnlessDefault[Positive] = 1
  optimizer: Identity[Literal["adamw", "sgd"]] = "adamw"  # or sgd
  learning_rate: Identity[AboveZero] = 1e-3
  momentum: Identity[Share] = 0.9
  nesterov: Identity[bool] = False
  weight_decay: Identity[Amount] = 0.05
  decay_all: Identity[bool] = False  # norms, biases and a ViT's positions and class token too
  schedule: Identity[Literal["cosine", "step", "wsd", "constant"]] = "cosine"  # step, wsd, constant
  warmup: Identity[Share] = 0.0  # share of the steps
  drops: Identity[tuple[float, ...]] = ()  # of schedule step: shares of the steps
  drop_factor: Identity[float] = 0.1
  cooldown: Identity[Share] = 0.2  # of schedule wsd
  clip_norm: Identity[Amount] = 1.0
  accumulate: Identity[Positive] = 1
  freeze: Identity[str] = ""  # a pattern of parameters that stay
  ema: Identity[Share] = 0.0
  drop_path: Identity[Share] = 0.0
  crop: Identity[Share] = 1.0  # random resized crop: least share of the area
  flip: Identity[bool] = False
  jitter: Identity[Amount] = 0.0
  hue: IdentityUnlessDefault[Share] = 0.0  # of the circle; MoCo v2: 0.1, with jitter 0.4, grey 0.2, blur 0.5
  grey: IdentityUnlessDefault[Share] = 0.0  # probability
  blur: IdentityUnlessDefault[Share] = 0.0  # probability
  randaugment: Identity[Amount] = 0.0  # magnitude; DeiT: 9
  rotate: Identity[Amount] = 0.0  # degrees
  shift: Identity[Amount] = 0.0  # share of the side
  stretch: Identity[Amount] = 0.0  # log2
  shear: Identity[Amount] = 0.0
  elastic: Identity[Amount] = 0.0  # pixels
  erasing: Identity[Share] = 0.0
  dtype: Identity[Dtype] = "float32"  # bfloat16: of products and convolutions
  # Other values of these two, and of test_norm, are measured on the same weights: nothing is learnt again.
  probe: Identity[str] = ""  # of config.real: k-NN and a linear probe on these
  neighbours: Identity[Positive] = 20  # of k-NN
  remat: Runtime[bool] = False  # less memory, more time
  evaluate_steps: Runtime[Count] = 0  # between evaluations on the tests; 0 = only at the end
  keep_steps: Runtime[Count] = 0  # checkpoints of every n-th step stay
  prefetch: Annotated[Runtime[Count], Renamed("ahead")] = 2  # batches that are read ahead
  per_device_batch: Runtime[Positive] = 256  # of evaluations

  @property
  def test_domain(self) -> int:
    """Whose norms the test uses, of a network that keeps domains apart: a place in `learning.classify.DOMAINS`."""
    return 0

  def is_restricted(self, test: str) -> bool:
    """Whether a class that the test lacks is never the answer."""
    del test
    return False


# What task classify has beside.
class Classify(Learning):
  norm: Identity[Norm] = "shared"  # auxiliary: synthetic images have norms of their own (Yu et al.)
  test_norm: Identity[Literal["main", "auxiliary"]] = "main"  # whose statistics the test uses
  smoothing: Identity[Share] = 0.0
  mixup: Identity[Amount] = 0.0
  cutmix: Identity[Amount] = 0.0
  subset_tests: Identity[str] = ""  # names, by commas: logits are restricted to the classes these hold

  @property
  def test_domain(self) -> int:
    return int(self.test_norm == "auxiliary")

  def is_restricted(self, test: str) -> bool:
    return test in self.subset_tests.split(",")


# Using a tuned classifier: `--stages predict`.
class Predict(Group):
  images: Runtime[str] = ""  # folder:PATH
  arm: Runtime[str] = ""  # an arm or a learner; "" = the last arm, or learner where there are no arms
  seed: Runtime[int] = 0
  output: Runtime[str] = ""  # "" = predictions.csv in the workdir


class Report(Group):
  refresh_seconds: Runtime[Count] = 20  # between versions of the page while it runs; 0 = only at the end
  images: Runtime[Count] = 12  # of each class and set
