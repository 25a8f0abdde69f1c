"""What the tests of training share: the smallest model, and packed rows with pictures for it."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from sg4v_jax.batch import Batch
from sg4v_jax.data import layout
from sg4v_jax.data.packing import Budget
from sg4v_jax.models.params import skeleton
from sg4v_jax.models.video_lm import PRESETS, VideoLM

CONFIG = PRESETS["sg4v-test"]()
SIDE, PATCHES = CONFIG.tower.image_size, CONFIG.tower.patches
# These tests compare sums, not speed: compiling less hard halves their time.
QUICK = {"xla_backend_optimization_level": 0}
BUDGET = Budget(positions=64, tiles=4, scored=64)


@dataclasses.dataclass(frozen=True)
class TinyModel:
    """The model by path, and samples for it."""

    config = CONFIG
    budget = BUDGET
    quick = QUICK

    @functools.cached_property
    def skeleton(self):
        return skeleton(self.build)

    @staticmethod
    def build(key) -> VideoLM:
        return VideoLM(CONFIG, key=key)

    @functools.cached_property
    def params(self) -> dict[str, np.ndarray]:
        """Numbers large enough that every part matters (drawing them in jax takes longer)."""
        rng, out = np.random.default_rng(0), {}
        for path, spec in self.skeleton.shapes.items():
            values = 0.2 * rng.standard_normal(spec.shape)
            out[path] = (values + path.endswith("scale")).astype(spec.dtype)
        return out

    def sample(self, seed: int, *, tiles: int, text: int, scored: int) -> layout.Placed:
        """Two words, `tiles` tiles with a newline, `text` words of which the last are scored."""
        rng = np.random.default_rng(seed)
        patches = np.arange(tiles * PATCHES**2)
        visual = np.concatenate([[layout.TEXT] * 2, patches, [layout.SEPARATOR]])
        visual = np.concatenate([visual, [layout.TEXT] * text]).astype(np.int32)
        words = rng.integers(1, CONFIG.llm.vocab_size, len(visual))
        tokens = np.where(visual == layout.TEXT, words, 0).astype(np.int32)
        at = np.arange(len(tokens) - scored, len(tokens))
        sequence = layout.Sequence1D(
            tokens, visual, tiles, (at - 1).astype(np.int32), tokens[at].astype(np.int32)
        )
        pixels = rng.integers(0, 256, (tiles, SIDE, SIDE, 3), np.uint8)
        return layout.Placed(sequence, pixels, 1.0)

    def batch(self, *rows: list[layout.Placed]) -> Batch:
        """Samples of each row -> [B,...]."""
        placed = [layout.place(row, budget=BUDGET, side=SIDE, patches=PATCHES) for row in rows]
        return Batch(*(np.stack(field) for field in zip(*placed, strict=True)))


@pytest.fixture(scope="session")
def tiny_model() -> TinyModel:
    return TinyModel()


@pytest.fixture(scope="session")
def three(tiny_model) -> list[layout.Placed]:
    """Three samples of different lengths that together fill one row."""
    sizes = [(1, 6, 3), (2, 9, 5), (1, 12, 9)]
    return [
        tiny_model.sample(seed, tiles=tiles, text=text, scored=scored)
        for seed, (tiles, text, scored) in enumerate(sizes)
    ]
