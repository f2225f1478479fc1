#!/usr/bin/env bash
# The quickstart on a fresh machine: makes a virtual environment if none is active, installs, runs, opens the report.
#   launch/quickstart.sh [flags of synthjax.main]
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/environment.sh ""

workdir=${WORKDIR:-runs/quickstart}
python -m synthjax.main --config configs/quickstart.py --workdir "$workdir" "$@"

page="$workdir/report/index.html"
if [ -f "$page" ] && [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && command -v xdg-open >/dev/null; then
  xdg-open "$page"
elif [ -f "$page" ] && [ "$(uname)" = Darwin ]; then
  open "$page"
fi
