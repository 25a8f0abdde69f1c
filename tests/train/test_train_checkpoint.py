"""Checkpoints are whole or not there; what is damaged or does not fit is said."""

from __future__ import annotations

import contextlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sg4v_jax import sharding
from sg4v_jax.errors import CheckpointError, StorageError
from sg4v_jax.train import state
from sg4v_jax.train.checkpoint import Checkpoints
from sg4v_jax.weights.store import load_params

# Where a load or a save fails, Orbax leaves coroutines behind that nobody awaits.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
GROUPS = {"llm.kernel": "all", "llm.bias": "all", "tower.kernel": "frozen"}
SHAPES = {"llm.kernel": (8, 4), "llm.bias": (4,), "tower.kernel": (3, 3)}
DATA = {"row": 6, "plan": "abc"}


def make_state(step: int, *, shapes=SHAPES) -> state.TrainState:
    """A state with a slot in use, told apart by its step; what is frozen is the same in all."""
    rng = {"all": np.random.default_rng(step), "frozen": np.random.default_rng(0)}
    flat = {
        p: jnp.asarray(rng[GROUPS[p]].standard_normal(s), jnp.float32) for p, s in shapes.items()
    }
    optimizer = optax.adam(1e-3)
    made = state.create(flat, groups=GROUPS, optimizer=optimizer)
    slots = optimizer.update(made.trained, made.slots, made.trained)[1]
    return made._replace(step=jnp.int32(step), slots=slots)


def abstract(like: state.TrainState) -> state.TrainState:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)


@pytest.fixture
def checkpoints(tmp_path):
    made = Checkpoints(tmp_path, keep=2)
    yield made
    made.close()


def saved(checkpoints: Checkpoints, step: int, *, data=DATA) -> state.TrainState:
    """Saves the state of `step` to the end."""
    made = make_state(step)
    checkpoints.save(made, data=data)
    checkpoints.wait()
    return made


def reopened(tmp_path) -> Checkpoints:
    """As a new process sees the folder."""
    return Checkpoints(tmp_path, keep=2)


@pytest.mark.smoke
def test_round_trip_of_parameters_slots_and_data_position(checkpoints, tmp_path):
    before = saved(checkpoints, 3)
    restored, data = reopened(tmp_path).restore(abstract(make_state(99)))
    assert data == DATA
    assert int(restored.step) == 3
    assert restored.frozen.keys() == {"tower.kernel"}
    assert jax.tree.structure(restored) == jax.tree.structure(before)
    jax.tree.map(np.testing.assert_array_equal, restored, before)
    assert int(restored.slots[0].count) == 1 and restored.slots[0].nu["llm.bias"].any()


def test_only_the_latest_are_kept(checkpoints, tmp_path):
    assert checkpoints.latest_step() is None
    for step in (2, 4, 6):
        saved(checkpoints, step)
        assert checkpoints.latest_step() == step
    names = {p.name for p in (tmp_path / "checkpoints").iterdir()}
    assert names == {"4", "6"}


def test_saving_a_step_again_changes_nothing(checkpoints, tmp_path):
    saved(checkpoints, 2)
    saved(checkpoints, 2, data={"row": 0, "plan": "other"})
    assert checkpoints.restore(abstract(make_state(0)))[1] == DATA


def test_nothing_to_restore(checkpoints):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoints.restore(abstract(make_state(0)))


def test_inference_reads_the_parameters_on_one_device(checkpoints, tmp_path):
    """Also where training used eight."""
    mesh = sharding.make_mesh({"fsdp": -1})
    made = make_state(3)
    spec = sharding.sharding_for(("embed", "ffn"), shape=(8, 4), mesh=mesh)
    made.trained["llm.kernel"] = jax.device_put(made.trained["llm.kernel"], spec)
    checkpoints.save(made, data=DATA)
    checkpoints.wait()
    params = load_params(tmp_path)
    assert params.keys() == SHAPES.keys()
    for path, value in params.items():
        np.testing.assert_array_equal(value, made.params()[path])
        assert len(value.devices()) == 1


def test_a_folder_that_was_never_named_is_not_a_checkpoint(checkpoints, tmp_path):
    """Orbax names a folder when all is in it; what a kill left under another name is in no way."""
    saved(checkpoints, 2)
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "2", folder / "4.orbax-checkpoint-tmp")
    (folder / "4.orbax-checkpoint-tmp" / "_CHECKPOINT_METADATA").unlink()
    again = reopened(tmp_path)
    assert again.latest_step() == 2
    saved(again, 4)
    assert int(reopened(tmp_path).restore(abstract(make_state(0)))[0].step) == 4


def test_a_checkpoint_without_its_data_position_is_damaged(checkpoints, tmp_path):
    """Going on without it could read other rows unseen."""
    saved(checkpoints, 4)
    (tmp_path / "checkpoints" / "4" / "_CHECKPOINT_METADATA").unlink()
    with pytest.raises(CheckpointError, match="step 4 is damaged"):
        reopened(tmp_path).restore(abstract(make_state(0)))


@pytest.mark.parametrize("part", ["trained", "optimizer"])
def test_a_damaged_part_is_named_with_the_way_back(checkpoints, tmp_path, part):
    for step in (2, 4):
        saved(checkpoints, step)
    shutil.rmtree(tmp_path / "checkpoints" / "4" / part)
    with pytest.raises(CheckpointError, match="step 4") as error:
        reopened(tmp_path).restore(abstract(make_state(0)))
    assert "remove that step's folder" in error.value.mend

    shutil.rmtree(tmp_path / "checkpoints" / "4")
    assert int(reopened(tmp_path).restore(abstract(make_state(0)))[0].step) == 2


@pytest.mark.parametrize("folder", ["checkpoints/4/trained", "frozen"])
def test_a_lost_data_file_is_an_error_not_zeros(checkpoints, tmp_path, folder):
    saved(checkpoints, 4)
    for file in (tmp_path / folder).rglob("d/*"):
        file.unlink()
    with pytest.raises(CheckpointError, match="step 4"):
        reopened(tmp_path).restore(abstract(make_state(0)))
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_params(tmp_path)


def test_parameters_of_another_model_do_not_fit(checkpoints):
    saved(checkpoints, 2)
    wider = make_state(0, shapes=SHAPES | {"llm.kernel": (8, 5)})
    with pytest.raises(CheckpointError, match="does not fit"):
        checkpoints.restore(abstract(wider))


def test_a_full_disk_names_the_step_that_is_left(tmp_path, small_disk):
    """The save fails in the background; whoever comes next is told."""
    first = Checkpoints(tmp_path)
    with small_disk(200), pytest.raises(StorageError, match="none was saved yet"):
        saved(first, 2)
    with contextlib.suppress(StorageError):  # as a run does at its end
        first.close()
    again = Checkpoints(tmp_path, keep=1)
    saved(again, 2)
    with small_disk(200):
        again.save(make_state(4), data=DATA)
        with pytest.raises(StorageError, match="saving step 4 .*; step 2 is still usable"):
            again.save(make_state(6), data=DATA)
    assert again.latest_step() == 2
    saved(again, 6)
    restored, _ = reopened(tmp_path).restore(abstract(make_state(0)))
    jax.tree.map(np.testing.assert_array_equal, restored, make_state(6))
