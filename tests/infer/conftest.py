"""A tiny random model that says varied things, and the slow way to ask it: whole rows, no cache."""

from __future__ import annotations

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.batch import Batch
from sg4v_jax.data import layout
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.data.packing import Budget
from sg4v_jax.infer.engine import Engine, Request
from sg4v_jax.models.params import Skeleton, skeleton
from sg4v_jax.models.video_lm import PRESETS, VideoLM
from sg4v_jax.text.chat import Turn
from sg4v_jax.text.tokenizer import train_byte_bpe
from sg4v_jax.weights.store import ModelSettings, anyres_of

CONFIG = PRESETS["sg4v-test"]()
POSITIONS, TILES = 320, 10  # of the slow way's rows


@pytest.fixture(scope="session")
def settings() -> ModelSettings:
    texts = ["user\n\n", "assistant\n\n", "what moves in the video?", "the red circle"] * 9
    inputs = InputSpec(
        anyres=anyres_of(CONFIG),
        visual="anyres",
        frames=16,
        band=8,
        longest_side=0,
        template="llama_3_bare",
        preamble="",
    )
    return ModelSettings(CONFIG, inputs, train_byte_bpe(texts, vocab_size=320))


@pytest.fixture(scope="session")
def shapes() -> Skeleton:
    return skeleton(lambda key: VideoLM(CONFIG, key=key))


@pytest.fixture(scope="session")
def params(shapes) -> dict[str, jax.Array]:
    """Larger than at the start of training, so that answers differ and do not repeat one token."""
    rng = np.random.default_rng(0)
    return {
        name: jnp.asarray(0.5 * rng.standard_normal(s.shape, np.float32) + name.endswith("scale"))
        for name, s in shapes.shapes.items()
    }


@pytest.fixture(scope="session")
def model(params, shapes) -> VideoLM:
    return shapes.build(params)


@pytest.fixture(scope="session")
def engine(settings, params) -> Engine:
    return Engine(settings, params)


def picture(width: int, height: int, *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="session")
def requests() -> list[Request]:
    """Text alone, a square and a wide picture, and two in different turns: four lengths."""
    square, wide = picture(60, 60, seed=0), picture(90, 30, seed=1)
    ask, tell = lambda text: Turn("user", text), lambda text: Turn("assistant", text)
    return [
        Request([ask("hi")], []),
        Request([ask("<image>\nwhat moves?")], [square]),
        Request([ask("<image>\nwhat moves in the video, and where to?")], [wide]),
        Request([ask("<image>"), tell("red"), ask("and <image>?")], [wide, square]),
    ]


@pytest.fixture(scope="session")
def place(settings):
    """`place(request, positions=.., tiles=..)`: the request as a left-aligned [1, ...] batch."""

    def place(
        request: Request,
        *,
        positions: int = POSITIONS,
        tiles: int = TILES,
        inputs: InputSpec = settings.inputs,
    ) -> Batch:
        sequence, _ = inputs.sequence(
            request.turns,
            sizes=[p.shape[1::-1] for p in request.pictures],
            tokenizer=settings.tokenizer,
            generation=True,
        )
        side, patches = inputs.anyres.side, inputs.anyres.patches
        empty = np.zeros((0, side, side, 3), np.uint8)
        pixels = np.concatenate([empty, *(inputs.tiles(p) for p in request.pictures)])
        row = layout.place(
            [layout.Placed(sequence, pixels, 0.0)],
            budget=Budget(positions, tiles, 1),
            side=side,
            patches=patches,
        )
        return Batch(*(field[None] for field in row))

    return place


@jax.jit
def _next_logits(model: VideoLM, batch: Batch) -> jax.Array:
    hidden = model.hidden(batch, dtype=jnp.float32)
    last = jnp.sum(batch.segments > 0) - 1
    return model.llm.logits(hidden[0, last])


@pytest.fixture(scope="session")
def slow(model, place):
    """The slow way: `next_logits(request, said)` and `greedy(request, count)`."""

    def next_logits(request: Request, said: list[int], **options) -> np.ndarray:
        batch = place(request, **options)
        n = int((batch.segments > 0).sum())
        here = slice(n, n + len(said))
        batch.tokens[0, here] = said
        batch.positions[0, here] = np.arange(n, n + len(said))
        batch.segments[0, here] = 1
        return np.asarray(_next_logits(model, batch))

    def greedy(request: Request, count: int, **options) -> list[int]:
        said: list[int] = []
        for _ in range(count):
            said.append(int(next_logits(request, said, **options).argmax()))
        return said

    return types.SimpleNamespace(next_logits=next_logits, greedy=greedy)
