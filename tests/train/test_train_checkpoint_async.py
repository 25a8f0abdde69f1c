"""Saves in the background: what is written is the state as it was, and frozen parts once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sg4v_jax import sharding
from sg4v_jax.errors import CheckpointError
from sg4v_jax.train import state
from sg4v_jax.train.checkpoint import Checkpoints
from sg4v_jax.weights.store import load_params

DATA = {"row": 6, "plan": "abc"}
GROUPS = {"llm.kernel": "all", "tower.kernel": "frozen"}


def make_state(*, devices: int, size: int, seed: int = 0) -> state.TrainState:
    """Random numbers split over a mesh, at step 1; the optimizer has moved once."""
    mesh = sharding.make_mesh({"fsdp": devices}, devices=jax.devices()[:devices])
    rng = np.random.default_rng(seed)
    split = jax.NamedSharding(mesh, jax.sharding.PartitionSpec("fsdp"))
    flat = {p: jax.device_put(rng.standard_normal((8, size), np.float32), split) for p in GROUPS}
    optimizer = optax.adam(1e-3)
    made = state.create(flat, groups=GROUPS, optimizer=optimizer)
    slots = optimizer.update(made.trained, made.slots, made.trained)[1]
    return jax.block_until_ready(made._replace(step=jnp.int32(1), slots=slots))


def _change(current: state.TrainState) -> state.TrainState:
    trained = jax.tree.map(lambda x: -2 * x - 1, current.trained)
    slots = jax.tree.map(lambda x: x + 1, current.slots)
    return state.TrainState(current.step + 1, trained, current.frozen, slots)


donating_step = jax.jit(_change, donate_argnums=0)


def numbers(tree):
    """A copy that no step can reach."""
    return jax.tree.map(lambda x: np.array(x, copy=True), tree)


def abstract(like: state.TrainState) -> state.TrainState:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)


@pytest.mark.parametrize("devices", [1, 8])
def test_steps_that_donate_do_not_reach_into_a_save(tmp_path, devices):
    """Steps go on at once; the second save writes buffers that came out of such steps."""
    given = make_state(devices=devices, size=16)
    donating_step(given)
    assert given.trained["llm.kernel"].is_deleted(), "this backend must donate at all"

    current, want = make_state(devices=devices, size=1 << 18), {}
    checkpoints = Checkpoints(tmp_path, keep=9)
    for _ in range(2):
        want[int(current.step)] = numbers(current)
        checkpoints.save(current, data=DATA)
        for _ in range(3):
            current = donating_step(current)
        jax.block_until_ready(current)
    checkpoints.wait()

    restored, _ = checkpoints.restore(abstract(current))
    assert sorted(want) == [1, 4] and int(restored.step) == 4
    jax.tree.map(np.testing.assert_array_equal, numbers(restored), want[4])
    first = load_params(tmp_path, step=1)
    np.testing.assert_array_equal(first["llm.kernel"], want[1].trained["llm.kernel"])
    checkpoints.close()


def test_frozen_parameters_are_written_once(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    current = make_state(devices=1, size=1 << 12)
    frozen_bytes = current.frozen["tower.kernel"].nbytes
    checkpoints.save(current, data=DATA)
    checkpoints.wait()
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "frozen").rglob("*") if p.is_file()}
    for _ in range(2):
        current = donating_step(current)
        checkpoints.save(current, data=DATA)
        checkpoints.wait()
    again = {p: p.stat().st_mtime_ns for p in (tmp_path / "frozen").rglob("*") if p.is_file()}
    assert written and again == written
    assert sum(p.stat().st_size for p in written) > 0.8 * frozen_bytes
    assert {p.name for p in (tmp_path / "checkpoints" / "3").iterdir() if p.is_dir()} == {
        "trained",
        "optimizer",
    }
    saved = sum(p.stat().st_size for p in (tmp_path / "checkpoints" / "3").rglob("*"))
    trained_bytes = 3 * current.trained["llm.kernel"].nbytes  # and two moments
    assert saved < trained_bytes + 0.5 * frozen_bytes
    checkpoints.close()


def test_a_start_that_was_killed_before_its_first_step_leaves_no_frozen_part(tmp_path):
    """Neither a whole one of other weights, nor half of one."""
    other = Checkpoints(tmp_path)
    other.save(make_state(devices=1, size=16, seed=5), data=DATA)
    other.close()
    for path in sorted((tmp_path / "checkpoints").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    half = tmp_path / "frozen.orbax-checkpoint-tmp"
    half.mkdir()
    checkpoints = Checkpoints(tmp_path)
    current = make_state(devices=1, size=16)
    checkpoints.save(current, data=DATA)
    restored, _ = checkpoints.restore(abstract(current))
    jax.tree.map(np.testing.assert_array_equal, numbers(restored), numbers(current))
    assert not half.exists()
    checkpoints.close()


def test_checkpoints_without_their_frozen_part(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    current = make_state(devices=1, size=16)
    checkpoints.save(current, data=DATA)
    checkpoints.close()
    (tmp_path / "frozen").rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="leave 1 frozen parameters") as error:
        load_params(tmp_path)
    assert "copy frozen/" in error.value.mend
    with pytest.raises(CheckpointError, match="leave 1 frozen parameters"):
        Checkpoints(tmp_path).restore(abstract(current))


def test_another_split_into_frozen_and_trained_does_not_fit(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    current = make_state(devices=1, size=16)
    checkpoints.save(current, data=DATA)
    with pytest.raises(CheckpointError, match="1 parameters are frozen there, 0 here"):
        checkpoints.restore(abstract(current._replace(frozen={})))
    checkpoints.close()
