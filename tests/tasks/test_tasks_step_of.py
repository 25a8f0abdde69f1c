"""The step that trainer and plan share: one function, the same shapes and shardings."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from rich.console import Console

from sg4v_jax import sharding
from sg4v_jax.data.packing import Budget
from sg4v_jax.tasks import run_setup, step_of, video_sft
from sg4v_jax.train import loop

QUIET = Console(quiet=True)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_trainer_runs_what_is_planned(tiny, tmp_path, monkeypatch, accumulate):
    """What `sg4v train` hands to its loop is the program's step, state and batch, to the letter."""
    config = tiny.config()
    config.data.batch_rows, config.data.accumulate = 8 * accumulate, accumulate
    config.optim.steps = 1
    made, run = [], {}
    plain = step_of.build
    monkeypatch.setattr(step_of, "build", lambda *a, **k: made.append(plain(*a, **k)) or made[-1])

    def caught(current, *, step, batches, **rest):
        with_batches = batches(0)
        run.update(state=current, batch=next(with_batches), step=step)
        with_batches.close()

    monkeypatch.setattr(loop, "run", caught)
    video_sft.train(config, folder=str(tmp_path / "run"), console=QUIET)

    settings = run_setup.model_settings(config)
    skeleton, groups = step_of.parts(config, settings)
    mesh = sharding.make_mesh(dict(config.run.mesh))
    planned = plain(config, settings, skeleton=skeleton, groups=groups, mesh=mesh, steps=1)
    key = jax.eval_shape(lambda: jax.random.key(0))
    with jax.set_mesh(mesh):
        trained = made[0].step.lower(run["state"], run["batch"], key)
    assert planned.lower().as_text() == trained.as_text()  # arguments' shardings included
    assert len(made) == 1  # the trainer has no other step
    assert not hasattr(video_sft, "make_step")


def test_batches_have_the_shapes_of_the_loader(tiny):
    config = tiny.config()
    settings = run_setup.model_settings(config)
    rows = run_setup.build_rows(config, settings, console=QUIET)
    row = rows[0]
    data = config.data
    shapes = step_of.batch_shapes(
        Budget(data.positions, data.tiles, data.scored),
        rows=1,
        accumulate=1,
        side=settings.config.tower.image_size,
    )
    for name, shape in shapes._asdict().items():
        value = np.asarray(getattr(row, name))
        assert (shape.shape[1:], shape.dtype) == (value.shape, value.dtype), name


def test_accumulation_adds_an_axis():
    shapes = step_of.batch_shapes(Budget(2048, 1, 64), rows=128, accumulate=4, side=336)
    assert shapes.tiles.shape == (4, 32, 1, 336, 336, 3)
    assert shapes.targets.shape == (4, 32, 64)
