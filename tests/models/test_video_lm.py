"""The gather that joins pictures and text, and that recomputation changes nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.batch import Batch
from sg4v_jax.models.params import flatten, skeleton
from sg4v_jax.models.video_lm import PRESETS, VideoLM

CONFIG = PRESETS["sg4v-test"]()
P, T, D = CONFIG.tower.patches**2, 2, CONFIG.llm.hidden_size


@pytest.fixture(scope="module")
def model(random_model) -> VideoLM:
    return random_model(lambda key: VideoLM(CONFIG, key=key))


@jax.jit
def compiled_splice(model: VideoLM, tokens, visual_index, table) -> jax.Array:
    return model.splice(tokens, visual_index, table)


def splice(model: VideoLM, visual_index: list[int], table) -> np.ndarray:
    tokens = np.full((1, len(visual_index)), 3, np.int32)
    return np.asarray(compiled_splice(model, tokens, np.asarray([visual_index]), table))[0]


def test_splice_takes_text_patches_and_separators(model):
    table = jnp.arange(T * P * D, dtype=jnp.float32).reshape(1, T * P, D)
    got = splice(model, [-1, 0, T * P - 1, T * P, -1, 5], table)
    text, newline = model.llm.embed_tokens[...][3], model.separators[...][0]
    want = [text, table[0, 0], table[0, -1], newline, text, table[0, 5]]
    np.testing.assert_array_equal(got, np.stack(want))


def test_index_minus_one_never_wraps_to_the_last_patch(model):
    # A table of NaN: whatever text positions read of it would be seen, in value and gradient.
    table = jnp.full((1, T * P, D), jnp.nan)
    got = splice(model, [-1, T * P, -1], table)
    assert np.isfinite(got).all()

    @jax.jit
    @jax.grad
    def gradient(table):
        tokens = jnp.zeros((1, 4), jnp.int32)
        return model.splice(tokens, jnp.array([[-1, 2, -1, -1]]), table).sum()

    read = np.asarray(gradient(jnp.ones((1, T * P, D))))[0].any(-1)
    np.testing.assert_array_equal(read, np.arange(T * P) == 2)


def test_an_index_past_the_separators_reads_no_patch(model):
    # The host checks ranges (`layout.check`); on the device the last separator stands in.
    table = jnp.full((1, T * P, D), jnp.nan)
    got = splice(model, [T * P + 9], table)
    np.testing.assert_array_equal(got[0], model.separators[...][-1])


def test_rows_read_their_own_tiles(model):
    table = jnp.stack([jnp.zeros((T * P, D)), jnp.ones((T * P, D))])
    got = compiled_splice(model, np.zeros((2, 1), np.int32), np.array([[4], [4]]), table)
    np.testing.assert_array_equal(got[:, 0, 0], [0, 1])


def test_a_row_without_tiles_is_text(model):
    table = model.visual_table(jnp.zeros((1, 0, 16, 16, 3), jnp.uint8), dtype=jnp.float32)
    tokens = jnp.array([[1, 2, 3]])
    got = model.splice(tokens, jnp.full((1, 3), -1), table)
    np.testing.assert_array_equal(got, model.llm.embed_tokens[...][tokens])


@pytest.fixture(scope="module")
def batch() -> Batch:
    rng = np.random.default_rng(0)
    s = T * P + 4
    return Batch(
        tokens=rng.integers(0, 9, (1, s)),
        visual_index=np.concatenate([np.arange(T * P + 1), [-1] * 3])[None],
        positions=np.arange(s)[None],
        segments=np.ones((1, s), np.int32),
        loss_index=np.zeros((1, 1), np.int32),
        targets=np.zeros((1, 1), np.int32),
        loss_weights=np.zeros((1, 1), np.float32),
        tiles=rng.integers(0, 256, (1, T, 16, 16, 3), np.uint8),
    )


def energy(model: VideoLM, batch: Batch, remat: str) -> jax.Array:
    return (model.hidden(batch, dtype=jnp.float32, remat=remat) ** 3).sum()


def test_every_parameter_that_runs_gets_a_gradient(model, batch):
    gradient = flatten(jax.jit(jax.grad(energy), static_argnums=2)(model, batch, "none"))
    still = {n for n, g in gradient.items() if not np.asarray(g).any()}
    # The vocabulary head is applied outside; CLIP's last norm comes after the feature layer.
    unused = {"llm.lm_head.kernel", "tower.post_layernorm.scale", "tower.post_layernorm.bias"}
    assert still == unused


@pytest.mark.parametrize(("remat", "scans"), [("none", 0), ("dots", 2), ("full", 2)])
def test_tower_and_decoder_are_both_recomputed(model, batch, remat, scans):
    program = str(jax.make_jaxpr(energy, static_argnums=2)(model, batch, remat))
    assert program.count("prevent_cse=False") == scans


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_build_without_memory(preset):
    config = PRESETS[preset]()
    shapes = skeleton(lambda key: VideoLM(config, key=key))
    for name, spec in shapes.shapes.items():
        assert len(shapes.axes[name]) == len(spec.shape), name
    assert shapes.shapes["separators"].shape == (1, config.llm.hidden_size)


def test_the_vocabulary_head_sums_in_f32(model):
    hidden = jnp.ones((4, D), jnp.bfloat16)
    assert model.llm.logits(hidden).dtype == jnp.float32
