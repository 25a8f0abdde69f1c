"""A small rendered data set, indexed; rows of 512 positions, 15 tiles and 160 scored positions."""

from __future__ import annotations

import pytest

from sg4v_jax.data.index import build_index
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.data.packing import Budget
from sg4v_jax.data.readers import read_llava_json
from sg4v_jax.data.rows import Rows
from sg4v_jax.text.tokenizer import train_byte_bpe
from sg4v_jax.video.anyres import AnyRes
from sg4v_jax.world.dataset import make_dataset

BUDGET = Budget(positions=512, tiles=15, scored=160)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Six clips of 17 frames 96x96, with their annotations in train.json."""
    out = tmp_path_factory.mktemp("world")
    make_dataset(str(out), videos=6, seed=5)
    return out


@pytest.fixture(scope="session")
def records(folder):
    return read_llava_json(folder / "train.json", root=folder)


@pytest.fixture(scope="session")
def tokenizer(records):
    """320 ids, as many as the model `sg4v-test` embeds."""
    texts = [turn.content for record in records for turn in record.turns]
    roles = ["user\n\n", "assistant\n\n", "system\n\n"] * 9
    return train_byte_bpe([*texts, *roles], vocab_size=320)


@pytest.fixture(scope="session")
def spec():
    """How `sg4v-test` is shown videos: 16 px tiles of 2 x 2 patches."""
    return InputSpec(
        anyres=AnyRes.standard(16, patches=2),
        visual="anyres",
        frames=16,
        band=8,
        longest_side=0,
        template="llama_3_bare",
        preamble="",
    )


@pytest.fixture(scope="session")
def index(records, spec, tokenizer):
    return build_index(records, spec=spec, tokenizer=tokenizer)


@pytest.fixture(scope="session")
def make_rows(index, spec, tokenizer):
    """`make_rows(index=..., seed=...)`: new `Rows`, of the whole data set unless told otherwise."""

    def make(**changes) -> Rows:
        settings = dict(spec=spec, tokenizer=tokenizer, budget=BUDGET, batch_rows=4, seed=0)
        settings |= changes
        return Rows(settings.pop("index", index), **settings)

    return make


@pytest.fixture(scope="session")
def rows(make_rows):
    """Rows for tests that only read them."""
    return make_rows()
