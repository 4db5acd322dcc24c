#!/usr/bin/env bash
# Installs crpbot-runtime for this user, or upgrades it: the same command, and what fails leaves the version of before.
#
#   bash install.sh [WHEEL]
#
# `make runtime-wheel` puts this script, the wheel, its constraints and the unit into one folder to copy to the host.
set -euo pipefail
umask 077

usage() {
  cat <<'TEXT'
usage: install.sh [WHEEL] [options]

  WHEEL                crpbot_runtime-*.whl (default: the only one beside this script)
  --folder DIR         the host folder: code, releases, state, logs (default: ~/crpbot-runtime)
  --extras A,B         also install exchange (live bars from an exchange, by ccxt), slack (signals to Slack) or
                       parquet (replays of *.parquet)
  --constraints FILE   exact versions (default: constraints.txt beside this script)
  --python COMMAND     Python 3.11 or newer with venv (default: python3)
  --without-service    leave systemd alone; another service manager runs it
  --allow-root         install for root, as in a container; a trading host has a user for it

Releases come by `crpbot deploy` from the training machine; nothing is started before there is a configuration.
TEXT
}

fail() { # subject and fact, remedy
  printf 'install.sh: %s\n  %s\n' "$1" "$2" >&2
  exit 2
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
wheel='' folder="$HOME/crpbot-runtime" extras='' constraints="$here/constraints.txt" python=python3 without_service='' allow_root=''
while [ $# -gt 0 ]; do
  case $1 in
    --folder | --extras | --constraints | --python)
      [ $# -ge 2 ] || fail "$1 needs a value." 'See install.sh --help.'
      declare "${1#--}=$2"
      shift 2
      ;;
    --without-service) without_service=yes && shift ;;
    --allow-root) allow_root=yes && shift ;;
    -h | --help) usage && exit 0 ;;
    -*) fail "$1 is not an option." 'See install.sh --help.' ;;
    *)
      [ -z "$wheel" ] || fail "$1 is one wheel too many." 'See install.sh --help.'
      wheel=$1
      shift
      ;;
  esac
done

# What can be refused is refused before anything is written.
if [ "$(id -u)" = 0 ] && [ -z "$allow_root" ]; then
  fail 'this is root.' 'Run it as the user that shall run the service; in a container add --allow-root.'
fi
if [ -z "$wheel" ]; then
  found=("$here"/crpbot_runtime-*.whl)
  [ ${#found[@]} = 1 ] || fail "$here holds more than one crpbot_runtime-*.whl." 'Name one of them.'
  wheel=${found[0]}
fi
[ -f "$wheel" ] || fail "$wheel: no such file." 'Name the wheel; make runtime-wheel builds it on the training machine.'
case ${wheel##*/} in
  crpbot_runtime-*-py3-none-any.whl) ;;
  *) fail "$wheel is no wheel of crpbot-runtime." 'Name crpbot_runtime-VERSION-py3-none-any.whl.' ;;
esac
[ -f "$constraints" ] || fail "$constraints: no such file." 'Copy constraints.txt along with the wheel, or name it: --constraints FILE.'
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
case $folder in
  *[!A-Za-z0-9/._-]*) fail "$folder: a unit of systemd cannot name this path." 'Choose one of letters, digits, dots and dashes.' ;;
esac
"$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
  fail "$python is no Python 3.11 or newer with venv." 'Install one (apt-get install python3-venv), or name it: --python COMMAND.'

mkdir -p "$folder"
chmod 700 "$folder"
exec 9>"$folder/.install.lock"
flock --nonblock 9 || fail "$folder: another installation is at work." 'Wait for its end.'
for part in releases current shadow holds state logs candles incoming; do
  mkdir -p "$folder/$part"
  chmod 700 "$folder/$part"
done

# Each build of the wheel gets an environment of its own, complete before anything points at it.
version=${wheel##*/crpbot_runtime-}
version=${version%%-*}
content=$(sha256sum "$wheel" "$constraints" | cut -d' ' -f1 | sha256sum | cut -c1-12)
fresh=venv-$version-$content${extras:+-${extras//,/-}}
before=$(readlink "$folder/venv" || true)
if [ ! -e "$folder/$fresh/.complete" ]; then
  rm -rf "${folder:?}/$fresh"
  trap 'rm -rf "${folder:?}/$fresh"; echo "install.sh: nothing was changed: ${before:-nothing} stays installed" >&2' EXIT
  echo "installing crpbot-runtime $version (a minute or two) ..."
  "$python" -m venv "$folder/$fresh"
  "$folder/$fresh/bin/python" -m pip --disable-pip-version-check install --quiet --constraint "$constraints" \
    "$(realpath "$wheel")${extras:+[$extras]}"
  # -I: not what lies in the working directory. Compiled now, or the first start would outlast the time in which a deployment wants to see the runtime healthy.
  "$folder/$fresh/bin/python" -I -m models_lib.runtime.warm
  "$folder/$fresh/bin/crpbot-runtime" --help >/dev/null
  touch "$folder/$fresh/.complete"
  trap - EXIT
fi
# A deployment runs from this environment and watches the runtime: switch and restart are not for its time.
exec 8>>"$folder/lock"
if ! flock --nonblock 8; then
  echo 'a deployment is at work on this host; waiting for its end ...'
  flock 8
fi
if [ "$before" != "$fresh" ]; then
  ln -s "$fresh" "$folder/.venv.$$"
  mv -T "$folder/.venv.$$" "$folder/venv"
  # This one and the one before stay; a way back costs no download.
  for old in "$folder"/venv-*; do
    case ${old##*/} in "$fresh" | "$before") ;; *) rm -rf "$old" ;; esac
  done
fi

if [ ! -e "$folder/runtime.yaml" ] && [ -f "$here/runtime.yaml" ]; then
  cp "$here/runtime.yaml" "$folder/runtime.yaml"
fi

start="$folder/venv/bin/crpbot-runtime --mode live --folder $folder"
if [ -z "$without_service" ] && systemctl --user show-environment >/dev/null 2>&1; then
  units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
  mkdir -p "$units"
  sed "s|%h/crpbot-runtime|$folder|g" "$here/crpbot-runtime.service" >"$units/.crpbot-runtime.$$"
  mv "$units/.crpbot-runtime.$$" "$units/crpbot-runtime.service"
  systemctl --user daemon-reload
  systemctl --user enable --quiet crpbot-runtime.service
  systemctl --user try-restart crpbot-runtime.service
  start='systemctl --user start crpbot-runtime'
  lasting="loginctl enable-linger $(id -un)    # once, or it ends when you log out"
fi
exec 8>&-
echo "crpbot-runtime $version is installed in $folder."
if [ -n "$before" ] && [ "$before" != "$fresh" ]; then
  echo "The way back: ln -sfn $before $folder/venv, and a restart."
fi
cat <<TEXT
What remains:
  $folder/runtime.yaml    say where candles come from, and what may be risked
  $folder/secrets.env     CRPBOT_SLACK_WEBHOOK_URL=..., if signals shall go to Slack
${lasting:+  $lasting
}  $start
TEXT
