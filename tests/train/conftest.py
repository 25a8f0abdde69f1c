"""What the tests of training share: the smallest model, and packed rows with pictures for it."""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from sg4v_jax.batch import Batch
from sg4v_jax.data import layout
from sg4v_jax.data.packing import Budget
from sg4v_jax.models.params import skeleton
from sg4v_jax.models.video_lm import PRESETS, VideoLM
from sg4v_jax.train import loop, metrics
from sg4v_jax.train.state import TrainState

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


class FakeCheckpoints:
    """Remembers what was saved and scored."""

    def __init__(self, best_metric: str | None = None):
        self.best_metric, self.fails = best_metric, None
        self.saved, self.scores, self._logs = [], {}, {}

    def save(self, state, *, data, log):
        self.saved.append((int(state.step), data["row"]))
        self._logs[int(state.step)] = log

    def score(self, step, metrics):
        self.scores[step] = dict(metrics)

    def log(self, step):
        return self._logs.get(step, {})

    def wait(self):
        if self.fails:
            raise self.fails


class Run:
    """Calls of the loop on one log; batch n is the number n, and step n sees it.

    `during(n)` gives metrics of step n; the state's one number is `value`.
    """

    def __init__(
        self,
        folder,
        *,
        first=0,
        steps=10,
        log_every=1,
        save_every=4,
        during=None,
        best=None,
        **more,
    ):
        folder.mkdir(exist_ok=True)
        self.checkpoints, self.seen = FakeCheckpoints(best), []
        self.log, self.value = folder / "metrics.jsonl", 1.0
        self.settings = loop.LoopSettings(steps=steps, log_every=log_every, save_every=save_every)
        self.console = Console(file=io.StringIO(), width=400)
        self._during, self._first = during or (lambda number: {}), first
        self._more = more

    def go(self) -> loop.Outcome:
        log = metrics.MetricsLog(self.log, step=self._first)
        return loop.run(
            TrainState(jnp.int32(self._first), {"llm.kernel": jnp.float32(self.value)}, {}, ()),
            step=self._step,
            batches=lambda start: itertools.count(start),
            data_state=lambda done: {"row": 8 * done},
            rates=lambda number: {"all": 0.1 * number},
            checkpoints=self.checkpoints,
            log=log,
            settings=self.settings,
            console=self.console,
            **self._more,
        )

    @property
    def said(self) -> str:
        return self.console.file.getvalue()

    def go_on(self) -> loop.Outcome:
        """From the last checkpoint."""
        self._first = self.checkpoints.saved[-1][0] if self.checkpoints.saved else 0
        return self.go()

    def _step(self, state, batch):
        self.seen.append(batch)
        values = {"loss": 2.0, "weight": 1.0, "correct": 1.0, "scored": 4.0, "grad_norm": 3.0}
        values |= {"samples": 2.0, "tokens": 10.0} | self._during(batch)
        trained = {"llm.kernel": jnp.float32(self.value)}
        return state._replace(step=state.step + 1, trained=trained), values


@pytest.fixture
def run_of():
    """Makes a `Run`."""
    return Run
