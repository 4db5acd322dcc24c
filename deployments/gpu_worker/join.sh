#!/usr/bin/env bash
# Makes a bare Ubuntu or Debian machine a worker of the `gpu` pool, which switches itself off when it has no work.
#
#   export PREFECT_API_URL=http://SERVER:4200/api CRPBOT_HOME=/mnt/crpbot
#   bash join.sh --project WHEEL_FOLDER_OR_URL [--service] [-- OPTIONS OF flows.gpu_worker]
#
# Run again, it does again only what is missing. What belongs to a run (code, pins) comes from --project; results travel
# through CRPBOT_HOME, a folder that the server's machine and this one both see under the same path.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: join.sh --project PROJECT [options] [-- WORKER OPTIONS]

  --project PROJECT    wheel, folder or git+https://... URL of crpbot-training; what pip can install
  --constraints FILE   exact versions (default: constraints.txt in PROJECT, or two folders above this script)
  --venv DIR           virtual environment, made when missing (default: ~/crpbot-gpu)
  --service            run as a systemd service that starts with the machine, instead of in the foreground (root)
  --without-gpu        join although nvidia-smi finds no GPU

The environment must hold PREFECT_API_URL (the server) and CRPBOT_HOME (the shared folder); PREFECT_API_KEY,
PREFECT_API_AUTH_STRING and CRPBOT_* are handed on to the service, in a file that only root may read.

WORKER OPTIONS after `--`: --idle-minutes N, --hard-limit-hours H, --switch-off "COMMAND", --switch-off-on-stop,
--pool NAME; `python -m flows.gpu_worker --help` explains them.
TEXT
}

fail() { # subject and fact, remedy
  printf 'join.sh: %s\n  %s\n' "$1" "$2" >&2
  exit 2
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project='' constraints='' venv="$HOME/crpbot-gpu" service='' without_gpu=''
while [ $# -gt 0 ]; do
  case $1 in
    --project | --constraints | --venv)
      [ $# -ge 2 ] || fail "$1 needs a value." 'See join.sh --help.'
      declare "${1#--}=$2"
      shift 2
      ;;
    --service) service=yes && shift ;;
    --without-gpu) without_gpu=yes && shift ;;
    --) shift && break ;;
    -h | --help) usage && exit 0 ;;
    *) fail "$1 is not an option." 'See join.sh --help; options of the worker follow after --.' ;;
  esac
done
worker_options=("$@")

