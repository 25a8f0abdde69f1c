# shellcheck shell=bash
# What the scripts of this folder share. Source it; it runs nothing by itself.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '== %s\n' "$*" >&2; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# python_fits COMMAND [SERIES]: whether it is a Python 3.11 to 3.13 (or of SERIES) with venv.
python_fits() {
  "$1" - "${2:-}" >/dev/null 2>&1 <<'PY'
import ensurepip, sys, venv
series = "%d.%d" % sys.version_info[:2]
sys.exit(series not in ([sys.argv[1]] if sys.argv[1] else ["3.11", "3.12", "3.13"]))
PY
}

# find_python: prints the Python to use: $PYTHON, the one that .venv has, or the first that fits.
find_python() {
  local candidate
  if [[ -n ${PYTHON:-} ]]; then
    python_fits "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.11 to 3.13 with venv and pip"
    echo "$PYTHON"
    return
  fi
  if [[ -e $root/.venv/.sg4v-installed && ! -e $root/.venv/.sg4v-unfinished ]] &&
    python_fits "$root/.venv/bin/python"; then
    echo "$root/.venv/bin/python"
    return
  fi
  for candidate in python3 python3.11 python3.12 python3.13 python; do
    if python_fits "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  die "no Python 3.11 to 3.13 with venv found; install one, or name it: PYTHON=/path/to/python $0"
}

# find_python_series SERIES: prints a Python of that series, also one that pyenv keeps, or fails.
find_python_series() {
  local candidate=python$1 version
  if ! python_fits "$candidate" "$1"; then
    command -v pyenv >/dev/null || return 1
    version=$(pyenv versions --bare | grep -E "^${1//./\\.}(\.|$)" | tail -n 1) || return 1
    candidate=$(pyenv prefix "$version" 2>/dev/null)/bin/python || return 1
    python_fits "$candidate" "$1" || return 1
  fi
  echo "$candidate"
}

version_of() { "$1" -c 'import sys; print(sys.version)'; }

# state_of PYTHON: a hash of all that decides what is installed.
state_of() {
  (cd "$root" && "$1" - "$root" setup.cfg setup.py pyproject.toml constraints.txt) <<'PY'
import hashlib, pathlib, sys
state = hashlib.sha256(repr((sys.version, sys.argv[1])).encode())
for name in sys.argv[2:]:
    state.update(pathlib.Path(name).read_bytes())
print(state.hexdigest())
PY
}

# make_venv FOLDER PYTHON EXTRA...: the package, editable, with its extras, at the pinned versions.
# Does nothing where all is there already. A folder whose making was cut short is made again.
make_venv() {
  local venv=$1 python=$2 extra state have missing=0
  shift 2
  local stamp=$venv/.sg4v-installed unfinished=$venv/.sg4v-unfinished
  local wanted=("$@") names
  state=$(state_of "$python")

  if [[ -e $unfinished ]] || { [[ -d $venv ]] && ! python_fits "$venv/bin/python"; }; then
    say "removing $venv: its making was cut short"
    rm -rf "$venv"
  elif [[ -d $venv && $(version_of "$python") != "$(version_of "$venv/bin/python")" ]]; then
    say "removing $venv: it has another Python"
    rm -rf "$venv"
  elif [[ -e $stamp ]]; then
    have=" $(tail -n 1 "$stamp") "
    for extra in "$@"; do
      [[ $have == *" $extra "* ]] || missing=1
    done
    if [[ $(head -n 1 "$stamp") == "$state" && $missing == 0 ]]; then
      return
    fi
    for extra in $have; do # keep what an earlier call asked for
      [[ " ${wanted[*]} " == *" $extra "* ]] || wanted+=("$extra")
    done
  fi

  mkdir -p "$venv"
  touch "$unfinished"
  if [[ ! -x $venv/bin/python ]]; then
    say "making $venv with $("$python" --version)"
    "$python" -m venv "$venv"
  fi
  names=$(IFS=,; echo "${wanted[*]}")
  say "installing sg4v_jax[$names] into $venv (a few minutes the first time)"
  local progress=(--quiet)
  [[ -t 2 ]] && progress=(--progress-bar on)
  if ! "$venv/bin/python" -m pip install --disable-pip-version-check "${progress[@]}" \
    --editable "${root}[$names]" --constraint "$root/constraints.txt"; then
    rm "$unfinished" # pip undoes what it cannot finish; only a killed pip leaves half a package
    die "installing failed (see above); run the same command again when it is mended"
  fi
  printf '%s\n%s\n' "$state" "${wanted[*]}" >"$stamp"
  rm "$unfinished"
}

# keep_compiled: programs that jax compiles are kept on disk, so that the next run starts sooner.
keep_compiled() {
  export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$root/.cache/jax}
  export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.5
}
