#!/usr/bin/env bash
# A study on a TPU pod slice of Google Cloud: a queued resource, the command on all its hosts, and a new one after a pre-emption,
# until the study is done. The workdir is a bucket that the hosts' service account may write to.
#   ZONE=us-east5-b TYPE=v5litepod-16 VERSION=v2-alpha-tpuv5-lite \
#     launch/tpu_pod.sh NAME --config configs/X.py --workdir gs://BUCKET/runs/X [flags of synthjax.main]
# `--distributed on` takes a shared disk (Filestore): MOUNT='sudo mount 10.0.0.2:/share /mnt/share', and a workdir there.
# SPOT=1 asks for spot capacity. PACKAGE: what pip installs (default: the commit checked out here, from its origin).
# gcloud must be logged in. The resource is deleted when the study is done, or a mistake was found; after Ctrl-C it stays.
# not seen
set -euo pipefail
if [ $# -lt 2 ] || [ -z "${ZONE:-}" ] || [ -z "${TYPE:-}" ] || [ -z "${VERSION:-}" ]; then
  echo "tpu_pod.sh: give ZONE=, TYPE= and VERSION=, a NAME, and the flags of synthjax.main; see the head of this file" >&2
  exit 2
fi
name=$1
shift
tpu=(gcloud compute tpus)
place=(--zone="$ZONE" --quiet)
spot=()
[ -z "${SPOT:-}" ] || spot=(--spot)
package=${PACKAGE:-git+$(git -C "$(dirname "$0")" remote get-url origin)@$(git -C "$(dirname "$0")" rev-parse HEAD)}

state() { # of the queued resource; empty where there is none
  "${tpu[@]}" queued-resources describe "$name" "${place[@]}" --format='value(state.state)' 2>/dev/null || true
}
remove() {
  "${tpu[@]}" queued-resources delete "$name" "${place[@]}" --force || true
  while [ -n "$(state)" ]; do sleep 15; done
}
on_all() {
  "${tpu[@]}" tpu-vm ssh "$name" "${place[@]}" --worker=all --command="$1"
}

# Hosts sample alone: each takes its own chips for a whole slice. Joined ones take the slice as it is.
bounds='export TPU_PROCESS_BOUNDS=1,1,1 TPU_CHIPS_PER_PROCESS_BOUNDS=2,2,1'
case " $* " in *" --distributed on "* | *" --distributed=on "*) bounds=: ;; esac
setup="set -e; ${MOUNT:-true}; python3 -m venv ~/synthjax-env
~/synthjax-env/bin/pip install --quiet 'synthjax[tpu,buckets] @ $package'"
# gcloud says only whether a command failed: a mistake (exit code 2) is told by a line of its own.
study="$bounds; code=0; ~/synthjax-env/bin/python -m synthjax.main $(printf '%q ' "$@") || code=\$?
[ \$code != 2 ] || echo synthjax-mistake; exit \$code"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
while :; do
  case "$(state)" in
    "")
      "${tpu[@]}" queued-resources create "$name" --node-id="$name" "${place[@]}" \
        --accelerator-type="$TYPE" --runtime-version="$VERSION" "${spot[@]}"
      ;;
    ACTIVE)
      if on_all "$setup" && on_all "$study" 2>&1 | tee "$log"; then
        remove
        exit 0
      fi
      if grep -q '^synthjax-mistake' "$log"; then
        remove
        exit 2
      fi
      sleep 60 # until the state says whether the hosts are gone
      ;;
    SUSPENDING | SUSPENDED | FAILED | DELETING) remove ;;
    *) sleep 30 ;; # waiting for capacity
  esac
done
