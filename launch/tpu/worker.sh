#!/usr/bin/env bash
# What happens on a worker, in the unpacked checkout. launch/tpu.sh calls it over SSH; it can be
# called by hand as well, on a worker or on any machine.
#
#   worker.sh install EXTRAS              .venv with the package, at pinned versions
#   worker.sh fetch URL                   what lies below it into ~/sg4v-inputs, and its folders
#                                         (data/, checkpoints/) into the checkout
#   worker.sh run RUN [NAME=VALUE ...] -- ARGS    `sg4v ARGS`, detached from this connection
#   worker.sh busy                        whether any run is going on, as exit code
#   worker.sh status RUN                  one line: running PID, done CODE, lost or none
#   worker.sh stop RUN                    SIGTERM, and SIGKILL to what is left after two minutes
#   worker.sh log RUN LINES [follow]
#   worker.sh here URL -- ARGS            fetch, then `sg4v ARGS` in this process (GKE)
#   worker.sh export MODEL URL LAYOUT     PyTorch files, copied to a bucket
#
# A run's log, process number and exit code are in $SG4V_RUNS/RUN (~/sg4v-runs). ~/sg4v-env, lines
# NAME=VALUE, is added to its environment.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
runs=${SG4V_RUNS:-$HOME/sg4v-runs}
env_file=${SG4V_ENV:-$HOME/sg4v-env}
stop_seconds=${SG4V_STOP_SECONDS:-120}
uv=uv==0.9.9 # brings a Python where the system's is older than 3.11

do_install() {
  local python
  if ! python=$(find_python 2>/dev/null); then
    say "no Python 3.11 to 3.13 here: fetching one with uv"
    python3 -m pip install --user --quiet --disable-pip-version-check "$uv" ||
      die "pip could not fetch uv; install Python 3.12 by hand, then run this again"
    PATH=$HOME/.local/bin:$PATH
    uv python install --quiet 3.12 || die "uv could not fetch Python 3.12"
    python=$(uv python find 3.12)
  fi
  IFS=, read -r -a extras <<<"$1"
  make_venv "$root/.venv" "$python" "${extras[@]}"
  say "$(hostname): installed"
}

do_fetch() {
  local target=${SG4V_INPUTS:-$HOME/sg4v-inputs} folder
  mkdir -p "$target"
  if [[ $1 == gs://* ]] && command -v gcloud >/dev/null; then # copies what is new or changed
    gcloud storage rsync --recursive "${1%/}" "$target"
  else
    "$root/.venv/bin/python" - "$1" "$target" <<'PY'
import sys, fsspec
system, source = fsspec.core.url_to_fs(sys.argv[1])
system.get(source.rstrip("/") + "/", sys.argv[2] + "/", recursive=True)
PY
  fi
  for folder in "$target"/*/; do
    folder=${folder%/}
    [[ -d $folder && ! -e $root/${folder##*/} ]] || continue
    ln -s "$folder" "$root/${folder##*/}"
  done
  say "$(hostname): $1 is here"
}

do_here() {
  do_fetch "$1"
  cd "$root"
  exec .venv/bin/sg4v "${@:3}"
}

# holder RUN: prints the number of the process that holds the run, or fails.
holder() {
  local pid
  pid=$(cat "$runs/$1/pid" 2>/dev/null) || return 1
  # A number may be another process's by now.
  [[ $(ps -o args= -p "$pid" 2>/dev/null) == *"worker.sh hold $1 "* ]] || return 1
  echo "$pid"
}

# do_busy: whether any run is going on.
do_busy() {
  local folder
  for folder in "$runs"/*/; do
    if holder "$(basename "$folder")" >/dev/null; then return; fi
  done
  return 1
}

do_run() {
  local run=$1 pid
  if pid=$(holder "$run"); then
    say "$(hostname): $run is running already ($pid)"
    return
  fi
  mkdir -p "$runs/$run"
  rm -f "$runs/$run/code" "$runs/$run/child"
  # A session of its own: it ends neither with this shell nor with the connection.
  setsid nohup bash "${BASH_SOURCE[0]}" hold "$@" >>"$runs/$run/log" 2>&1 </dev/null &
  echo "$!" >"$runs/$run/pid"
  say "$(hostname): $run started ($!)"
}

# hold RUN [NAME=VALUE ...] -- ARGS: runs it and writes down how it ended.
do_hold() {
  local run=$1 line child code=0
  shift
  if [[ -r $env_file ]]; then
    while IFS= read -r line || [[ -n $line ]]; do
      [[ ! $line =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || export "${line?}"
    done <"$env_file"
  fi
  while [[ $1 != -- ]]; do
    export "${1?}"
    shift
  done
  shift
  cd "$root"
  "$root/.venv/bin/sg4v" "$@" &
  child=$!
  echo "$child" >"$runs/$run/child"
  wait "$child" || code=$?
  echo "$code" >"$runs/$run/code.new"
  mv "$runs/$run/code.new" "$runs/$run/code"
}

do_status() {
  local state pid
  if pid=$(holder "$1"); then
    state="running $pid"
  elif [[ -r $runs/$1/code ]]; then
    state="done $(cat "$runs/$1/code")"
  elif [[ -e $runs/$1/pid ]]; then
    state=lost
  else
    state=none
  fi
  echo "sg4v-status $(hostname) $state"
}

do_stop() {
  local pid waited asked=0
  pid=$(holder "$1") || {
    say "$(hostname): $1 is not running"
    return
  }
  # To the program alone: its data workers end when it has saved.
  for ((waited = 0; waited < stop_seconds; waited++)); do
    holder "$1" >/dev/null || break
    if [[ $asked == 0 ]] && kill -TERM "$(cat "$runs/$1/child" 2>/dev/null)" 2>/dev/null; then
      asked=1
    fi
    sleep 1
  done
  if holder "$1" >/dev/null; then
    say "$(hostname): $1 did not end within $stop_seconds s: killed"
    kill -KILL -- "-$pid" 2>/dev/null || true
  fi
  say "$(hostname): $1 stopped"
}

do_log() {
  [[ -r $runs/$1/log ]] || die "$(hostname): no run $1; there are: $(ls "$runs" 2>/dev/null)"
  if [[ ${3:-} == follow ]]; then
    exec tail -n "$2" -F "$runs/$1/log"
  fi
  tail -n "$2" "$runs/$1/log"
}

do_export() {
  local out
  out=$(mktemp -d "$HOME/sg4v-export.XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf '$out'" EXIT
  cd "$root"
  # The other hosts do not take part, so this one must not wait for their chips.
  JAX_PLATFORMS=cpu .venv/bin/sg4v convert export --model="$1" --out="$out/model" --layout="$3"
  .venv/bin/python - "$out/model" "$2" <<'PY'
import sys, fsspec
system, target = fsspec.core.url_to_fs(sys.argv[2])
system.put(sys.argv[1] + "/", target.rstrip("/") + "/", recursive=True)
PY
  say "exported to $2"
}

verb=${1:-}
case $verb in
  install | fetch | busy | run | here | hold | status | stop | log | export) ;;
  *) die "unknown verb ${verb:-(none)}; use install, fetch, busy, run, here, status, stop, log or export" ;;
esac
shift
"do_$verb" "$@"
