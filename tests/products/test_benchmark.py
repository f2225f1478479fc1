"""The benchmark from its config to its table."""

import json

import pytest
from etils import epath

from synthjax import study
from synthjax.benchmark.product import Benchmark
from synthjax.cli import command_line as command_line
from synthjax.runtime.errors import UserError
from synthjax.runtime.stopping import Stop
from synthjax.spec import config as fields_of
from synthjax.spec import validation
from synthjax.spec.study import resolve
from tests.conftest import ROOT


def config_of(*, rounds=1, **cases):
  config = fields_of.study_config()
  config.benchmark.update(rounds=rounds, seconds=0.01, torch=False)
  for kind, named in cases.items():
    config.benchmark[kind].update(named)
  return config


def tiny(generator="random:tiny", **fields):
  return fields_of.sampling_case(generator, **(dict(steps=2, per_device_batch=1) | fields))


@pytest.mark.slow
def test_what_does_not_fit_is_told_and_the_rest_goes_on(tmp_path, capsys):
  config = config_of(
    sampling=dict(wide=tiny(per_device_batch=8)), encoding=dict(clip=fields_of.encoding_case("embedded:clip"))
  )
  config.runtime.device_memory_gb = 0.0053  # the encoder takes 5.0 MB, the generator more
  assert Benchmark(resolve(config), epath.Path(tmp_path)).make(Stop())
  out = capsys.readouterr().out
  refused, measured = json.loads((tmp_path / "benchmark" / "benchmark.json").read_text())["cases"]
  assert "needs" in refused["refused"] and refused["refused"] in out
  assert measured["share_of_peak"]["median"] > 0 and "| " not in out
  assert [p.name for p in (tmp_path / "benchmark").iterdir() if p.is_file()] == ["benchmark.json"]


@pytest.mark.slow
def test_the_command_measures_and_leaves_a_table(forked, tmp_path):
  one = "--config.benchmark.sampling.tiny"
  process = forked(
    "--config=configs/benchmark.py:sampling,cpu",
    f"--workdir={tmp_path}",
    "--config.benchmark.rounds=2",
    "--config.benchmark.seconds=.01",
    f"{one}.steps=2",
    f"{one}.per_device_batch=2",
    "--config.benchmark.sampling.embedded.steps=1",
    devices=2,
  )
  out, err = process.communicate(timeout=600)
  assert process.returncode == 0, err
  body = json.loads((tmp_path / "benchmark" / "benchmark.json").read_text())
  row = body["cases"][0]
  assert (row["case"], row["steps"], row["batch"], row["devices"]) == ("tiny", 2, 4, 2)
  assert row["end_to_end"]["min"] <= row["end_to_end"]["median"] <= row["end_to_end"]["max"]
  tflops = row["flops_per_image"] * row["device_only"]["max"] / 1e12
  assert row["tflops"]["max"] == pytest.approx(tflops)
  assert row["kernels"] and row["compile_seconds"] > 0.1 and len(body["loops"]) == 3
  assert out.splitlines()[0].split()[:2] == ["case", "batch"] and out.splitlines()[1].startswith("tiny ")
  assert [p.name for p in (tmp_path / "benchmark").iterdir() if p.is_file()] == ["benchmark.json"]


@pytest.mark.parametrize(
  ("case", "said"),
  [
    (dict(sampling=dict(x=tiny(generator="random:tinny"))), "sampling.x: random generator 'tinny' (did you mean 'tiny'?)"),
    (dict(sampling=dict(x=tiny(size=33))), "config.benchmark.sampling.x.size 33: this generator makes images of multiples of 8"),
    (dict(sampling=dict(x=tiny(steps=2000))), "config.benchmark.sampling.x.steps is 2000"),
    (dict(sampling=dict(x=tiny(generator="/no/where"))), "sampling.x: generator /no/where is no folder"),
    (dict(encoding=dict(x=fields_of.encoding_case("random:clip-b61"))), "(did you mean 'clip-b16'?)"),
  ],
)  # fmt: skip
def test_a_case_that_cannot_be_is_one_line(tmp_path, case, said):
  with pytest.raises(UserError) as e:
    study.design(config_of(**case), epath.Path(tmp_path))
  assert said in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize(
  ("case", "said"),
  [
    (dict(sampling=dict(x=tiny(dtype="bfloat61"))), "config.benchmark.sampling.x: dtype 'bfloat61' (did you mean"),
    (dict(sampling=dict(x=tiny(per_device_batch=0))), "x: per_device_batch is at least 1, not 0"),
    (dict(sampling={"x y": tiny()}), "'x y': a name takes letters"),
    ({}, "config.benchmark.rounds without anything to measure"),
  ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_one_line(case, said):
  with pytest.raises(UserError) as e:
    validation.check(config_of(**case))
  assert said in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("arg", ["sampling,gpu", "encode,gpu", "gpu", "sampling", "encode,cpu"])
def test_the_shipped_cases_can_be_planned(tmp_path, arg):
  config = command_line.load_config_file(str(ROOT / "configs" / "benchmark.py"), arg)
  validation.check(config)
  (benchmark,) = study.design(config, epath.Path(tmp_path)).products
  assert benchmark.status().want == 3
  assert bool(config.benchmark.sampling) == (arg != "encode,cpu" and arg != "encode,gpu")
  assert bool(config.benchmark.encoding) == ("sampling" not in arg)
