"""A study of seconds, for a cluster: 640 images in 80 shards, and an arm. `:learn` is a learner, for joined tasks.

python -m synthjax.main --config tests/slurm/study.py --workdir W
"""

from synthjax.config import arm, encoder, image_set, learner, prompt_list, real_images, study_config


def get_config(arg=""):
  config = study_config(labels="digits")
  config.tests.digits = "embedded:digits:first"
  config.seeds = 1
  config.report.refresh_seconds = 0
  config.runtime.update(dict(heartbeat_seconds=0.5, stale_seconds=5.0, grace_seconds=5.0))
  if arg == "learn":
    config.real.few = real_images("embedded:digits:first", shots=4)
    config.learning.update(model="resnet-mini", size=8, batch=16, real="few", steps=60, evaluate_steps=5)
    config.learners.few = learner()
    config.runtime.save_seconds = 1.0
    return config
  config.prompts.T = prompt_list("templates")
  config.sets.T = image_set("T")
  config.sampling.update(
    dict(generator="random:tiny", steps=8, images_per_class=64, images_per_shard=8, per_device_batch=4)
  )
  config.encoders.clip = encoder()
  config.arms["zero-shot"] = arm()
  return config
