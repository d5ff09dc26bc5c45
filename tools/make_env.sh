#!/bin/sh
# Builds .venv from requirements.lock on a machine that has Python >= 3.11, make and a shell. Called by `make env`.
#
# Rules of this file:
# - nothing is downloaded without a hash from the lock: build backends come first, then builds run without isolation;
# - nothing outside the checkout changes, except Debian packages, and those only as root;
# - .venv/.stamp is written last, so an interrupted build is not taken for a finished one: it is begun again.
#
# PYTHON=/path/to/python3.12 chooses the interpreter; otherwise the first `python3`, or the system's own if it is much faster.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root"
env=.venv
stamp=$env/.stamp
unfinished=$env/.unfinished

say() { printf 'env: %s\n' "$*"; }
die() {
    printf 'env: %s\n' "$@" >&2
    exit 1
}
may_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }

apt_updated=no
apt_install() {
    if [ "$apt_updated" = no ]; then
        apt-get update -qq || say "apt-get update failed; trying with the package lists at hand"
        apt_updated=yes
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if new_enough "$candidate"; then
            swifter "$(command -v "$candidate")"
            return
        fi
    done
    die "no Python 3.11 or newer found (tried: ${PYTHON:-python3 python3.13 python3.12 python3.11})." \
        "Install one (Debian 12, Ubuntu 24.04: apt-get install python3 python3-venv; Fedora: dnf install python3.12;" \
        "macOS: brew install python@3.12), or name it: make env PYTHON=/path/to/python3.12"
}

# What a fixed piece of work takes the interpreter $1, in microseconds: the best of five.
pace() {
    "$1" -I -c '
import time

def work():
    begun, counts = time.process_time(), {}
    for number in range(60_000):
        counts[number % 100] = counts.get(number % 100, 0) + len(str(number))
    return time.process_time() - begun

print(int(1e6 * min(work() for _ in range(5))))'
}

# The interpreter $1, or the system's own where that takes less than 0.85 of its time: pyenv compiles without
# profile-guided optimisation. Whoever names one with PYTHON gets that.
swifter() {
    system=/usr/bin/python3
    if [ -z "${PYTHON:-}" ] && new_enough "$system" && can_make_venv "$system" &&
        [ $(($(pace "$system") * 100)) -lt $(($(pace "$1") * 85)) ]; then
        say "$system is much faster than $1: taking that (PYTHON=$1 for the other)" >&2
        echo "$system"
    else
        echo "$1"
    fi
}

# A venv needs the module ensurepip, which Debian ships apart.
can_make_venv() { "$1" -c 'import ensurepip, venv; ensurepip.version()' >/dev/null 2>&1; }
ensure_venv_module() {
    can_make_venv "$1" && return
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if may_install; then
        say "installing the Debian package for venv"
        apt_install "python$version-venv" || apt_install python3-venv || true
    fi
    can_make_venv "$1" ||
        die "$1 cannot create virtual environments: its modules venv and ensurepip are missing." \
            "Debian, Ubuntu: sudo apt-get install python$version-venv (or python3-venv), then run make env again."
}

# pip itself retries a connection; this repeats the whole command, for mirrors that answer 5xx or cut downloads.
pip_install() {
    for pause in 5 20 0; do
        "$env/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --retries 5 --timeout 60 "$@" &&
            return
        [ "$pause" = 0 ] || {
            say "pip failed; again in $pause seconds"
            sleep "$pause"
        }
    done
    die "pip install failed three times; its messages are above." \
        "Behind a proxy set HTTPS_PROXY; for a mirror of PyPI set PIP_INDEX_URL. Then run make env again."
}

# The blocks of requirements.lock whose package names match $1, with their hashes.
locked() { awk -v wanted="^($1)==" '/^[A-Za-z0-9]/ { keep = $0 ~ wanted } keep' requirements.lock; }

sodium() {
    "$env/bin/python" - "$1" <<'PYTHON'
import ctypes, ctypes.util, sys

def system() -> str:
    for name in (ctypes.util.find_library("sodium"), "libsodium.so.23", "libsodium.so.26"):
        try:
            if name and ctypes.CDLL(name).crypto_core_ristretto255_bytes() == 32:
                return f"the system's {name}"
        except (OSError, AttributeError):
            continue
    return ""

def wheel() -> str:
    try:
        import rbcl  # noqa: F401
    except Exception:
        return ""
    return "the wheel rbcl (this machine has no libsodium of its own)"

found = system() if sys.argv[1] == "system" else wheel()
if not found:
    sys.exit(1)
print(found)
PYTHON
}

# --- the environment ------------------------------------------------------------------------------

lock_sum=$(cksum <requirements.lock)

# An environment that moved, lost its interpreter or was left unfinished is begun again; any other is brought up to date.
if [ -d "$env" ]; then
    home=$(sed -n 's/^root //p' "$stamp" 2>/dev/null || true)
    if [ -e "$unfinished" ] || ! new_enough "$env/bin/python" || { [ -n "$home" ] && [ "$home" != "$root" ]; }; then
        say "the environment is unfinished, broken or moved: building it again"
        rm -rf "$env"
    fi
fi
if [ -s "$stamp" ] && [ "$(sed -n 's/^lock //p' "$stamp")" = "$lock_sum" ]; then
    locked_done=yes
else
    locked_done=no
fi
rm -f "$stamp"

if [ ! -d "$env" ]; then
    python=$(find_python)
    ensure_venv_module "$python"
    say "creating .venv with $python ($("$python" -V 2>&1))"
    mkdir "$env"
    : >"$unfinished"
    "$python" -m venv "$env"
fi
: >"$unfinished"

if [ "$locked_done" = no ]; then
    say "installing what requirements.lock names (about a minute the first time)"
    locked 'pip|setuptools|packaging' >"$env/first.txt"
    pip_install --require-hashes --no-deps --only-binary :all: -r "$env/first.txt"
    pip_install --require-hashes --no-deps --no-build-isolation -r requirements.lock
fi
pip_install --no-deps --no-build-isolation --no-index --editable .
"$env/bin/python" -m pip check --disable-pip-version-check >"$env/check.txt" 2>&1 || {
    cat "$env/check.txt" >&2
    die "requirements.lock does not fit pyproject.toml: run make lock, read the difference, then make env."
}

# --- the curve library ----------------------------------------------------------------------------

if ! library=$(sodium system); then
    if may_install; then
        apt_install libsodium23 || say "apt-get could not install libsodium23"
    fi
    library=$(sodium system || sodium wheel) ||
        die "no usable libsodium, neither the system's nor the wheel rbcl." \
            "Debian, Ubuntu: sudo apt-get install libsodium23. Fedora: sudo dnf install libsodium."
fi
say "ristretto255 comes from $library"

{
    printf 'root %s\n' "$root"
    printf 'lock %s\n' "$lock_sum"
} >"$stamp.new"
rm -f "$unfinished" "$env/first.txt" "$env/check.txt"
mv "$stamp.new" "$stamp"
say "ready: $("$env/bin/python" -V 2>&1) in .venv"
