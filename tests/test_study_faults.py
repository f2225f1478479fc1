"""A study that is killed in every stage, or shared, ends with the same results."""

import time
from pathlib import Path

import pytest

CONFIG = """
from synthjax.config import arm, encoder, image_filter, image_set, prompt_list, study_config

def get_config(arg=""):
  config = study_config(labels="digits")
  config.prompts.LE = prompt_list("LE", per_class=8, draws=12)
  config.sets.LE = image_set("LE")
  config.sampling.update(dict(generator={weights!r}, images_per_class=12, images_per_shard=32, steps=4))
  config.encoders.clip = encoder()
  config.filters.CF = image_filter("clip", kept_per_class=8, max_rounds=2)
  config.tests.digits = "embedded:digits:first"
  config.tuning.update(dict(batch=16, epochs=40))
  config.arms["zero-shot"] = arm()
  config.arms["LE+CE"] = arm("LE")
  config.arms["LE+CF+SCE"] = arm("LE/CF", loss="SCE")
  config.seeds = 2
  config.runtime.heartbeat_seconds = 0.5
  config.runtime.stale_seconds = 3.0
  config.runtime.save_seconds = 0.2
  return config
"""
# Each stage shows itself by a file; the process is killed the moment it is there.
MOMENTS = {
  "prompts": "prompts/LE/prompts.jsonl",
  "sample": "images/LE/train.array_record-00000",
  "embed": "embeddings/LE/clip/00000.npz",
  "a round of drawing more": "images/LE/segments/00001.json",
  "keep": "keep/LE/CF-clip/ids.txt",
  "tune, begun": "runs/*/group-00000/metrics.jsonl",
  "tune, under way": "runs/*/group-00000/checkpoints/[0-9]*/_CHECKPOINT_METADATA",
  "tune, one seed saved": "runs/*/seed-0/classifier.safetensors",
  "tune, measured": "runs/*/tests/*.npz",
  "report": "results.jsonl",
}


@pytest.fixture
def start(forked, tmp_path, weights):
  file = tmp_path / "study.py"
  file.write_text(CONFIG.format(weights=str(weights)))

  def run(workdir: Path):
    return forked(f"--config={file}", f"--workdir={workdir}", "--distributed=off")

  return run


def outcome(workdir: Path) -> dict[str, bytes]:
  """What the study is for: results, what was kept, and the classifiers."""
  patterns = (
    "results.jsonl",
    "keep/*/*/ids.txt",
    "images/LE/train.array_record-*",
    "runs/*/seed-*/classifier.*",
  )
  return {
    str(p.relative_to(workdir)): p.read_bytes() for pattern in patterns for p in sorted(workdir.glob(pattern))
  }


def finish(process) -> None:
  _, err = process.communicate(timeout=300)
  assert process.returncode == 0, err


@pytest.mark.slow
def test_a_study_killed_in_every_stage_ends_with_the_same_results(start, tmp_path):
  finish(start(tmp_path / "undisturbed"))
  wanted, workdir = outcome(tmp_path / "undisturbed"), tmp_path / "w"
  assert len(wanted) > 10
  killed = []
  for stage, pattern in MOMENTS.items():
    process = start(workdir)
    before = set(workdir.glob(pattern))
    while process.poll() is None and set(workdir.glob(pattern)) <= before:
      time.sleep(0.005)
    if process.poll() is None:
      process.kill()
      killed.append(stage)
    process.communicate()
  print(f"\nkilled in: {', '.join(killed)}")
  assert len(killed) >= 8, killed
  finish(start(workdir))
  assert outcome(workdir) == wanted


@pytest.mark.slow
def test_two_processes_share_a_study_and_end_with_the_same_results(start, tmp_path):
  finish(start(tmp_path / "alone"))
  workdir = tmp_path / "shared"
  both = [start(workdir), start(workdir)]
  for process in both:
    finish(process)
  assert outcome(workdir) == outcome(tmp_path / "alone")
