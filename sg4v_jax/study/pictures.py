"""Pictures of the study, as PNG files: clips as grids of frames, and contact sheets of stills.

    train-17.png    16 frames of 24 px in a 4x4 grid, 96 px a side: what the arms see
    train-17/       the same frames one by one, for the path without a grid
    sheet-17.png    stills of 1, 4 or 16 unrelated scenes in the same grid: what pre-training sees
    sheet-17/       its cells one by one

A sheet holds no movement, so pre-training on sheets teaches to look, and to read a grid, but
nothing about events. A still fills all cells, a block of 2x2, or one: with single cells alone
a model learns nothing in a thousand steps, with easier ones beside them it does.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from sg4v_jax.report.plot import png_bytes
from sg4v_jax.video.grid import make_grid
from sg4v_jax.world.aspects.render import render
from sg4v_jax.world.aspects.scene import SAMPLED, Scene, WorldSettings, sample_scene

SIDE = 4  # cells along a side of the grid
SHEETS = (1, 2, 4)  # stills along a side of sheets number 0, 1, 2, 3 ... by turns
BLANK = 128  # level of the picture that shows nothing
BLANK_FILE = "pictures/blank.png"
_SHEET_POOL = 10_000_000  # seeds of the scenes on sheets; clips have smaller ones


def clip_file(scene: Scene) -> str:
    """Where the grid of a scene lies, relative to the data folder."""
    return f"pictures/{scene.split}-{scene.seed}.png"


def cell_files(name: str) -> list[str]:
    """Where the cells of a grid lie one by one, for `pictures/NAME.png`."""
    stem = name.removeprefix("pictures/").removesuffix(".png")
    return [f"frames/{stem}/{n:02d}.png" for n in range(SAMPLED)]


def grid(scene: Scene, *, canvas: int) -> np.ndarray:
    """u8[4C,4C,3]: the sampled frames in their order, C = `canvas` px a side, without bands."""
    return make_grid(render(scene, canvas=canvas, frames=SAMPLED), band=0, longest_side=None)


def sheet_file(number: int) -> str:
    """Where contact sheet `number` lies."""
    return f"pictures/sheet-{number}.png"


def sheet_scenes(number: int, *, settings: WorldSettings) -> list[list[Scene]]:
    """The scenes whose first frames are on sheet `number`, by rows; no other sheet shows them.

    Nothing happens on a still, so that of two things none would be the one to tell of: each still
    has one.
    """
    settings = dataclasses.replace(settings, bystander=0.0)
    side = SHEETS[number % len(SHEETS)]
    first = _SHEET_POOL + number * SIDE * SIDE
    scenes = [sample_scene(first + n, split="train", settings=settings) for n in range(side * side)]
    return [scenes[side * row : side * (row + 1)] for row in range(side)]


def sheet(rows: Sequence[Sequence[Scene]], *, canvas: int) -> np.ndarray:
    """u8[4C,4C,3] of the first frames of 1, 4 or 16 scenes, each in as many cells."""
    times = SIDE // len(rows)
    stills = [[render(scene, canvas=canvas, frames=1)[0] for scene in row] for row in rows]
    cells = [stills[r // times][c // times] for r in range(SIDE) for c in range(SIDE)]
    return make_grid(cells, band=0, longest_side=None)


def write_clips(
    folder: str | os.PathLike, scenes: Iterable[Scene], *, frames: bool, canvas: int
) -> None:
    """Writes the grids that are not there yet and, with `frames`, their cells too."""
    for scene in scenes:
        draw = functools.partial(grid, scene, canvas=canvas)
        _write(folder, clip_file(scene), draw, cells=frames)


def write_sheets(
    folder: str | os.PathLike,
    numbers: Iterable[int],
    *,
    settings: WorldSettings,
    frames: bool,
    canvas: int,
) -> None:
    """Writes the contact sheets that are not there yet and, with `frames`, their cells too."""
    for number in numbers:
        rows = sheet_scenes(number, settings=settings)
        _write(
            folder, sheet_file(number), functools.partial(sheet, rows, canvas=canvas), cells=frames
        )


def _write(
    folder: str | os.PathLike, name: str, draw: Callable[[], np.ndarray], *, cells: bool
) -> None:
    names = [name, *(cell_files(name) if cells else [])]
    if all((pathlib.Path(folder) / n).exists() for n in names):
        return
    whole = draw()
    for place, n in enumerate(names):
        write_png(pathlib.Path(folder) / n, whole if place == 0 else cell(whole, place - 1))


def cell(picture: np.ndarray, number: int) -> np.ndarray:
    """u8[C,C,3]: frame `number` of a grid u8[4C,4C,3], counted by rows."""
    row, column = divmod(number, SIDE)
    size = picture.shape[0] // SIDE
    return picture[row * size : (row + 1) * size, column * size : (column + 1) * size]


def blank(*, side: int) -> np.ndarray:
    """u8[side,side,3] that shows nothing."""
    return np.full((side, side, 3), BLANK, np.uint8)


def write_png(path: pathlib.Path, picture: np.ndarray) -> None:
    """Writes a picture whole, or not at all.

    There are hundreds of thousands: the disk is told to keep them once, by who makes them all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.write_bytes(png_bytes(picture))
    temporary.replace(path)
