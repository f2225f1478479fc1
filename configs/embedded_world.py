"""The small world's networks: a CLIP that has not seen scans, and a latent-diffusion generator that draws them too.

    python -m synthjax.main --config configs/embedded_world.py --workdir runs/world

2 CPU cores; it resumes after any stop. Seen so far of CLIP, in a trial of 2,100 steps (6 min on a busy machine): it
names 92 % of printed digits, 66 % of scanned ones and 27 % of the real ones (first half). The autoencoder and the
generator have been trained for a few steps only: 0.37 and 0.40 s a step on a free machine. `:trial` makes small ones.
"""

from synthjax.config import network, study_config


def get_config(arg: str = ""):
  if arg not in ("", "trial"):
    raise ValueError(f"configs/embedded_world.py knows :trial, not :{arg}")
  config = study_config(labels="glyphs")
  config.networks.clip = network(
    "contrast", styles="familiar", steps=4000, batch=144, learning_rate=4e-4, warmup=100, weight_decay=0.1
  )
  config.networks.vae = network("autoencode", steps=2500, batch=64, ema=0.999)
  config.networks.generator = network("denoise", autoencoder="vae", steps=5000, batch=64, ema=0.999)
  if arg == "trial":
    config.networks.clip.update(steps=600, pictures=8064)
    config.networks.vae.update(steps=400, pictures=8000)
    config.networks.generator.update(steps=500, pictures=8000)
  return config
