#!/usr/bin/env bash
# The quickstart on a fresh machine: makes a virtual environment if none is active, installs, runs, opens the result.
#   launch/quickstart.sh [flags of synthjax.main]
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/environment.sh ""

workdir=${WORKDIR:-runs/quickstart}
python -m synthjax.main --config configs/quickstart.py --workdir "$workdir" "$@"

sheet="$workdir/images/LE/contact_sheet.png"
if [ -f "$sheet" ] && [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && command -v xdg-open >/dev/null; then
  xdg-open "$sheet"
elif [ -f "$sheet" ] && [ "$(uname)" = Darwin ]; then
  open "$sheet"
fi
