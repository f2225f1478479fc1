#!/usr/bin/env bash
# Mounts a bucket of Google Cloud Storage, to read real images from or to export to.
#   launch/gcsfuse.sh BUCKET FOLDER
# No workdir for several machines: a mounted bucket has no hard links, and its renames replace; --workdir gs://BUCKET/FOLDER is one.
# Credentials are those of the machine (its service account, or `gcloud auth application-default login`).
# not seen
set -euo pipefail
if [ $# != 2 ]; then
  echo "gcsfuse.sh: give a BUCKET and a FOLDER" >&2
  exit 2
fi
command -v gcsfuse >/dev/null || { echo "gcsfuse.sh: gcsfuse is not installed: https://cloud.google.com/storage/docs/gcsfuse-install" >&2; exit 2; }
mkdir -p "$2"
# Other machines' files are seen at once: nothing of a file's absence or age is remembered.
exec gcsfuse --implicit-dirs --metadata-cache-ttl-secs=0 --metadata-cache-negative-ttl-secs=0 "$1" "$2"
