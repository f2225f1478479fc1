#!/usr/bin/env bash
# Lint, format and tests on a fresh machine.
#   launch/test.sh [--all] [flags of pytest]      --all: the slow tests and the PyTorch parity tests too
set -euo pipefail
cd "$(dirname "$0")/.."
extras=test
select=()
if [ "${1:-}" = --all ]; then
  shift
  extras=test,parity
  select=(-m "")
fi
. launch/environment.sh "$extras"

ruff check .
ruff format --check .
python -m pytest ${select[@]+"${select[@]}"} "$@"
