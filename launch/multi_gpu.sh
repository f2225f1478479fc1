#!/usr/bin/env bash
# A study on one host, one process a GPU. One process alone uses all GPUs too: this is for where a process's own threads are the
# limit, as where many JPEGs are decoded.
#   launch/multi_gpu.sh --config configs/X.py --workdir runs/X [flags of synthjax.main]      PROCESSES=n: not one for each GPU
# SIGTERM and Ctrl-C stop all in order. The exit code is the greatest.
# seen: two processes on CPUs, 2026-11-29 (tests/test_launch.py). not seen: GPUs
set -euo pipefail
cd "$(dirname "$0")/.."
count=${PROCESSES:-$(nvidia-smi --list-gpus 2>/dev/null | wc -l)}
if [ "$count" -lt 1 ]; then
  echo "multi_gpu.sh: no GPU was found (nvidia-smi); set PROCESSES=n" >&2
  exit 2
fi

export JAX_NUM_PROCESSES=$count
export JAX_COORDINATOR_ADDRESS=${JAX_COORDINATOR_ADDRESS:-localhost:12321} # for --distributed on
pids=()
stop() {
  kill -TERM "${pids[@]}" 2>/dev/null || true
}
trap stop TERM INT
for ((i = 0; i < count; i++)); do
  JAX_PROCESS_ID=$i JAX_LOCAL_PROCESS_ID=$i python -m synthjax.main "$@" &
  pids+=($!)
done

worst=0
for pid in "${pids[@]}"; do
  while :; do
    code=0
    wait "$pid" || code=$?
    kill -0 "$pid" 2>/dev/null || break # else it was a signal to this script that ended the wait
  done
  [ "$code" -le "$worst" ] || worst=$code
done
exit "$worst"
