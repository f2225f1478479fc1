"""The spine end to end, in one process: what is made, what is not made twice, and what is refused."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import grain
import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from synthjax import study
from synthjax.disk import checksums
from synthjax.runtime.errors import UserError
from synthjax.sampling.program import SamplingProgram
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.command import Command
from synthjax.store import corrections, records


@pytest.fixture
def drawn(monkeypatch) -> list:
  """The image ids that were drawn, as they are drawn."""
  ids, draw = [], SamplingProgram.sample

  def spy(self, images):
    ids.extend(i.image_id for i in images)
    return draw(self, images)

  monkeypatch.setattr(SamplingProgram, "sample", spy)
  return ids


def run(config, workdir: Path, **kwargs) -> None:
  validation.check(config)
  study.run(Command(config, str(workdir), **kwargs))


def plan_of(config, workdir, capsys) -> dict[str, str]:
  """product -> state, as --plan prints it."""
  capsys.readouterr()
  run(config, workdir, plan=True)
  lines = capsys.readouterr().out.splitlines()[1:-1]
  return {line.split()[0]: " ".join(line.split()[1:]) for line in lines}


def shard_bytes(folder: Path) -> dict[str, bytes]:
  return {p.name: p.read_bytes() for p in sorted(folder.glob("train.array_record-*"))}


def rows(folder: Path) -> list[dict]:
  return list(tfds.builder_from_directory(folder).as_data_source("train"))


def test_growth_leaves_what_is_there_and_samples_the_rest(small, tmp_path, drawn, capsys):
  config, workdir = small(tmp_path, images_per_class=5), tmp_path / "w"
  run(config, workdir)
  before = shard_bytes(workdir / "images" / "B")
  assert len(drawn) == 15 and len(before) == 4
  config.sampling.images_per_class = 10
  assert plan_of(config, workdir, capsys)["images/B"].startswith("stale 15/30 images 4/8")
  run(config, workdir)
  after = shard_bytes(workdir / "images" / "B")
  assert {k: after[k] for k in before} == before
  assert len(drawn) == len(set(drawn)) == 30

  direct = tmp_path / "direct"
  run(config, direct)
  grown, anew = rows(workdir / "images" / "B"), rows(direct / "images" / "B")
  assert [r["image_id"] for r in grown] == [r["image_id"] for r in anew] == [i.encode() for i in drawn[:30]]
  for a, b in zip(grown, anew, strict=True):
    np.testing.assert_array_equal(a["image"], b["image"])
  assert plan_of(config, workdir, capsys)["images/B"].startswith("done 30/30 images 8/8")


def test_a_second_strategy_samples_only_its_own(small, tmp_path, drawn, capsys):
  config = small(tmp_path)
  run(config, tmp_path / "w")
  first = len(drawn)
  config.sets.T = fields_of.image_set("T", guidance=4.0)
  assert plan_of(config, tmp_path / "w", capsys)["images/T"].startswith("missing 0/15")
  run(config, tmp_path / "w")
  assert len(drawn) == 2 * first == len(set(drawn))
  run(config, tmp_path / "w")
  assert len(drawn) == 2 * first


def test_a_preview_is_the_beginning_of_the_set(small, tmp_path, drawn):
  config = small(tmp_path, images_per_class=6, preview=2)
  run(config, tmp_path / "w")
  assert len(drawn) == 6 and (tmp_path / "w/images/B/contact_sheet.png").exists()
  config.sampling.preview = 0
  run(config, tmp_path / "w")
  assert len(drawn) == len(set(drawn)) == 18
  assert [r["image_id"].decode() for r in rows(tmp_path / "w/images/B")] == drawn


def test_a_smaller_wish_takes_nothing_away(small, tmp_path, drawn, capsys):
  config = small(tmp_path)
  run(config, tmp_path / "w")
  config.sampling.images_per_class = 2
  assert plan_of(config, tmp_path / "w", capsys)["images/B"].startswith("done 8/8")  # 2 shards hold 2 a class
  run(config, tmp_path / "w")
  assert len(rows(tmp_path / "w/images/B")) == 15


def test_a_wish_made_smaller_before_it_came_true(small, tmp_path, drawn, monkeypatch, capsys):
  """Of 50 a class asked for, the run was killed, and 3 are enough: what is there counts, and no more is drawn."""
  config = small(tmp_path, images_per_class=50)
  full = SamplingProgram.sample

  def dies(self, images):
    if len(drawn) >= 12:
      raise KeyboardInterrupt
    return full(self, images)

  with monkeypatch.context() as patch:
    patch.setattr(SamplingProgram, "sample", dies)
    with pytest.raises(KeyboardInterrupt):
      run(config, tmp_path / "w")
  drawn.clear()
  config.sampling.images_per_class = 3
  run(config, tmp_path / "w")
  assert len(drawn) == 12
  assert [int(r["sample_index"]) for r in rows(tmp_path / "w/images/B")][:9] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
  run(config, tmp_path / "w", stages=("verify",))
  assert plan_of(config, tmp_path / "w", capsys)["images/B"].startswith("done 12/12")


def test_images_are_a_tfds_data_set_without_us_or_tensorflow(small, tmp_path):
  run(small(tmp_path), tmp_path / "w")
  code = f"""
