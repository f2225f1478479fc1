"""What launch/ starts studies with: scripts that shells take, manifests that JobSet takes, an image that is safe to build."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from synthjax.cli import flags
from tests.conftest import ROOT

LAUNCH = ROOT / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch"), *(ROOT / "tests" / "slurm").glob("*.sh")])
OLDER = ("environment.sh", "quickstart.sh", "test.sh")
MANIFESTS = sorted((LAUNCH / "kubernetes").glob("*.yaml"))
_SECRET = re.compile(r"secret|token|password|passwd|api_?key|credential|AKIA|-----BEGIN", re.IGNORECASE)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_bash_takes_a_script(script):
  ran = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
  assert ran.returncode == 0, ran.stderr


@pytest.mark.skipif(
  shutil.which("shellcheck") is None, reason="needs shellcheck (apt-get install shellcheck)"
)
@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.name not in OLDER], ids=lambda p: p.name)
def test_shellcheck_finds_nothing(script):
  ran = subprocess.run(["shellcheck", "--severity=warning", str(script)], capture_output=True, text=True)
  assert ran.returncode == 0, ran.stdout


def test_each_file_says_its_command_and_whether_it_was_seen():
  files = [s for s in (*SCRIPTS, *MANIFESTS, LAUNCH / "Dockerfile") if s.name not in OLDER]
  assert len(files) >= 7
  for file in files:
    head = [line for line in file.read_text().splitlines()[:12] if line.startswith("#")]
    assert any(re.match(r"# +(seen:.*20\d\d-\d\d-\d\d|.*not seen)", line) for line in head), file.name
    assert file.name in " ".join(head), file.name  # in its command


@pytest.mark.parametrize("script", ["tpu_pod.sh", "gcsfuse.sh", "multi_gpu.sh"])
def test_a_script_without_arguments_says_in_a_line_what_it_needs(script):
  kept = {k: v for k, v in os.environ.items() if k not in ("ZONE", "TYPE", "VERSION", "PROCESSES")}
  ran = subprocess.run(
    ["bash", str(LAUNCH / script)], capture_output=True, text=True, env=kept | {"PROCESSES": "0"}, timeout=20
  )
  assert ran.returncode == 2 and ran.stderr.count("\n") == 1 and ran.stderr.startswith(f"{script}: ")


def fault_of(manifest: dict) -> str:
  """What JobSet v1alpha2, a Job, or this house refuses; "" where nothing."""
  if (manifest.get("apiVersion"), manifest.get("kind")) != ("jobset.x-k8s.io/v1alpha2", "JobSet"):
    return "apiVersion or kind"
  if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", manifest["metadata"]["name"]):
    return "name"
  for replicated in manifest["spec"]["replicatedJobs"]:
    job = replicated["template"]["spec"]
    pod = job["template"]["spec"]
    if job.get("completionMode") != "Indexed":
      return "completionMode"
    if not job.get("parallelism") == job.get("completions") > 0:
      return "parallelism"
    if pod.get("restartPolicy") not in ("Never", "OnFailure"):
      return "restartPolicy"
    if "podFailurePolicy" in job and pod["restartPolicy"] != "Never":
      return "podFailurePolicy"
    if not pod.get("securityContext", {}).get("runAsNonRoot"):
      return "runAsNonRoot"
    volumes = {volume["name"] for volume in pod.get("volumes", ())}
    for container in pod["containers"]:
      image, limits = container["image"], container.get("resources", {}).get("limits", {})
      if not re.search(r":[\w.-]+$|@sha256:[0-9a-f]{64}$", image) or image.endswith(":latest"):
        return "image"
      if "memory" not in limits or not {"nvidia.com/gpu", "google.com/tpu"} & {*limits}:
        return "limits"
      if not {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes:
        return "volumes"
      for variable in container.get("env", ()):
        if _SECRET.search(variable["name"]) and "value" in variable:
          return "secret"
        if not isinstance(variable.get("value", ""), str):
          return "env"  # Kubernetes takes no numbers there
      counted = {v["name"]: v.get("value") for v in container.get("env", ())}
      if counted.get("JAX_NUM_PROCESSES") != str(job["completions"]):
        return "JAX_NUM_PROCESSES"
  return ""


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda p: p.name)
def test_a_manifest_is_a_jobset(file):
  (manifest,) = yaml.safe_load_all(file.read_text())
  assert fault_of(manifest) == ""
  assert not _SECRET.search(file.read_text())
  (job,) = manifest["spec"]["replicatedJobs"]
  pod = job["template"]["spec"]["template"]["spec"]
  known, _ = flags.read(pod["containers"][0]["args"])
  assert (ROOT / known.config).is_file()
  mounted = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
  if known.workdir.startswith("gs://"):
    assert pod["serviceAccountName"]
  else:
    assert any(known.workdir.startswith(f"{path}/") for path in mounted)
  name, jobs = manifest["metadata"]["name"], job["name"]
  (address,) = [e["value"] for e in pod["containers"][0]["env"] if e["name"] == "JAX_COORDINATOR_ADDRESS"]
  assert address.startswith(f"{name}-{jobs}-0-0.{name}:")  # the first pod's name in the JobSet's own DNS


@pytest.mark.parametrize("version", ["1.31", "1.34"])
@pytest.mark.parametrize("file", MANIFESTS, ids=lambda p: p.name)
def test_its_jobs_are_those_of_kubernetes(file, version):
  """By the published schemas; JobSet's own is none of them."""
  schemas = pytest.importorskip("kubernetes_validate", reason="needs the extra parity")
  (manifest,) = yaml.safe_load_all(file.read_text())
  for replicated in manifest["spec"]["replicatedJobs"]:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": replicated["name"]}}
    schemas.validate(job | {"spec": replicated["template"]["spec"]}, version, strict=True)
    with pytest.raises(schemas.ValidationError):
      schemas.validate(
        job | {"spec": replicated["template"]["spec"] | {"paralellism": 8}}, version, strict=True
      )


