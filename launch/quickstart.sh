#!/usr/bin/env bash
# From a bare checkout to a trained small model and its report.
#
#   launch/quickstart.sh                 train, answer, write runs/quickstart/report.html
#   launch/quickstart.sh --answer_only   answer with the base model that the package ships
#
# Other flags go to `sg4v quickstart`. $PYTHON names the Python to use (3.11 to 3.13).
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

python=$(find_python)
make_venv "$root/.venv" "$python" dev
keep_compiled
exec "$root/.venv/bin/sg4v" quickstart --out="$root/runs/quickstart" \
  --clip="$root/tests/data/clips/wan21_fox_tracking_shot.mp4" "$@"
