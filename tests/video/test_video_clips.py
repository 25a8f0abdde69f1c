"""The licensed clips in tests/data/clips decode as LICENCES.md beside them says."""

from __future__ import annotations

import hashlib
import pathlib
import re

import numpy as np
import pytest

from sg4v_jax.video.decode import probe, sample_frames
from sg4v_jax.video.grid import make_grid

FOLDER = pathlib.Path(__file__).parents[1] / "data" / "clips"
ROW = re.compile(
    r"^\| `(?P<name>\S+\.mp4)` \| (?P<w>\d+)x(?P<h>\d+) \| (?P<n>\d+) @ (?P<fps>\d+) \|"
)


def table() -> dict[str, tuple[int, int, int, float]]:
    rows = map(ROW.match, (FOLDER / "LICENCES.md").read_text().splitlines())
    return {m["name"]: (int(m["w"]), int(m["h"]), int(m["n"]), float(m["fps"])) for m in rows if m}


def test_every_clip_has_a_licence_and_its_hash():
    text = (FOLDER / "LICENCES.md").read_text()
    names = sorted(p.name for p in FOLDER.glob("*.mp4"))
    assert names == sorted(table()) and len(names) == 4
    for name in names:
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() in text, name
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) < 2_000_000


@pytest.mark.parametrize("name", table())
def test_clip_decodes(name):
    width, height, frames, fps = table()[name]
    info = probe(FOLDER / name)
    assert (info.width, info.height, info.frames, info.fps) == (width, height, frames, fps)
    decoded = sample_frames(FOLDER / name)
    assert decoded.substituted == 0 and len(decoded.frames) == 16
    assert {f.shape for f in decoded.frames} == {(height, width, 3)}
    assert len({f.tobytes() for f in decoded.frames}) == 16  # something moves in each
    grid = make_grid(decoded.frames)
    assert max(grid.shape) <= 1920 and np.ptp(grid) == 255
