"""Runs and sweeps whose workdir is in a bucket, as on slices; the bucket is a server in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("gcsfs", reason="needs gcsfs: pip install -e '.[gcs]' -c constraints.txt")
sys.path.insert(0, os.path.dirname(__file__))
import fake_bucket

SWEEP = """

def sweep():
    for seed in (0, 1):
        yield {"run.seed": seed}
"""


@pytest.fixture(scope="module")
def bucket():
    with fake_bucket.serve() as served:
        yield served


@pytest.fixture
def sg4v(bucket, tiny):
    """Runs `sg4v WORDS` with that bucket for `gs://`."""
    env = tiny.environment() | {
        "STORAGE_EMULATOR_HOST": bucket.url,
        "TENSORSTORE_GCS_HTTP_URL": bucket.url,
        "NO_GCE_CHECK": "true",
    }

    def run(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "sg4v_jax", *map(str, words)]
        done = subprocess.run(
            command,
            cwd=tiny.folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def log(bucket, workdir: str) -> list[dict]:
    text = bucket.objects[f"{workdir}/metrics.jsonl"][1].decode()
    rows = [json.loads(line) for line in text.splitlines()]
    timed = lambda name: "seconds" in name or name.startswith("speed/")
    return [{k: v for k, v in row.items() if not timed(k)} for row in rows]


@pytest.mark.slow
def test_a_run_in_a_bucket_resumes_and_is_exported(bucket, sg4v, tiny, tmp_path):
    words = ("train", f"--config={tiny.config_file}", "--workdir=gs://bucket/run")
    words += ("--config.optim.steps=4", "--config.run.save_every=2")
    sg4v(*words)
    whole = log(bucket, "run")
    assert [row["step"] for row in whole] == [1, 2, 3, 4]
    for name in [n for n in bucket.objects if n.startswith("run/checkpoints/4/")]:
        del bucket.objects[name]
    assert "resume at step 2 of 4" in sg4v(*words).stdout
    assert log(bucket, "run") == whole
    sg4v("convert", "export", "--model=gs://bucket/run", f"--out={tmp_path}/hf", "--layout=hf")
    assert (tmp_path / "hf/model.safetensors").stat().st_size > 0
    assert not (tiny.folder / "gs:").exists(), "nothing went to a local folder of that name"


@pytest.mark.slow
def test_a_sweep_in_a_bucket(bucket, sg4v, tiny, tmp_path):
    config = tmp_path / "swept.py"
    config.write_text(tiny.config_file.read_text() + SWEEP)
    words = ("sweep", f"--config={config}", "--out=gs://bucket/sweep", "--config.optim.steps=1")
    sg4v(*words)
    rows = json.loads(bucket.objects["sweep/table.json"][1])
    assert [(row["workdir"], row["error"]) for row in rows] == [
        ("gs://bucket/sweep/run-0", None),
        ("gs://bucket/sweep/run-1", None),
    ]
    table = bucket.objects["sweep/table.csv"]
    sg4v(*words)
    assert bucket.objects["sweep/table.csv"][1] == table[1]
