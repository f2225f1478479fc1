"""The fields of metrics of image sets, and which metrics there are."""

from __future__ import annotations

from typing import Annotated, Literal

from synthjax.spec.group import AtLeast, Between, Count, Group, Growth, Identity, Positive, Runtime

# Of the set alone; by a classifier, by the texts, by LPIPS; beside real images.
RECOGNIZABILITY, CLIP_SCORE, LPIPS = "recognizability", "clip_score", "lpips"
SPREAD, VENDI = "spread", "vendi"
OF_REAL = ("frechet", "kid", "cmmd", "prdc")
METRICS = (RECOGNIZABILITY, CLIP_SCORE, SPREAD, VENDI, LPIPS, *OF_REAL)


# What is measured of image sets, by one encoder: their images against real ones, or among themselves.
class SetMetrics(Group):
  encoder: Identity[str] = "clip"  # of config.encoders
  # recognizability, clip_score, spread, vendi, lpips, frechet, kid, cmmd, prdc, by commas; "" = all that can be computed
  metrics: Growth[str] = ""
  sets: Runtime[str] = ""  # of config.sets, by commas; "" = all of the study's classes
  real: Identity[str] = ""  # of config.real or config.tests: what sets are compared with; "" = nothing
  subsample: Identity[Count] = 10_000  # images of a set at most, drawn by the seed class by class; 0 = all
  seed: Identity[int] = 0
  neighbours: Identity[Positive] = 5  # of prdc
  classifier: Identity[str] = ""  # for recognizability: learner:NAME; "" = the encoder's zero-shot classifier
  lpips: Identity[str] = ""  # weights of LPIPS: a folder that the converter wrote; "" = not measured
  lpips_network: Identity[Literal["alex", "vgg"]] = "alex"
  pairs: Identity[Positive] = 50  # of each class, for lpips
  size: Identity[Annotated[int, AtLeast(64)]] = 64  # pixels a side that pictures are resized to for lpips
  real_jpeg: Identity[Annotated[int, Between(0, 100)]] = (
    0  # real images are encoded as JPEGs of this quality first; 0 = as they are
  )
