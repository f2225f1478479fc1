#!/usr/bin/env bash
# Lint, format, types and tests on a fresh machine.
#   launch/test.sh [--all] [flags of pytest]      --all: the slow tests, the PyTorch parity tests and the documentation too
# Four tests run side by side on two cores, since much of each is one thread that imports or compiles, or waits; -n 0 runs one at
# a time, and shows with -s what they print.
set -euo pipefail
cd "$(dirname "$0")/.."
extras=test
which="not slow"
if [ "${1:-}" = --all ]; then
  shift
  extras=test,parity,docs
  which="slow or not slow"
fi
. launch/environment.sh "$extras"

tests() { # where -k or a path leaves none of these, that is no failure
  python -m pytest "$@" || [ $? = 5 ]
}

ruff check .
ruff format --check .
basedpyright & # beside the documentation: each is one thread
types=$!
if [ "$extras" != test ]; then # a broken link or anchor is an error
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet --site-dir "$site" || { wait "$types" || true; exit 1; }
fi
wait "$types"
failed=0
# Most tests compile for longer than they compute, so without optimisation they take less time. Where speed is measured, and
# with an XLA_FLAGS of your own (XLA_FLAGS= for none), programs are what users have. Threads of BLAS wait for one another in a
# loop, beside three other workers.
OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS-1} \
  XLA_FLAGS=${XLA_FLAGS---xla_backend_optimization_level=0} \
  tests -m "($which) and not alone" -n 4 --dist loadscope --no-loadscope-reorder "$@" || failed=1
tests -m "($which) and alone" "$@" || failed=1
exit $failed
