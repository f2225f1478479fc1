"""Diversify prompts instead of fine-tuning the generator (Yu et al.): may synthetic images outnumber the real ones?

    python -m synthjax.main --config configs/diversify.py --workdir runs/diversify

The names of seven of ten digits are ambiguous: the syllables do to ti stand for a digit and for a letter, and the study teaches a
generator both, each half the time. What is asked for differs by arm:
  naive          a photo of a do
  LAR            ... and which meaning of it the real images are most like; the model said another one first for four of the seven
  LAR+CD, +SD    ... in inks, on grounds, from angles (CD), or in styles (SD); or both
  named          a control: naive, with names that are not ambiguous
LAR, CD and SD replay answers that ship, in words that so small a text tower knows. A script gave them, no language model.

A small ResNet learns from 10 real digits a class and r times as many synthetic ones, at the same number of steps: balanced, half of
each batch is synthetic; pooled, r / (1 + r) of it; norms shared or auxiliary. `real` sees as many real images as a balanced arm does,
`real-whole-batch` as many images as all arms. Tests: the second half of the real digits, and rendered ones in three styles that
SD leaves out. `:all` has r from 1 to 6 in the place of 1 and 6, and pooled batches by auxiliary norms too; `:other-norms` tests with the auxiliary norms, on the same weights.

`:all`, 3 seeds, 2026-11-29, top-1 with shared norms, balanced, r = 1, 2, 3, 4, 5, 6; all of it is in docs/results.md:
  rendered styles   naive       19.8  24.5  27.5  30.9  36.3  34.9      real alone 11.8 +- 2.6
                    LAR         29.8  38.6  45.7  48.4  48.8  52.6
                    LAR+CD+SD   26.3  42.2  50.4  54.5  55.3  59.1
  real digits       naive       90.5  88.9  89.5  89.0  89.7  87.7      real alone 91.9 +- 1.2
                    LAR+CD+SD   88.9  89.5  89.6  89.9  89.8  89.3
Steps, size and rate were chosen after looking at both tests: with 200 steps of 32 at 16 pixels nothing was learnt of synthetic images.

`:imagenet` is the study at full size: ResNet-50, Stable Diffusion 1.5, Qwen3-8B on a server at localhost (or another writer,
--config.prompts.LAR.writer=... and so on); what the paper leaves open is ours. Not run; its --plan needs nothing of that.
"""

from synthjax.config import (
  UserError,
  encoder,
  image_set,
  learner,
  network,
  prompt_list,
  real_images,
  study_config,
  sweep,
)

RATIOS = (1, 2, 3, 4, 5, 6)
ARMS = {"naive": "naive", "LAR": "LAR", "LAR+CD": "CD", "LAR+SD": "SD", "LAR+CD+SD": "CD+SD"}
SHOTS = 10  # in the small world


def get_config(arg: str = ""):
  if arg == "imagenet":
    return _imagenet()
  asked = set(filter(None, arg.split(",")))
  if unknown := asked - {"all", "other-norms"}:
    raise UserError(f"configs/diversify.py knows :imagenet, :all and :other-norms, not :{min(unknown)}")
  config = (
    _small_world(RATIOS, ("shared", "auxiliary")) if "all" in asked else _small_world((1, 6), ("shared",))
  )
  if "other-norms" in asked:
    for own in config.learners.values():
      if own.norm == "auxiliary":
        own.test_norm = "auxiliary"
  return config


