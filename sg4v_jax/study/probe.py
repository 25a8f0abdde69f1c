"""What the tower's features hold that a linear map can read: colour, place, direction of motion.

Legend: `N` clips, `F` frames, `P` patches a frame, `D` tower width, `K` numbers read.

The features of a frame are those of its own patches side by side: of the grid's tile those where
the frame stands, or of the frame's own tile. Ridge regression in closed form on three quarters of
the clips; what is reported is of the others.

    colour               of the thing, from frame 0; one of six, the largest output
    place                (cos, sin) of x and of y on the torus, from four frames one by one; R2
    direction            of a thing that moves before a still camera, from all frames side by side;
                         one of four, the largest output
    direction_by_places  the same, from the places read in frames 0, 7, 8 and 15: where did it go?

On a torus no frame alone says anything about direction. So `direction` above chance means that the
tower itself compares frames; `direction_by_places` above it, that a reader of its features could.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from sg4v_jax.errors import ConfigError
from sg4v_jax.study import pictures
from sg4v_jax.study.likelihood import Scorer
from sg4v_jax.study.videos import Videos
from sg4v_jax.world.aspects.scene import (
    COLOURS,
    DIRECTIONS,
    SAMPLED,
    Scene,
    state,
    view,
)

FOLDS = 4  # one of them is held out
PENALTIES = tuple(10.0**n for n in range(-4, 4))  # of standardised features, for each row of them
LOOKED_AT = (0, 7, 8, 15)  # before, between and after the events; nothing is out of sight then
ROWS = 32  # clips a batch
_SALT = 89


class Read(NamedTuple):
    """One thing read: accuracy or R2 on held-out clips, and what knows nothing gets."""

    value: float
    chance: float
    clips: int  # held out


def probe(
    model: str | os.PathLike | Scorer,
    *,
    scenes: Sequence[Scene],
    data: str | os.PathLike,
    path: str = "grid",
) -> dict[str, dict[str, Any]]:
    """Reads the clips of `scenes`, whose pictures are in the data folder.

    Returns:
      For each of the four things: value, chance, and the number of held-out clips.

    Raises:
      ConfigError: fewer than 40 clips.
    """
    scorer = model if isinstance(model, Scorer) else Scorer.load(model)
    if len(scenes) < 10 * FOLDS:
        raise ConfigError(
            f"{len(scenes)} clips are too few to probe", mend=f"take at least {10 * FOLDS}"
        )
    videos = Videos(scorer.show, data=data, path=path)
    found = features(scorer, [pictures.clip_file(scene) for scene in scenes], videos=videos)
    return {name: one._asdict() for name, one in readings(found, scenes).items()}


def features(scorer: Scorer, clips: Sequence[str], *, videos: Videos) -> np.ndarray:
    """f32[N,F,P,D]: the tower's features of each frame's patches."""
    run = jax.jit(lambda model, tiles: model.tower(tiles, dtype=scorer.dtype))
    found = []
    for start in range(0, len(clips), ROWS):
        shown = [videos.shown(clip) for clip in clips[start : start + ROWS]]
        tiles = [np.concatenate([p.tiles for p in each]) for each in shown]
        filled = np.concatenate([*tiles, *[tiles[-1]] * (ROWS - len(tiles))])
        out = np.asarray(run(scorer.model, filled), np.float32)
        found.append(out.reshape(ROWS, -1, *out.shape[1:])[: len(tiles)])
    return by_frame(np.concatenate(found))


def by_frame(patches: np.ndarray) -> np.ndarray:
    """f32[N,T,P,D] of tiles -> f32[N,F,P,D] of frames: a grid's one tile is cut into its cells.

    >>> by_frame(np.zeros((5, 1, 64, 8))).shape
    (5, 16, 4, 8)
    """
    count, tiles, each, width = patches.shape
    if tiles == SAMPLED:
        return patches
    cells, side = round(SAMPLED**0.5), round(each**0.5)
    inside = side // cells
    if tiles != 1 or inside * cells != side:
        raise ConfigError(
            f"{tiles} tiles of {each} patches are no grid of {SAMPLED} frames",
            mend="use the overview of a 4x4 grid with whole patches in each frame, or single frames",
        )
    square = patches.reshape(count, cells, inside, cells, inside, width)
    return square.transpose(0, 1, 3, 2, 4, 5).reshape(count, SAMPLED, inside * inside, width)


def readings(found: np.ndarray, scenes: Sequence[Scene]) -> dict[str, Read]:
    """Features f32[N,F,P,D] of scenes -> what can be read of them."""
    count = len(scenes)
    frames = found.reshape(count, SAMPLED, -1)
    held = np.random.default_rng(_SALT).permutation(count) % FOLDS == 0
    colours = np.array([COLOURS.index(scene.thing.colour) for scene in scenes])
    moving = np.array([s.event("move") is not None and s.camera == "still" for s in scenes])
    ways = np.array([way_of(scene) for scene, moves in zip(scenes, moving, strict=True) if moves])
    places = np.array([[place_in(scene, frame) for frame in LOOKED_AT] for scene in scenes])
    looks = frames[:, LOOKED_AT]
    reader = Ridge.fit(
        np.concatenate(looks[~held]), np.concatenate(places[~held]), rows=len(LOOKED_AT)
    )
    read = reader(np.concatenate(looks)).reshape(places.shape)
    out = held[moving]
    chance = most_frequent(ways, out)
    went = np.array([where_to(each) for each in read[moving]])
    return {
        "colour": Read(
            classified(frames[:, 0], colours, held),
            most_frequent(colours, held),
            int(held.sum()),
        ),
        "place": Read(r_squared(places[held], read[held]), 0.0, int(held.sum())),
        "direction": Read(
            classified(frames[moving].reshape(len(ways), -1), ways, out), chance, int(out.sum())
        ),
        "direction_by_places": Read(float(np.mean(went[out] == ways[out])), chance, int(out.sum())),
    }


def way_of(scene: Scene) -> int:
    """Which of `DIRECTIONS` the thing moves."""
    return list(DIRECTIONS).index(scene.event("move").direction)


def place_in(scene: Scene, frame: int) -> np.ndarray:
    """f64[4]: cos and sin of x and of y where the thing is seen, once round the torus a turn."""
    now, (shift, zoom) = state(scene, frame), view(scene, frame)
    turns = 2 * np.pi * (0.5 + (np.array([now.x + shift, now.y]) - 0.5) * zoom)
    return np.stack([np.cos(turns), np.sin(turns)], axis=1).reshape(-1)


def where_to(read: np.ndarray) -> int:
    """The direction between places read in `LOOKED_AT`, f64[4,4], as a number of `DIRECTIONS`."""
    first, end, begin, last = read.reshape(len(LOOKED_AT), 2, 2)
    turned = np.zeros(2)
    for before, after in ((first, end + begin), (end + begin, last)):
        a, b = before @ [1, 1j], after @ [1, 1j]
        turned += np.angle(b * np.conj(a))
    return int(np.argmax([turned @ way for way in DIRECTIONS.values()]))


class Ridge(NamedTuple):
    """A linear map of standardised features."""

    mean: np.ndarray  # f64[D]
    scale: np.ndarray  # f64[D]
    weights: np.ndarray  # f64[D,K]
    bias: np.ndarray  # f64[K]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """[N,D] -> f64[N,K]."""
        return (x - self.mean) / self.scale @ self.weights + self.bias

    @staticmethod
    def fit(x: np.ndarray, y: np.ndarray, *, rows: int = 1) -> Ridge:
        """[N,D] and [N,K]; of `PENALTIES` the one that does best on clips left out.

        Args:
          rows: so many in a row are of one clip, and are left out together.
        """
        out = np.arange(len(x)) // rows % FOLDS == 0
        tried = list(_each_penalty(x[~out], y[~out]))
        errors = [float(((one(x[out]) - y[out]) ** 2).mean()) for one in tried]
        best = PENALTIES[int(np.argmin(errors))]
        return next(_each_penalty(x, y, penalties=(best,)))


def _each_penalty(
    x: np.ndarray, y: np.ndarray, *, penalties: Sequence[float] = PENALTIES
) -> Iterator[Ridge]:
    """A fit for each penalty, all of one decomposition."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    mean, scale, bias = x.mean(0), x.std(0) + 1e-6, y.mean(0)
    u, s, vt = np.linalg.svd((x - mean) / scale, full_matrices=False)
    projected = u.T @ (y - bias)
    for penalty in penalties:
        shrink = s / (s**2 + penalty * len(x))
        yield Ridge(mean, scale, vt.T @ (shrink[:, None] * projected), bias)


def classified(x: np.ndarray, labels: np.ndarray, held: np.ndarray) -> float:
    """The accuracy on held-out clips of the largest of one output a label."""
    targets = np.eye(labels.max() + 1)[labels]
    found = Ridge.fit(x[~held], targets[~held])(x[held]).argmax(1)
    return float(np.mean(found == labels[held]))


def most_frequent(labels: np.ndarray, held: np.ndarray) -> float:
    """The accuracy on held-out clips of the most frequent label of the others."""
    return float(np.mean(labels[held] == np.bincount(labels[~held]).argmax()))


def r_squared(true: np.ndarray, read: np.ndarray) -> float:
    """The share of the variance that is read; below 0 if the mean would be better."""
    return float(1 - ((true - read) ** 2).sum() / ((true - true.mean(0)) ** 2).sum())
