"""Real compiles for a TPU slice, without one: the 8B model's width with two layers, on v5e:2x2."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from sg4v_jax.chips import GIB

pytestmark = [pytest.mark.tpu_aot]

PROGRAM = pathlib.Path(__file__).with_name("aot.py")
ROOT = pathlib.Path(__file__).parents[2]
BUDGET = 4.0  # GiB of a chip
CASE = (
    "--config=configs/sft_8b_full_181k.py",
    "--config.model.preset=two-layers",
    "--config.optim.vocab_chunks=1",
    "--topology=v5e:2x2",
)


def run(*words) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XLA_FLAGS", "TPU_"))}
    return subprocess.run(
        [sys.executable, str(PROGRAM), "plan", *map(str, words)],
        check=False,
        cwd=ROOT,
        env=env | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=1800,
    )


def test_a_step_of_full_width_fits_within_its_budget(tmp_path):
    done = run(*CASE, "--synthetic=512x1", "--rows=4", f"--json={tmp_path / 'plan.json'}")
    assert done.returncode == 0, done.stderr
    plan = json.loads((tmp_path / "plan.json").read_text())
    memory, parts = plan["memory"], plan["memory"]["parts"]
    # Masters and two moments in f32, over four chips, to the byte but for padding.
    assert parts["slots"] == pytest.approx(2 * parts["trained"], rel=1e-3)
    assert memory["arguments"] == pytest.approx(sum(parts.values()), rel=0.02)
    assert memory["total"] < BUDGET * GIB
    kernels = plan["time"]["kernels"]
    assert any("fwd" in name for name in kernels)
    assert any("dkv" in name for name in kernels)
    assert 0 < plan["time"]["attention"] < plan["time"]["compute"]
    kinds = {c["kind"]: c for c in plan["time"]["collectives"]}
    gathers = kinds["all-gather"]
    assert gathers["overlapped"] > 0.7 * gathers["sent"]
    for words in ("compiled for, not run on, TPU", "fits:", "libtpu", "TFLOP"):
        assert words in done.stdout
    assert "optimal" not in done.stdout


def test_a_step_that_cannot_fit_exits_3_with_both_numbers():
    world = ("--config=configs/quickstart.py", "--topology=v5e:2x2", "--synthetic=512x1")
    done = run(*world, "--rows=1048576", "--remat=none")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "does not fit: the compiler needs" in done.stdout
    assert "and has 15.75 GiB" in done.stdout
    assert "to change: model.remat=full (now none); fewer rows at once" in done.stdout


def test_what_is_refused_exits_2_and_is_named():
    done = run(*CASE, "--synthetic=512x1", "--rows=4", "--flags=xla_tpu_no_such_flag=1")
    assert done.returncode == 2
    assert "refuses xla_tpu_no_such_flag=1" in done.stderr
    done = run(*CASE, "--synthetic=512x1", "--rows=6")
    assert done.returncode == 2
    assert "6 rows a step" in done.stderr
    assert "use 4 or 8 rows" in done.stderr
    done = run(*CASE, "--mesh=fsdp=3")
    assert done.returncode == 2
    assert "product is not the number of devices, 4" in done.stderr


FLAGS = """
import sys
from sg4v_jax.plan import topology
topology.prepare()
import jax, jax.numpy as jnp
from sg4v_jax import chips
for name, chip in chips.CHIPS.items():
    devices = topology.devices(topology.parse(sys.argv[1].replace("NAME", name)
                               if chip.dimensions == 2 else f"{name}:2x2x1"))
    mesh = jax.sharding.Mesh(devices, ("x",))
    where = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    x = jax.ShapeDtypeStruct((512, 512), jnp.bfloat16, sharding=where)
    jax.jit(lambda x: x @ x, compiler_options=dict(chip.flags)).lower(x).compile()
    print(name, devices[0].device_kind, chips.of_kind(devices[0].device_kind).name)
"""


def test_every_generation_takes_its_flags():
    done = subprocess.run(
        [sys.executable, "-c", FLAGS, "NAME:2x2"],
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert (
        [line[0] for line in lines] == [line[-1] for line in lines] == ["v4", "v5e", "v5p", "v6e"]
    )
