"""The small world's networks: CLIPs that know scans badly, and a latent-diffusion generator that draws them.

    python -m synthjax.main --config configs/embedded_world.py --workdir runs/world

2 CPU cores, about 2 h 10 min in all as they were trained, two at a time and beside other work: CLIP 29 min, autoencoder
24 min, sketch 40 min, generator 20 min. It resumes after any stop; `:trial` makes small ones in minutes.

CLIP, zero-shot, names 96 % of printed digits, 77 % of rendered scans and 45.8 % of the real ones (first half). The one
with a residual tower, for studies of batch norm: 100, 88 and 61.7 %; 28 min beside two other trainings on 2 CPU cores.
The sketch that shipped was stopped at step 2,739 of a schedule of 3,600, and its averaged weights were taken.
"""

from synthjax.config import UserError, network, study_config


def get_config(arg: str = ""):
  if arg not in ("", "trial"):
    raise UserError(f"configs/embedded_world.py knows :trial, not :{arg}")
  config = study_config(labels="glyphs")
  config.networks.clip = network(
    "contrast", styles="familiar", steps=4000, batch=144, learning_rate=4e-4, warmup=100, weight_decay=0.1
  )
  config.networks["clip-resnet"] = network(
    "contrast",
    tower="resnet",
    styles="familiar",
    steps=1500,
    batch=144,
    learning_rate=1e-3,
    warmup=100,
    weight_decay=0.1,
  )
  config.networks.vae = network("autoencode", steps=1600, batch=64, ema=0.999)
  # A text encoder that begins at random teaches a UNet papers, inks and styles in 2,700 steps, and no digit. CLIP's
  # text tower tells the digits apart from the first step on, so the generator goes on with that.
  drawing = dict(task="denoise", labels="digits", autoencoder="vae", batch=64, ema=0.995)
  config.networks.sketch = network(**drawing, steps=2700)
  config.networks.generator = network(**drawing, text_encoder="clip", begin_with="sketch", steps=2200)
  if arg == "trial":
    config.networks.clip.update(steps=600, pictures=8064)
    config.networks.vae.update(steps=400, pictures=8000)
    config.networks.generator.update(steps=500, pictures=8000)
  return config
