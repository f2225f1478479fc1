"""CLIP on a data set, zero-shot and tuned on generated images, with no real one (He et al. 2023, Sec. 3.1, Table 1 and 2).

    python -m synthjax.main --config configs/zero_shot.py:cifar10 --workdir runs/zero_shot/cifar10

`:DATASET` is one of the paper's 17 (`_TESTS` below), or any other label space with a test of its own. Give more than one,
with commas between, to configs/zero_shot_matrix.py. What it expects where:
  weights      from the hub: the generator, RN50 and ViT-B/16 (5.3 GB in all), and the T5 that writes LE's sentences
               (1.2 GB). Or folders, as --config.sampling.generator=FOLDER, --config.encoders.RN50.weights=FOLDER
               and --config.prompts.LE.writer=t5:FOLDER
  test images  tfds' data sets below TFDS_DATA_DIR, built once with: tfds build NAME --file_format=array_record. The
               others below data/, as `_TESTS` says; elsewhere: --config.tests.eurosat=coop:FILE:test:IMAGES

B is the basic prompt, LE (language enhancement) 200 of 250 sentences a class by the paper's T5. Sentences that are there
already, such as the published lists, are read with --config.prompts.LE.writer=file:PATH, and word lists stand for a
T5 with --config.prompts.LE.writer=words (docs/guides/prompts.md); their numbers are not the paper's.

The paper's numbers stand in the matrix' page. Its generator was GLIDE, here it is Stable Diffusion 1.5. Nothing of this has
been measured by us: none of these weights were read here, the T5's among them. One H100, by estimate: an image is 83 TFLOP,
so that 2 x 2,000 images a class of 10 classes take 2.3 h at the 4.8 images/s that configs/benchmark.py aims at; tuning
and the sentences, minutes.
"""

from synthjax.config import arm, encoder, image_filter, image_set, prompt_list, study_config
from synthjax.labels import spaces
from synthjax.runtime.errors import UserError, nearest

# Where a label space names no test of its own, or the paper takes another one.
_TESTS = {
  "cifar10": "",
  "cifar100": "",
  "caltech101": "coop:data/caltech-101/split_zhou_Caltech101.json:test:data/caltech-101/101_ObjectCategories",
  "caltech256": "folder:data/caltech256",
  "imagenet": "",
  "sun397": "",
  "aircraft": "webdataset:data/wds_fgvc_aircraft:test",
  "birdsnap": "folder:data/birdsnap/test",
  "cars": "",
  "cub": "",
  "flowers102": "",
  "food101": "",
  "pets": "",
  "dtd": "",
  "eurosat": "coop:data/eurosat/split_zhou_EuroSAT.json:test:data/eurosat/2750",
  "imagenet-sketch": "",
  "imagenet-r": "",
}
DATASETS = tuple(_TESTS)
T5 = "t5:mrm8488/t5-base-finetuned-common_gen"
# What the T5 is given of a name, where it is more: the published list of EuroSAT is of `a Forest`.
_T5_INPUT = {"eurosat": "a {}"}


def get_config(arg: str = "cifar10"):
  if arg not in spaces.SPACES:
    raise UserError(f"configs/zero_shot.py knows no data set {arg!r}{nearest(arg, spaces.SPACES)}")
  test = _TESTS.get(arg) or spaces.load(arg).test
  if not test:
    raise UserError(f"configs/zero_shot.py: {arg} has no test; copy this file and name one, folder:PATH")
  config = study_config(labels=arg)
  config.study = f"zero_shot:{arg}"
  config.tests[arg] = test
  config.prompts.B = prompt_list("B")
  config.prompts.LE = prompt_list("LE", writer=T5, t5_input=_T5_INPUT.get(arg, "{}"))
  config.sets.B = image_set("B")
  config.sets.LE = image_set("LE")
  config.sampling.generator = "stable-diffusion-v1-5/stable-diffusion-v1-5"
  config.sampling.images_per_class = 2000
  config.sampling.guidance = 2.0
  config.sampling.stored_size = 256
  config.sampling.dtype = "bfloat16"
  # The classifier's: one prompt a class, and the seven of CLIP's own for ImageNet, as in the paper.
  ensemble = arg == "imagenet"
  config.encoders["RN50"] = encoder("timm/resnet50_clip.openai", ensemble=ensemble)
  config.encoders["ViT-B16"] = encoder("openai/clip-vit-base-patch16", ensemble=ensemble)
  # RN50 filters for ViT-B/16 too: so does the published code.
  config.filters.CF = image_filter("clip", encoder="RN50", kept_per_class=800)
  for name in config.encoders:
    config.arms[f"{name}-zero-shot"] = arm(encoder=name)
    for images in ("B", "LE", "LE/CF"):
      for loss in ("CE", "SCE"):
        config.arms[f"{name}-{images.replace('/', '+')}+{loss}"] = arm(images, loss=loss, encoder=name)
  return config
