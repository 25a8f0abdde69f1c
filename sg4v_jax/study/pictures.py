"""Pictures of the study, as PNG files: clips as grids of frames, and contact sheets of stills.

    train-17.png    16 frames of 24 px in a 4x4 grid, 96 px a side: what the arms see
    train-17/       the same frames one by one, for the path without a grid
    sheet-17.png    16 stills of 16 unrelated scenes in the same grid: what pre-training sees

A sheet holds no movement, so pre-training on sheets teaches to look, and to read a grid, but
nothing about events.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from sg4v_jax import files
from sg4v_jax.report.plot import png_bytes
from sg4v_jax.video.grid import make_grid
from sg4v_jax.world.aspects.render import render
from sg4v_jax.world.aspects.scene import SAMPLED, Scene, WorldSettings, sample_scene

CANVAS = 24  # pixels a side of one frame
SHEET = 16  # stills on a sheet
BLANK = 128  # level of the picture that shows nothing
BLANK_FILE = "pictures/blank.png"
_SHEET_POOL = 10_000_000  # seeds of the scenes on sheets; clips have smaller ones


def clip_file(scene: Scene) -> str:
    """Where the grid of a scene lies, relative to the data folder."""
    return f"pictures/{scene.split}-{scene.seed}.png"


def frame_files(scene: Scene) -> list[str]:
    """Where its frames lie one by one."""
    return [f"frames/{scene.split}-{scene.seed}/{n:02d}.png" for n in range(SAMPLED)]


def grid(scene: Scene) -> np.ndarray:
    """u8[96,96,3]: the sampled frames in their order, without bands."""
    return make_grid(render(scene, canvas=CANVAS, frames=SAMPLED), band=0, longest_side=None)


def sheet_file(number: int) -> str:
    """Where contact sheet `number` lies."""
    return f"pictures/sheet-{number}.png"


def sheet_scenes(number: int, *, settings: WorldSettings) -> list[Scene]:
    """The scenes whose first frames are on sheet `number`; no other sheet or clip shows them."""
    first = _SHEET_POOL + number * SHEET
    return [sample_scene(s, split="train", settings=settings) for s in range(first, first + SHEET)]


def sheet(scenes: Iterable[Scene]) -> np.ndarray:
    """u8[96,96,3] of 16 scenes' first frames."""
    stills = [render(scene, canvas=CANVAS, frames=1)[0] for scene in scenes]
    return make_grid(stills, band=0, longest_side=None)


def write_clips(folder: str | os.PathLike, scenes: Iterable[Scene], *, frames: bool) -> None:
    """Writes the grids that are not there yet and, with `frames`, their single frames too."""
    for scene in scenes:
        whole = None
        names = [clip_file(scene), *(frame_files(scene) if frames else [])]
        for place, name in enumerate(names):
            path = files.path(folder) / name
            if path.exists():
                continue
            if whole is None:
                whole = grid(scene)
            write_png(path, whole if place == 0 else cell(whole, place - 1))


def write_sheets(
    folder: str | os.PathLike, numbers: Iterable[int], *, settings: WorldSettings
) -> None:
    """Writes the contact sheets that are not there yet."""
    for number in numbers:
        path = files.path(folder) / sheet_file(number)
        if not path.exists():
            write_png(path, sheet(sheet_scenes(number, settings=settings)))


def cell(picture: np.ndarray, number: int) -> np.ndarray:
    """u8[24,24,3]: frame `number` of a grid, counted by rows."""
    row, column = divmod(number, 4)
    return picture[row * CANVAS : (row + 1) * CANVAS, column * CANVAS : (column + 1) * CANVAS]


def blank(*, side: int) -> np.ndarray:
    """u8[side,side,3] that shows nothing."""
    return np.full((side, side, 3), BLANK, np.uint8)


def write_png(path: os.PathLike, picture: np.ndarray) -> None:
    """Writes a picture whole, or not at all."""
    files.path(path).parent.mkdir(parents=True, exist_ok=True)
    files.write_atomic(path, png_bytes(picture))