import sys, json
import tensorflow_datasets as tfds
source = tfds.builder_from_directory({str(tmp_path / "w/images/B")!r}).as_data_source("train")
row = source[4]
print(json.dumps([len(source), list(row["image"].shape), int(row["label"]), row["prompt"].decode(), int(row["sample_index"])]))
print(source.dataset_info.features["label"].names)
assert not [m for m in sys.modules if m.split(".")[0] in ("synthjax", "tensorflow")]
"""
  out = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True
  ).stdout
  facts, names = out.splitlines()
  assert json.loads(facts) == [15, [32, 32, 3], 1, "a photo of a bee", 1]
  assert names == "['a', 'b', 'c']"


def test_a_grain_pipeline_reads_them(small, tmp_path):
  run(small(tmp_path), tmp_path / "w")
  source = tfds.builder_from_directory(tmp_path / "w/images/B").as_data_source("train")
  pipeline = (
    grain.MapDataset.source(source).map(lambda r: {"image": r["image"], "label": r["label"]}).batch(5)
  )
  batches = list(pipeline.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)))
  assert [b["image"].shape for b in batches] == [(5, 32, 32, 3)] * 3
  assert np.concatenate([b["label"] for b in batches]).tolist() == [0, 1, 2] * 5


@pytest.mark.parametrize(
  ("field", "value", "said"),
  [
    (
      "guidance",
      3.0,
      "images/B: guidance was 2.0 when it was made and is 3.0 now; give the new one another name",
    ),
    ("steps", 3, "images/B: steps was 2 when it was made and is 3 now"),
    ("seed", 1, "images/B: seed was 0"),
    ("jpeg_quality", 80, "images/B: jpeg_quality was 90"),
    ("images_per_shard", 8, "images/B: images_per_shard was 4"),
  ],
)
def test_a_changed_identity_is_refused(small, tmp_path, field, value, said, drawn):
  config = small(tmp_path)
  run(config, tmp_path / "w")
  before, n = {p: p.stat().st_mtime_ns for p in (tmp_path / "w").rglob("*")}, len(drawn)
  config.sampling[field] = value
  for plan in (True, False):
    with pytest.raises(UserError) as e:
      run(config, tmp_path / "w", plan=plan)
    assert said in str(e.value)
  assert {p: p.stat().st_mtime_ns for p in (tmp_path / "w").rglob("*")} == before and len(drawn) == n


def test_runtime_fields_and_another_place_of_the_weights_are_never_refused(small, tmp_path, weights, drawn):
  config = small(tmp_path)
  run(config, tmp_path / "w")
  n = len(drawn)
  config.sampling.per_device_batch = 5
  config.sampling.generator = str(shutil.copytree(weights, tmp_path / "moved"))
  run(config, tmp_path / "w")
  assert len(drawn) == n


def test_guidance_at_or_below_1_draws_with_the_prompt_alone(small, tmp_path):
  """As diffusers does, which guides above 1 only; the ids differ, for guidance is part of them."""
  config = small(tmp_path, images_per_class=1, per_device_batch=8)
  del config.sets.B
  guidances = {"zero": 0.0, "half": 0.5, "one": 1.0, "above": 1.5}
  for name, guidance in guidances.items():
    config.sets[name] = fields_of.image_set("B", guidance=guidance)
  run(config, tmp_path / "w")
  sets = {name: rows(tmp_path / "w/images" / name) for name in guidances}
  pixels = {name: np.stack([row["image"] for row in of]) for name, of in sets.items()}
  np.testing.assert_array_equal(pixels["zero"], pixels["one"])
  np.testing.assert_array_equal(pixels["half"], pixels["one"])
  assert (pixels["above"] != pixels["one"]).any()
  assert len({row["image_id"] for of in sets.values() for row in of}) == 4 * 3
  assert len({row["noise_id"] for of in sets.values() for row in of}) == 3


def test_a_set_guided_below_1_by_an_older_release_is_refused_by_name(small, tmp_path, capsys):
  config = small(tmp_path, images_per_class=1, guidance=0.5)
  run(config, tmp_path / "w")
  folder = epath.Path(tmp_path / "w/images/B")
  made = records.load(folder)
  assert made.identity[corrections.KEY] == ["unguided"]
  older = dataclasses.replace(made, identity=corrections.before(made.identity))
  checksums.replace(folder / "record.json", older.to_json())
  assert plan_of(config, tmp_path / "w", capsys)["images/B"].startswith("refused")
  with pytest.raises(records.Corrected, match="guidance at or below 1 samples with the prompt alone"):
    run(config, tmp_path / "w")


def with_scheduler(weights: Path, folder: Path, **keys) -> Path:
  """The generator, trained to be noised in another way."""
  shutil.copytree(weights, folder)
  file = folder / "scheduler" / "scheduler_config.json"
  file.write_text(json.dumps(json.loads(file.read_text()) | keys))
  return folder


def test_a_set_whose_schedulers_keys_an_older_release_ignored_is_refused_by_name(
  small, tmp_path, weights, capsys
):
  generator = with_scheduler(weights, tmp_path / "g", final_sigmas_type="sigma_min")
  config = small(tmp_path, images_per_class=1, sampler="dpmpp_2m", generator=str(generator))
  config.sets.plain = fields_of.image_set("B", sampler="ddim")  # which does not read the key
  run(config, tmp_path / "w")
  made = {name: records.load(epath.Path(tmp_path / "w/images" / name)) for name in ("B", "plain")}
  assert made["B"].identity[corrections.KEY] == ["scheduler_keys"]
  assert corrections.KEY not in made["plain"].identity
  older = dataclasses.replace(made["B"], identity=corrections.before(made["B"].identity))
  checksums.replace(epath.Path(tmp_path / "w/images/B/record.json"), older.to_json())
  states = plan_of(config, tmp_path / "w", capsys)
  assert states["images/B"].startswith("refused") and states["images/plain"].startswith("done")


def test_a_scheduler_that_the_sampler_cannot_follow_leaves_nothing_behind(small, tmp_path, weights):
  generator = with_scheduler(weights, tmp_path / "g", solver_order=3)
  config = small(tmp_path, sampler="dpmpp_2m", generator=str(generator))
  for plan in (True, False):
    with pytest.raises(UserError, match=r"g/scheduler/scheduler_config.json has solver_order=3; sampler dpm"):
      run(config, tmp_path / "w", plan=plan)
  assert not (tmp_path / "w/images").exists()
  config.sampling.sampler = "ddim"
  run(config, tmp_path / "w", plan=True)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_guidance_of_1_and_above_keeps_its_identity(small, tmp_path, guidance):
  config = small(tmp_path, images_per_class=1, guidance=guidance)
  run(config, tmp_path / "w")
  assert corrections.KEY not in records.load(epath.Path(tmp_path / "w/images/B")).identity


def test_other_prompts_under_a_used_name_are_refused(small, tmp_path):
  config = small(tmp_path)
  run(config, tmp_path / "w")
  config.prompts.B.template = "a drawing of a {}"
  with pytest.raises(UserError, match="prompts/B: template was"):
    run(config, tmp_path / "w")
  shutil.rmtree(tmp_path / "w/prompts/B")
  with pytest.raises(UserError, match="images/B was made from another prompts/B"):
    run(config, tmp_path / "w")


def test_long_prompts_are_counted_and_never_cut_in_silence(small, tmp_path, capsys):
  config = small(tmp_path)
  config.prompts.B.template = "a photo of a {} " + "very " * 40 + "far away"
  with pytest.raises(UserError) as e:
    run(config, tmp_path / "w")
  assert "3 of 3 prompts are longer than the 160 tokens" in str(e.value)
  assert "config.sampling.long_prompts=cut" in str(e.value)
  assert not (tmp_path / "w/images").exists()
  config.sampling.long_prompts = "cut"
  run(config, tmp_path / "w")
  assert "3 of 3 prompts are longer than the 160 tokens" in capsys.readouterr().err
  assert len(rows(tmp_path / "w/images/B")) == 15


def test_weights_that_do_not_fit_leave_nothing_behind(small, tmp_path, weights):
  broken = shutil.copytree(weights, tmp_path / "broken")
  file = broken / "vae" / "diffusion_pytorch_model.safetensors"
  file.write_bytes(file.read_bytes()[:-1])
  config = small(tmp_path, generator=str(broken))
  with pytest.raises(UserError, match="is truncated"):
    run(config, tmp_path / "w")
  assert not (tmp_path / "w/images").exists()


def test_a_class_without_prompts_leaves_nothing_behind(small, tmp_path):
  (tmp_path / "p.tsv").write_text("a\tan ant\nb\ta bee\n")
  config = small(tmp_path)
  config.prompts.B = fields_of.prompt_list("file", file=str(tmp_path / "p.tsv"))
  with pytest.raises(UserError, match=r"1 classes have no prompt .'c'.; add prompts for them"):
    run(config, tmp_path / "w")
  assert not list((tmp_path / "w").rglob("*"))


@pytest.mark.parametrize("plan", [False, True])
def test_sentences_of_glyphs_are_refused_elsewhere_before_anything_runs(small, tmp_path, drawn, plan):
  config = small(tmp_path)
  config.prompts.LE = fields_of.prompt_list("LE", writer="grammar")
  with pytest.raises(
    UserError, match=r"config\.prompts\.LE: writer 'grammar' .* 'ant' .* use writer 'words', or strategy"
  ) as e:
    run(config, tmp_path / "w", plan=plan)
  assert "\n" not in str(e.value) and not drawn and not list((tmp_path / "w").rglob("*"))


def test_stages_and_what_they_need(small, tmp_path, drawn):
  config = small(tmp_path)
  with pytest.raises(
    UserError, match="images/B is made from prompts/B, which is missing; add prompts to --stages"
  ):
    run(config, tmp_path / "w", stages=("sample",))
  with pytest.raises(UserError, match="did you mean 'sample'"):
    run(config, tmp_path / "w", stages=("smaple",))
  run(config, tmp_path / "w", stages=("prompts",))
  assert not drawn
  run(config, tmp_path / "w", stages=("sample",))
  assert len(drawn) == 15


def test_verify_finds_what_is_wrong_and_the_mend_mends_it(small, tmp_path, drawn, capsys):
  config, folder = small(tmp_path), tmp_path / "w/images/B"
  run(config, tmp_path / "w")
  run(config, tmp_path / "w", stages=("verify",))
  assert "images/B: every shard is as planned" in capsys.readouterr().out
  good = shard_bytes(folder)
  name0, name1, name2, name3 = good
  flipped = bytearray(good[name0])
  flipped[len(flipped) // 2] ^= 1
  (folder / name0).write_bytes(bytes(flipped))
  (folder / name2).write_bytes(good[name1])  # a shard in the wrong place, whole in itself
  (folder / "shards" / f"{name2}.json").unlink()
  (folder / name3).unlink()
  with pytest.raises(UserError, match="3 shards to redo; run this and then the study again: rm -f") as e:
    run(config, tmp_path / "w", stages=("verify",))
  out = capsys.readouterr().out
  assert (
    f"{name0}: shard" in out
    and "is corrupt" in out
    and "image 0 has image_id" in out
    and f"{name3}: missing" in out
  )
  assert name1 not in out
  drawn.clear()
  for line in str(e.value).split("again: ")[1].split("; "):
    subprocess.run(line, shell=True, check=True)
  run(config, tmp_path / "w")
  assert shard_bytes(folder) == good and len(drawn) == 4 + 4 + 3


def test_a_corrupt_shard_is_one_line_at_the_next_start(small, tmp_path):
  config = small(tmp_path)
  run(config, tmp_path / "w")
  shard = tmp_path / "w/images/B/train.array_record-00001"
  shard.write_bytes(shard.read_bytes()[:-1])
  with pytest.raises(UserError, match=r"train\.array_record-00001 is corrupt .*; remove it and "):
    run(config, tmp_path / "w")


def test_the_plan_makes_nothing_and_counts(small, tmp_path, capsys):
  config = small(tmp_path, generator="random:tiny")
  states = plan_of(config, tmp_path / "w", capsys)
  assert states["prompts/B"] == "missing prompts"
  assert states["images/B"].startswith("missing 0/15 images 0/4") and states["images/B"].endswith("FLOP")
  assert not (tmp_path / "w").exists()


def test_a_mistake_leaves_no_folder_behind_and_an_older_one_alone(small, tmp_path):
  config = small(tmp_path, generator="")
  (tmp_path / "own").mkdir()
  for workdir in ("new/below", "own"):
    with pytest.raises(UserError, match="has no generator"):
      run(config, tmp_path / workdir)
  assert (tmp_path / "own").exists() and not (tmp_path / "new").exists()


def test_metadata_that_disagree_are_written_again(small, tmp_path, capsys):
  """What two processes that asked for different numbers may have left, or a death between two files."""
  config, folder = small(tmp_path, images_per_class=10), tmp_path / "w/images/B"
  run(config, tmp_path / "w")
  info = json.loads((folder / "dataset_info.json").read_text())
  info["splits"][0]["shardLengths"] = info["splits"][0]["shardLengths"][:2]
  (folder / "dataset_info.json").write_text(json.dumps(info))
  assert plan_of(config, tmp_path / "w", capsys)["images/B"].startswith("missing 30/30")
  run(config, tmp_path / "w")
  assert len(rows(folder)) == 30


def test_networks_that_do_not_fit_together_leave_nothing_behind(small, tmp_path, monkeypatch):
  from synthjax.generators.stable_diffusion import StableDiffusion

  def misfit(self, *_):
    raise TypeError("shapes do not match")

  monkeypatch.setattr(StableDiffusion, "predict", misfit)
  with pytest.raises(TypeError):
    run(small(tmp_path, steps=3), tmp_path / "w")
  assert not (tmp_path / "w/images").exists()