@pytest.mark.parametrize(
  "before, after, fault",
  [
    ("v1alpha2", "v1alpha1", "apiVersion or kind"),
    ("completionMode: Indexed", "completionMode: NonIndexed", "completionMode"),
    ("completions: 8", "completions: 7", "parallelism"),
    ("restartPolicy: Never", "restartPolicy: Always", "restartPolicy"),
    ("restartPolicy: Never", "restartPolicy: OnFailure", "podFailurePolicy"),
    ("nvidia.com/gpu: 1, ", "", "limits"),
    ("synthjax:0.1.0", "synthjax:latest", "image"),
    ("name: JAX_COORDINATOR_ADDRESS", "name: HF_TOKEN", "secret"),
    ('value: "8"', "value: 8", "env"),
    ('value: "8"', 'value: "9"', "JAX_NUM_PROCESSES"),
  ],
)
def test_a_manifest_that_is_none_is_found(before, after, fault):
  text = (LAUNCH / "kubernetes" / "gpu.yaml").read_text()
  assert before in text
  assert fault_of(yaml.safe_load(text.replace(before, after))) == fault


def test_the_image_is_pinned_and_runs_as_a_user():
  lines = [line for line in (LAUNCH / "Dockerfile").read_text().splitlines() if line[:1] not in ("", "#")]
  instructions = [line.split(maxsplit=1) for line in lines if not line.startswith(" ")]
  bases = [rest for word, rest in instructions if word == "FROM"]
  assert bases and all(re.match(r"python:3\.\d+\.\d+-slim-\w+( AS \w+)?$", base) for base in bases)
  assert "ADD" not in dict(instructions) and not any(
    "curl" in rest or "http" in rest for _, rest in instructions
  )
  users = [rest for word, rest in instructions if word == "USER"]
  assert users and users[-1] not in ("root", "0")
  after = [word for word, _ in instructions][[word for word, _ in instructions].index("USER") :]
  assert "RUN" not in after and after[-2:] == ["ENTRYPOINT", "CMD"]
  for word, rest in instructions:
    if word == "COPY" and not rest.startswith("--from"):
      assert all((ROOT / source).exists() for source in rest.split()[:-1]), rest


@pytest.mark.slow
def test_processes_of_one_host_share_a_study_and_stop_together(tmp_path, weights, environment_of):
  config = tmp_path / "study.py"
  config.write_text(f"""
from synthjax.config import image_set, prompt_list, study_config
def get_config():
  config = study_config(labels="digits")
  config.prompts.T = prompt_list("templates")
  config.sets.T = image_set("T")
  config.sampling.update(dict(generator={str(weights)!r}, steps=2, images_per_class=8, images_per_shard=8, per_device_batch=4))
  config.runtime.compile_cache = ""
  return config
""")
  environment = environment_of(1) | {
    "PROCESSES": "2",
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
  }

  log = tmp_path / "log"

  def start(workdir: str, *more: str) -> subprocess.Popen:
    flags = [f"--config={config}", f"--workdir={tmp_path / workdir}", *more]
    with log.open("w") as out:
      return subprocess.Popen(
        ["bash", str(LAUNCH / "multi_gpu.sh"), *flags], env=environment, stdout=out, stderr=out
      )

  assert start("w", "--stages=prompts,sample").wait(timeout=200) == 0, log.read_text()
  assert len(list((tmp_path / "w" / "images" / "T").glob("*.array_record*"))) == 10, log.read_text()
  assert start("x", "--config.seeds=no").wait(timeout=60) == 2
  stopped = start("v", "--stages=prompts,sample", "--config.sampling.images_per_class=4000")
  for _ in range(600):
    if list((tmp_path / "v").glob("images/T/.working/*")):
      break
    time.sleep(0.1)
  stopped.send_signal(signal.SIGTERM)
  assert stopped.wait(timeout=100) == 143, log.read_text()