def _small_world(ratios, pooled):
  config, own, most = study_config(labels="solfege"), "embedded:generator", SHOTS * max(RATIOS)
  config.networks.solfege = network(
    "denoise",
    labels="solfege-glyphs",
    autoencoder=own,
    text_encoder=own,
    begin_with=own,
    pictures=13_600,
    batch=64,
    ema=0.99,
    steps=600,
    warmup=50,
  )
  config.encoders.clip = encoder("embedded:clip-resnet")
  config.real.few = real_images("embedded:digits:first", shots=SHOTS)
  config.tests.real = "embedded:digits:second"
  config.tests.styles = "embedded:glyphs:painted+stamped+engraved"

  # 30 styles; the prompts of so small a world have most of their words in common
  _prompts(config, "few", most, writer="recorded:embedded:solfege", items=12, styles=30, overlap=1.0)
  config.prompts.SD.per_class = 30
  config.prompts.named = prompt_list("B", labels="digits")
  config.sets.named = image_set("named")
  config.sampling.update(generator="network:solfege", images_per_class=most, steps=12, images_per_shard=128)

  config.learning.update(model="resnet-mini", size=8, real="few", batch=64, steps=300)
  config.learning.update(learning_rate=8e-3, warmup=0.1, rotate=10.0, shift=0.04, stretch=0.15, shear=0.15)
  _learners(config, ratios, ARMS, pooled=pooled)
  _learners(config, ratios, {"named": "named"}, norms=("shared",))
  return config


def _imagenet():
  config = study_config(labels="imagenet")
  config.encoders.clip = encoder("openai/clip-vit-base-patch16")
  config.real.train = real_images("tfds:imagenet2012:train")
  config.tests.val = "tfds:imagenet2012:validation"
  config.tests.v2 = "tfds:imagenet_v2/matched-frequency:test"
  config.tests.sketch = "tfds:imagenet_sketch:test"
  config.tests.r = "tfds:imagenet_r:test"
  config.tests.a = "tfds:imagenet_a:test"
  _prompts(config, "train", 200, writer="server:http://localhost:8000/v1", model="Qwen/Qwen3-8B", styles=40)
  config.sampling.update(
    generator="stable-diffusion-v1-5/stable-diffusion-v1-5",
    images_per_class=1_300 * max(RATIOS),
    stored_size=256,
    dtype="bfloat16",
  )
  config.learning.update(
    model="resnet50", size=224, stored_size=256, real="train", batch=1024, steps=112_500, dtype="bfloat16"
  )
  config.learning.update(optimizer="sgd", learning_rate=0.4, weight_decay=1e-4, warmup=0.05, clip_norm=0.0)
  config.learning.update(crop=0.08, flip=True, subset_tests="r,a")
  _learners(config, RATIOS, ARMS)
  return config


def _prompts(config, real, per_class, *, writer, **fields):
  """The arms' prompt lists, and a set of each."""
  asked = dict(writer=writer, per_class=per_class) | (
    {"model": fields.pop("model")} if "model" in fields else {}
  )
  config.prompts.naive = prompt_list("B")
  config.prompts.LAR = prompt_list("LAR", real=real, **asked)
  config.prompts.CD = prompt_list("CD", described_by="LAR", **asked | fields)
  config.prompts.SD = prompt_list("SD", described_by="LAR", **asked | fields)
  config.prompts["CD+SD"] = prompt_list("mix", lists="CD,SD", share=0.3, per_class=per_class)
  for name in ARMS.values():
    config.sets[name] = image_set(name)


def _learners(config, ratios, arms, norms=("shared", "auxiliary"), pooled=("shared", "auxiliary")):
  """Real images alone: as many in a batch as a balanced one has, and as many as all of it. With synthetic ones: pooled, the
  batch has both as the data have; balanced, half and half. At one to one these are the same."""
  batch = config.learning.batch
  config.learners["real"] = learner(batch=batch // 2)
  config.learners["real-whole-batch"] = learner()
  for f in sweep(ratio=ratios, arm=arms, norm=norms, batch=("balanced", "pooled")):
    r = f["ratio"]
    if f["batch"] == "pooled" and (r == 1 or f["norm"] not in pooled):
      continue
    share = 0.5 if f["batch"] == "balanced" else r / (1 + r)
    name = f"{f['arm']}-{f['norm']}-{f['batch']}-{r}x"
    config.learners[name] = learner(arms[f["arm"]], norm=f["norm"], ratio=float(r), share=share)
