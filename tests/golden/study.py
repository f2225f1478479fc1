"""A study of every kind of product, as small as they get: what tests/golden/workdir.tar.xz was made by.

`tune` has prompt lists, drawn sets, filters and tuned classifiers; `learn` networks, imported sets and
learners. Without an argument both are a matrix. Paths are relative to the folder that the archive is unpacked
to, so that none enters a record.
"""

from synthjax.config import (
  BY_SHOTS,
  arm,
  encoder,
  image_filter,
  image_set,
  imported_set,
  learner,
  matrix,
  network,
  photograph_copies,
  prompt_list,
  real_images,
  study_config,
)


def get_config(arg: str = ""):
  studies = {"tune": _tune, "learn": _learn}
  return studies[arg]() if arg else matrix({name: make() for name, make in studies.items()})


def _common(name: str):
  config = study_config(labels="digits")
  config.study, config.seeds = f"golden:{name}", 2
  config.tests.digits = "folder:pictures/test"
  config.real.few = real_images("embedded:digits:first", shots=2)
  config.sampling.update(
    generator="embedded:generator", images_per_class=2, steps=2, images_per_shard=16, per_device_batch=8
  )
  config.tuning.update(batch=16, epochs=1)
  config.runtime.heartbeat_seconds = 1.0
  return config


def _tune():
  config = _common("tune")
  config.prompts.B = prompt_list("B")
  config.prompts.LE = prompt_list("LE", draws=6, per_class=4)
  config.prompts.templates = prompt_list("templates")
  config.prompts.written = prompt_list("file", file="pictures/prompts.tsv")
  config.sets.B = image_set("B")
  config.sets.LE = image_set("LE", images_per_class=3)
  config.sets.RG = image_set("B", parents="real:few", strength=BY_SHOTS, steps=4)
  config.sets.half = image_set("templates", parents="embedded:digits:first", strength=0.5, images_per_class=1)
  config.sets.plain = image_set(
    "written", sampler="dpmpp_2m", guidance=1.0, stored_size=16, seed=1, images_per_class=1
  )

  config.encoders.clip = encoder("embedded:clip")
  config.encoders.resnet = encoder("embedded:clip-resnet", ensemble=True)
  config.encoders.small = encoder("thumbnail")
  config.filters.CF = image_filter("clip", kept_per_class=3, max_drawn=2.5, write=True)
  config.filters.fewer = image_filter(
    "clip", encoder="resnet", kept_per_class=2, when_short="fewer", max_rounds=0
  )
  config.filters.RF = image_filter("real", against="few", metric="euclidean", margin=0.01)
  config.filters.copies = photograph_copies(encoder="small", second_encoder="clip", second_threshold=0.99)
  config.filters.leaks = image_filter("unlike", encoder="clip", against="digits", threshold=0.97)

  config.real.validation = real_images("embedded:digits:first", shots=1, draw=1000)
  config.arms["zero-shot"] = arm()
  config.arms["B+CE"] = arm("B", images_per_class=1)
  config.arms["LE+CF+SCE"] = arm("LE/CF", loss="SCE")
  config.arms["LE+fewer"] = arm("LE/fewer", method="CT w. Syn (B)", real="few")
  config.arms["LE+RF"] = arm("LE/RF", real="few", order="real-synthetic", steps=2)
  config.arms["LE+copies"] = arm("LE/copies")
  config.arms["B+leaks"] = arm("B/leaks")
  config.arms["RG"] = arm("RG", real="few", real_batch=8, method="CT w. Syn (RG)")
  config.arms["tip"] = arm(real="few", adapter="tip", validation="validation", views=2, search_step=(3, 2))
  config.arms["tower"] = arm("B", encoder="resnet", learns="0.5", batch_norm="unfrozen", steps=2)
  return config


def _learn():
  config = _common("learn")
  small = dict(batch=10, pictures=40, steps=2, warmup=1)
  config.networks.clip = network("contrast", styles="familiar", **small)
  config.networks.vae = network("autoencode", ema=0.9, **small)
  config.networks.generator = network(
    "denoise", autoencoder="vae", text_encoder="clip", begin_with="embedded:generator", **small
  )
  config.prompts.LE = prompt_list("LE", draws=4, per_class=2)
  config.prompts.letters = prompt_list("LE", draws=4, per_class=2, labels="letters")
  config.sets.LE = image_set("LE")
  config.sets.letters = image_set("letters", images_per_class=1)
  config.sets.own = image_set("LE", generator="network:generator", images_per_class=1)
  config.sets.theirs = imported_set("folder:pictures/theirs", stored_size=16, images_per_shard=16)

  config.encoders.clip = encoder("embedded:clip")
  config.encoders.small = encoder("thumbnail")
  config.filters.repeats = image_filter("unlike", encoder="small", threshold=0.99)

  config.arms["theirs+repeats"] = arm("theirs/repeats")

  config.learning.update(model="resnet-mini", size=16, batch=8, steps=2, rotate=10.0, mixup=1.0)
  config.learners.letters = learner("letters")
  config.learners.aware = learner(
    "theirs", real="few", init="learner:letters", freeze="stem", ema=0.9, probe="few", neighbours=5
  )
  config.learners.auxiliary = learner("LE", real="few", ratio=0.5, norm="auxiliary", evaluate_steps=1)
  config.learners.tested = learner("LE", real="few", ratio=0.5, norm="auxiliary", test_norm="auxiliary")
  config.learners.kept = learner("theirs/repeats", subset_tests="digits")
  config.learners.vit = learner("own", real="few", model="vit-mini")
  return config
