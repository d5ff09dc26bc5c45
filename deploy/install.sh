#!/bin/sh
# Installs Candor from the folder that this file is in: sudo sh install.sh
#
#   --prefix DIR      where the program goes; root: /opt/candor, others: ~/.local/share/candor
#   --bin DIR         where the commands go; root: /usr/local/bin, others: ~/.local/bin
#   --state DIR       where nodes and hubs live; root: /var/lib, others: ~/.local/state
#   --python PATH     the interpreter, of the version that this bundle is for (the file PYTHON says which)
#   --with-extras     object storage and traces too, in a bundle that has their wheels
#   --no-service      neither users nor systemd units
#
# The environment may say the same: CANDOR_PREFIX, CANDOR_BIN, CANDOR_STATE, CANDOR_SERVICE=no.
#
# Rules of this file:
# - nothing is fetched, and no wheel is taken whose SHA-256 is not the one that requirements.txt names;
# - a version goes into a folder of its own and becomes the current one in one step, the link DIR/current; so an
#   upgrade that failed changed nothing, and `ln -sfn DIR/<older> DIR/current` takes one back;
# - what holds keys or records is neither made nor touched here: `candor-node join` and `candor-hub init` do that.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
version=$(cat "$here/VERSION")
wanted=$(cat "$here/PYTHON")
root=no
[ "$(id -u)" != 0 ] || root=yes
prefix=${CANDOR_PREFIX:-} bin=${CANDOR_BIN:-} state=${CANDOR_STATE:-} service=${CANDOR_SERVICE:-$root}
python= requirements=requirements.txt

say() { printf 'install: %s\n' "$*"; }
die() {
    printf 'install: %s\n' "$@" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=${2:?--prefix needs a folder} && shift ;;
        --bin) bin=${2:?--bin needs a folder} && shift ;;
        --state) state=${2:?--state needs a folder} && shift ;;
        --python) python=${2:?--python needs a path} && shift ;;
        --with-extras) requirements=requirements-extras.txt ;;
        --no-service) service=no ;;
        *) die "There is no option $1; the head of install.sh says which there are." ;;
    esac
    shift
done
if [ $root = yes ]; then
    : "${prefix:=/opt/candor}" "${bin:=/usr/local/bin}" "${state:=/var/lib}"
else
    : "${prefix:=$HOME/.local/share/candor}" "${bin:=$HOME/.local/bin}" "${state:=$HOME/.local/state}"
fi
for folder in "$prefix" "$bin" "$state"; do
    case $folder in /*) ;; *) die "$folder is to be a whole path, from the first / on." ;; esac
    # What is written into commands and units must mean there what it means here.
    case $folder in *[!A-Za-z0-9._/+@-]*) die "$folder has letters in it that a unit of systemd would not read." ;; esac
done

fits() { [ "$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$wanted" ]; }
if [ -z "$python" ]; then
    for candidate in "python$wanted" python3; do
        if fits "$candidate"; then python=$candidate && break; fi
    done
    [ -n "$python" ] || die "This bundle is for Python $wanted, which is not here." \
        "Debian, Ubuntu: apt-get install python3. With another Python, get the bundle that is for it."
fi
fits "$python" || die "$python is not Python $wanted, for which this bundle was made."

# --- the program ----------------------------------------------------------------------------------------

place=$prefix/$version
new=$prefix/.$version.new
umask 022
mkdir -p "$prefix" "$bin"
rm -rf "$new"
trap 'rm -rf "$new"' EXIT
# Without pip, which Debian ships apart: the one of the bundle is used, out of its wheel.
"$python" -m venv --without-pip "$new"
say "installing $version into $place"
(
    cd "$here"
    # -I: neither the caller's folder nor the environment says what is imported.
    PIP_CONFIG_FILE=/dev/null "$new/bin/python" -I "$(echo wheels/pip-*.whl)/pip" install --quiet --no-index --no-deps \
        --require-hashes --only-binary :all: --disable-pip-version-check --no-warn-script-location \
        --root-user-action ignore --requirement $requirements
) || die "The wheels could not be installed; what was installed before is as it was."
# What an installation most often lacks: a wheel with C code for this machine, or the curve library.
starts='import candor_hub.driver, candor_node.driver, candor_proto.sodium, grpc, importlib.metadata
candor_proto.sodium.curve()
print(importlib.metadata.version("candor-exchange"))'
[ "$("$new/bin/python" -I -c "$starts")" = "$version" ] ||
    die "What was installed does not start here, see above; what was installed before is as it was."

mkdir -p "$new/share/doc"
cp "$here/LICENSE" "$here/NOTICE" "$here/CHANGELOG.md" "$here/operations.md" "$new/share/doc"

# A virtual environment names its own folder in its commands.
find "$new/bin" -type f -exec grep -lI -e "$new" {} + | while IFS= read -r file; do
    sed -i "s|$new|$place|g" "$file"
done
rm -rf "$prefix/.$version.old"
[ ! -e "$place" ] || mv "$place" "$prefix/.$version.old"
mv "$new" "$place"
rm -rf "$prefix/.$version.old"
ln -sfn "$version" "$prefix/.current.new" && mv -T "$prefix/.current.new" "$prefix/current"

# --- the commands ---------------------------------------------------------------------------------------

wrapper() { # name, what goes before the command
    {
        echo '#!/bin/sh'
        echo "# Written by install.sh of Candor."
        [ -z "$2" ] || echo "$2"
        echo "exec $prefix/current/bin/$1 \"\$@\""
    } >"$bin/.$1.new"
    chmod 755 "$bin/.$1.new"
    mv "$bin/.$1.new" "$bin/$1"
}
wrapper candor-node ": \"\${CANDOR_NODE_CONFIG:=$state/candor-node/node.toml}\"; export CANDOR_NODE_CONFIG"
wrapper candor-hub ": \"\${CANDOR_HUB_CONFIG:=$state/candor-hub/hub.toml}\"; export CANDOR_HUB_CONFIG"
wrapper candor-certs ""
wrapper candor-verify ""

# --- users, folders, units ------------------------------------------------------------------------------

if [ $service = yes ]; then
    for name in candor-node candor-hub candor-witness; do
        id "$name" >/dev/null 2>&1 ||
            useradd --system --user-group --no-create-home --home-dir "$state/$name" \
                --shell /usr/sbin/nologin "$name"
        [ -d "$state/$name" ] || install -d -m 0700 -o "$name" -g "$name" "$state/$name"
    done
    mkdir -p /etc/systemd/system
    for unit in "$here"/systemd/*.service; do
        sed -e "s|/opt/candor/|$prefix/|g" -e "s|/var/lib/|$state/|g" "$unit" >"/etc/systemd/system/${unit##*/}"
    done
    if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
else
    mkdir -p "$state/candor-node" "$state/candor-hub"
    chmod 700 "$state/candor-node" "$state/candor-hub"
fi

say "done: candor-node, candor-hub, candor-certs and candor-verify $version are in $bin"
case ":$PATH:" in *":$bin:"*) ;; *) say "put $bin into your PATH" ;; esac
say "an agency goes on with: ${SUDO_USER:+sudo }candor-node join INVITATION"
