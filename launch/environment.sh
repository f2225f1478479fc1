# Sourced by the scripts beside it, from the checkout's top: a virtual environment with the package and the extras
# named in $1 ("", "test" or "test,parity,docs"). An active environment (but conda's base) is used as it is; else .venv is made here.
extras=${1:-}
conda=${CONDA_DEFAULT_ENV:-base}
if [ -z "${VIRTUAL_ENV:-}" ] && [ "$conda" = base ]; then
  [ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
  . .venv/bin/activate
fi
# Installed again only when pyproject.toml or the extras have changed.
stamp="$(python -c 'import sys; print(sys.prefix)')/.synthjax-installed"
wanted="$PWD ${extras} $(cksum <pyproject.toml)"
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
  echo "installing synthjax${extras:+[$extras]} ..." >&2
  python -m pip install --quiet --disable-pip-version-check -e ".${extras:+[$extras]}"
  echo "$wanted" >"$stamp"
fi