# What can be refused is refused before anything is installed.
[ -n "$project" ] || fail '--project is missing.' 'Name a wheel, a folder or a git+https://... URL.'
[ -n "${PREFECT_API_URL:-}" ] || fail 'PREFECT_API_URL is not set.' 'Export the server'"'"'s address: http://SERVER:4200/api'
[ -n "${CRPBOT_HOME:-}" ] || fail 'CRPBOT_HOME is not set.' 'Mount the shared folder and export its path, the same as on the server.'
case $CRPBOT_HOME in /*) ;; *) fail "CRPBOT_HOME=$CRPBOT_HOME is no whole path." 'Both machines must see it under one path: /mnt/crpbot, say.' ;; esac
probe="$CRPBOT_HOME/.write-probe-$$"
{ : >"$probe" && rm "$probe"; } 2>/dev/null ||
  fail "CRPBOT_HOME=$CRPBOT_HOME cannot be written." 'Mount the shared folder, and let this user write there.'
if [ -z "$without_gpu" ]; then
  nvidia-smi --list-gpus 2>/dev/null | grep -q . ||
    fail 'nvidia-smi finds no GPU.' 'Install the driver (apt-get install nvidia-driver-...), or join with --without-gpu.'
fi
if [ -n "$service" ]; then
  [ "$(id -u)" = 0 ] || fail '--service needs root.' 'Run it as root, or in the foreground without --service.'
  [ -d /run/systemd/system ] || fail '--service needs systemd, which does not run here.' 'Run it in the foreground.'
fi
if [ "$(id -u)" != 0 ]; then
  case " ${worker_options[*]-} " in
    *' --switch-off '* | *' --switch-off='*) ;;
    *) fail 'only root may switch a machine off with systemctl poweroff.' 'Run as root, or add: -- --switch-off "sudo -n systemctl poweroff"' ;;
  esac
fi

# A Python of at least 3.11 that can make virtual environments; installed where the distribution has one.
new_enough() { "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
find_python() {
  local name
  for name in python3 python3.13 python3.12 python3.11; do
    if new_enough "$name"; then
      python=$name
      return 0
    fi
  done
  return 1
}
install_packages() {
  [ "$(id -u)" = 0 ] || fail "$* must be installed." "Once, as root: apt-get install $*"
  apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@"
}
python=''
if [ ! -x "$venv/bin/python" ]; then
  find_python || install_packages python3 python3-venv
  find_python || install_packages python3.11 python3.11-venv
  find_python || fail 'no Python 3.11 or newer is to be had here.' 'Use Debian 12, Ubuntu 24.04 or newer, or install one.'
  "$python" -m venv "$venv"
fi
case $project in
  git+*) command -v git >/dev/null || install_packages git ca-certificates ;;
esac

# The server, asked with what is there already.
"$venv/bin/python" - <<'PYTHON' || fail "PREFECT_API_URL=$PREFECT_API_URL: no Prefect server answers there." 'Start it, open its port to this machine (a VPN or an SSH tunnel, not the internet), and try again.'
import os, sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(os.environ["PREFECT_API_URL"].rstrip("/") + "/health", timeout=15)
except urllib.error.HTTPError:
    pass  # it answers, and wants to know who asks
except (OSError, ValueError):
    sys.exit(1)
PYTHON

for file in "$project/constraints.txt" "$here/../../constraints.txt"; do
  if [ -z "$constraints" ] && [ -f "$file" ]; then constraints=$file; fi
done
if [ -n "$constraints" ]; then
  [ -f "$constraints" ] || fail "$constraints: no such file." 'Name the constraints.txt of the project.'
  PIP_CONSTRAINT=$(realpath "$constraints")
  export PIP_CONSTRAINT
else
  echo 'join.sh: no constraints.txt; versions may differ from those of the server (--constraints FILE)' >&2
fi
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet "$project"
if [ -z "$without_gpu" ]; then
  "$venv/bin/python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
    fail 'torch does not see the GPU that nvidia-smi lists.' 'The driver may be too old for this torch; update it and reboot.'
fi

start=("$venv/bin/python" -m flows.gpu_worker "${worker_options[@]}")
"${start[@]}" --check || exit 2
if [ -z "$service" ]; then
  cd "$CRPBOT_HOME"
  exec "${start[@]}"
fi

# The service. The order and the secrets lie in files that only root may read; the unit names no secret.
settings=/etc/crpbot-gpu-worker
install -d -m 700 "$settings"
(
  umask 077
  {
    echo '#!/usr/bin/env bash'
    while IFS= read -r name; do
      case $name in
        PREFECT_API_URL | PREFECT_API_KEY | PREFECT_API_AUTH_STRING | CRPBOT_*) printf 'export %s=%q\n' "$name" "${!name}" ;;
      esac
    done < <(compgen -e)
    printf 'cd %q\nexec' "$CRPBOT_HOME"
    printf ' %q' "${start[@]}" --joined-file /run/crpbot-gpu-worker/joined
    echo
  } >"$settings/start"
)
cat >/etc/systemd/system/crpbot-gpu-worker.service <<'UNIT'
[Unit]
Description=crpbot: worker of the gpu pool, which switches this machine off when it is idle
Wants=network-online.target
After=network-online.target remote-fs.target
StartLimitIntervalSec=0

[Service]
ExecStart=/bin/bash /etc/crpbot-gpu-worker/start
# What a killed watcher leaves is ended before it starts again; it does not start again after an orderly end.
Restart=on-failure
RestartSec=5
KillMode=mixed
TimeoutStopSec=120
# A training that runs out of memory must not take the watcher along.
OOMPolicy=continue
# When the machine joined, kept over restarts of the watcher, not over reboots.
RuntimeDirectory=crpbot-gpu-worker
RuntimeDirectoryPreserve=yes

[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --now crpbot-gpu-worker.service
echo 'crpbot-gpu-worker runs. Its log: journalctl -fu crpbot-gpu-worker'
