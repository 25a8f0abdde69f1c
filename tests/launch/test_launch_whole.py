"""A run on a slice that is preempted, with all commands really run on its one worker."""

from __future__ import annotations

import pathlib
import sys

LOCAL_CLOUD = pathlib.Path(__file__).with_name("local_cloud.py")
# Trains to step 4 in $BUCKET and saves each; the first slice is taken away at step 2.
SG4V = """#!/usr/bin/env bash
set -eu
mkdir -p "$BUCKET"
echo "start $* with $(cat data/a.json) and $HF_TOKEN" >>"$BUCKET/starts"
for ((step = $(cat "$BUCKET/step" 2>/dev/null || echo 0) + 1; step <= 4; step++)); do
  echo "$step" >"$BUCKET/step"
  if [[ $step == 2 && $(wc -l <"$BUCKET/starts") == 1 ]]; then
    echo SUSPENDED >"$STANDIN/state"
    sleep 60
  fi
done
"""
# Instead of pip: what it would leave.
MAKE_VENV = """
make_venv() {
  mkdir -p "$1/bin"
  cp "$STANDIN/sg4v" "$1/bin/sg4v"
  printf '#!/bin/sh\\nexec "$TEST_PYTHON" "$@"\\n' >"$1/bin/python"
  chmod +x "$1/bin/python"
  touch "$1/.sg4v-installed"
}
"""


def test_a_run_survives_the_loss_of_its_slice(cloud, tmp_path, monkeypatch):
    gcloud = tmp_path / "bin/gcloud"
    gcloud.write_text(f"#!{sys.executable}\n" + LOCAL_CLOUD.read_text())
    (tmp_path / "sg4v").write_text(SG4V)
    (tmp_path / "sg4v").chmod(0o755)
    (tmp_path / "inputs/data").mkdir(parents=True)
    (tmp_path / "inputs/data/a.json").write_text("[1]")
    (tmp_path / "secret.env").write_text("HF_TOKEN=hunter2\n")
    monkeypatch.setenv("BUCKET", str(tmp_path / "bucket"))
    monkeypatch.setenv("TEST_PYTHON", sys.executable)
    common = cloud.checkout / "launch/common.sh"
    kept = common.read_text()
    common.write_text(kept + MAKE_VENV)
    words = [f"--inputs=file://{tmp_path}/inputs", f"--env_file={tmp_path}/secret.env"]
    words += ["--accelerator=v6e-8", "--poll=1", "--", "--config.data.preamble=it's so"]
    try:
        done = cloud.run("watch", *words)
    finally:
        common.write_text(kept)
    assert done.returncode == 0, done.stdout + done.stderr
    starts = (tmp_path / "bucket/starts").read_text().splitlines()
    told = "train --config=configs/run.py --workdir=gs://bucket/runs/sft"
    assert starts == [f"start {told} --config.data.preamble=it's so with [1] and hunter2"] * 2
    assert (tmp_path / "bucket/step").read_text() == "4\n"
    verbs = (tmp_path / "verbs").read_text().split()
    assert verbs.count("create") == 2 and verbs.count("delete") == 1
    env_file = tmp_path / "worker/sg4v-env"
    assert env_file.stat().st_mode & 0o077 == 0, "nobody else may read it"
    assert "hunter2" not in done.stdout + done.stderr + cloud.log.read_text()
