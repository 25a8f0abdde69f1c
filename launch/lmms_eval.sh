#!/usr/bin/env bash
# Runs lmms-eval 0.7.3 with our models and tasks, in a virtual environment of its own (2.4 GB).
#
#   launch/lmms_eval.sh --model sg4v --model_args model=DIR --tasks sg4v_mvbench --batch_size 16
#   launch/lmms_eval.sh --tasks list          what there is
#   launch/lmms_eval.sh --test [ARGS]         our tests of the plug-in; ARGS go to pytest
#
# Our tasks read the benchmarks' own files where SG4V_TEMPCOMPASS_DIR, SG4V_MVBENCH_DIR and
# SG4V_VIDEOBENCH_DIR say; SG4V_JUDGE is as --judge of `sg4v eval score`. Several processes:
# PROCESSES=4 launch/lmms_eval.sh ... (each holds a model). $PYTHON names the Python to use.
#
# lmms-eval is installed without what it asks for: that would be 7 GB, and av below 16, where we
# need 18. What its video tasks import is in our extra [lmms-eval].
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

venv=$root/.venv-lmms-eval
python=$(find_python)
make_venv "$venv" "$python" lmms-eval dev
if [[ ! -d $(echo "$venv"/lib/python*/site-packages/lmms_eval) ]]; then
  say "installing lmms-eval"
  "$venv/bin/python" -m pip install --disable-pip-version-check --quiet --no-deps lmms-eval==0.7.3
fi
keep_compiled

if [[ ${1:-} == --test ]]; then
  shift
  cd "$root"
  exec "$venv/bin/python" -m pytest -q -n 0 tests/harness "$@"
fi

# The built-in tasks look for videos below $HF_HOME, some already when they are listed.
export HF_HOME=${HF_HOME:-$HOME/.cache/huggingface}
launcher=("$venv/bin/python")
if [[ ${PROCESSES:-1} != 1 ]]; then
  launcher=("$venv/bin/torchrun" --nproc_per_node "$PROCESSES" --no-python "$venv/bin/python")
  set -- --distributed_executor_backend torchrun "$@"
fi
exec "${launcher[@]}" -m lmms_eval --include_path "$root/sg4v_jax/harness/lmms_tasks" "$@"
