"""The whole model against `transformers.LlavaNextForConditionalGeneration`, by its logits.

transformers rounds to 7 decimals when it unpads, LLaVA truncates at once (as we do). They agree
in all sizes here; `DISAGREE` is one where they do not (at the 8B model's size, 704x396 is one).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sg4v_jax.batch import Batch
from sg4v_jax.data import layout
from sg4v_jax.data.packing import Budget
from sg4v_jax.models.clip import CLIPConfig, normalise
from sg4v_jax.models.llama import LlamaConfig
from sg4v_jax.models.video_lm import LLAVA_PINPOINTS, VideoLM, VideoLMConfig
from sg4v_jax.text.chat import IMAGE_TOKEN, TokenizedChat
from sg4v_jax.video import anyres
from sg4v_jax.weights import video_lm

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

SIDE, PATCH, P = 28, 7, 4  # tile side, patch side, patches along a tile's side
SPEC = anyres.AnyRes.standard(SIDE, patches=P)
IMAGE_ID = 95  # stands for every visual token in transformers' input
CONFIG = VideoLMConfig(
    tower=CLIPConfig(
        image_size=SIDE,
        patch_size=PATCH,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=3,
        layer_norm_eps=1e-5,
        hidden_act="quick_gelu",
        feature_layer=-2,
        image_mean=(0.48, 0.46, 0.41),
        image_std=(0.27, 0.26, 0.28),
    ),
    llm=LlamaConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        rope_theta=500000.0,
        rms_norm_eps=1e-5,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
    ),
    separators=1,
    pinpoints=LLAVA_PINPOINTS,
)
SIZES = {  # picture (width, height): (tiles, kept rows, kept columns)
    "unpadded rows": ((60, 35), (5, 4, 8)),
    "unpadded columns": ((40, 50), (5, 8, 6)),
    "an odd border keeps one row more": ((60, 42), (5, 6, 8)),
    "three tiles wide": ((90, 20), (4, 2, 12)),
    "nothing to unpad": ((56, 56), (5, 8, 8)),
}
DISAGREE = (392, 343)


@pytest.fixture(scope="module")
def reference(randomise):
    tower, llm = CONFIG.tower, CONFIG.llm
    vision = transformers.CLIPVisionConfig(
        image_size=tower.image_size,
        patch_size=tower.patch_size,
        hidden_size=tower.hidden_size,
        intermediate_size=tower.intermediate_size,
        num_hidden_layers=tower.num_hidden_layers,
        num_attention_heads=tower.num_attention_heads,
        layer_norm_eps=tower.layer_norm_eps,
        hidden_act=tower.hidden_act,
    )
    text = transformers.LlamaConfig(
        vocab_size=llm.vocab_size,
        hidden_size=llm.hidden_size,
        intermediate_size=llm.intermediate_size,
        num_hidden_layers=llm.num_hidden_layers,
        num_attention_heads=llm.num_attention_heads,
        num_key_value_heads=llm.num_key_value_heads,
        head_dim=llm.head_dim,
        rope_parameters={"rope_type": "default", "rope_theta": llm.rope_theta},
        rms_norm_eps=llm.rms_norm_eps,
        max_position_embeddings=llm.max_position_embeddings,
        tie_word_embeddings=llm.tie_word_embeddings,
    )
    return randomise(
        transformers.LlavaNextForConditionalGeneration(
            transformers.LlavaNextConfig(
                vision_config=vision,
                text_config=text,
                image_token_id=IMAGE_ID,
                image_grid_pinpoints=[[h, w] for w, h in SPEC.pinpoints],
                vision_feature_layer=tower.feature_layer,
            )
        )
    )


@pytest.fixture(scope="module")
def ours(reference, load):
    tensors = reference.state_dict()
    weights = video_lm.table(CONFIG, layout=video_lm.layout_of(tensors))
    return load(lambda key: VideoLM(CONFIG, key=key), tensors, weights)


@dataclasses.dataclass
class Sample:
    """Token ids with `IMAGE_TOKEN` places, and a picture u8[H,W,3] for each."""

    ids: list[int]
    pictures: list[np.ndarray]

    def placed(self, *, overview: bool = False) -> layout.Placed:
        """Laid out by the loader's own functions."""
        images, tiles = [], [np.zeros((0, SIDE, SIDE, 3), np.uint8)]
        for picture in self.pictures:
            if overview:
                images.append((layout.overview_index(patches=P), 1))
                tiles.append(anyres.overview_tile(picture, SPEC))
            else:
                geometry = anyres.geometry(picture.shape[1::-1], SPEC)
                images.append((layout.anyres_index(geometry, patches=P), geometry.tiles))
                tiles.append(anyres.make_tiles(picture, SPEC))
        places = [i for i, t in enumerate(self.ids) if t == IMAGE_TOKEN]
        chat = TokenizedChat(self.ids, [False] * len(self.ids), places)
        sequence = layout.expand(chat, images=images, patches=P)
        return layout.Placed(sequence, np.concatenate(tiles), 1.0)


def picture(size: tuple[int, int], *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)


def sample(*sizes: tuple[int, int]) -> Sample:
    """Text, then for each size a picture and more text."""
    rng = np.random.default_rng(3)
    ids = rng.integers(0, IMAGE_ID, 5).tolist()
    for _ in sizes:
        ids += [IMAGE_TOKEN, *rng.integers(0, IMAGE_ID, 6).tolist()]
    return Sample(ids, [picture(size, seed=i) for i, size in enumerate(sizes)])


@jax.jit
def row_logits(model: VideoLM, batch: Batch) -> jax.Array:
    return model.llm.logits(model.hidden(batch, dtype=jnp.float32))


def run(model: VideoLM, placed: list[layout.Placed], *, tiles: int = 16) -> list[np.ndarray]:
    """Logits of each sample, all packed in one row with room to spare."""
    budget = Budget(positions=256, tiles=tiles, scored=1)
    row = layout.place(placed, budget=budget, side=SIDE, patches=P)
    batch = Batch(*(np.asarray(x)[None] for x in row))
    layout.check(batch, patches=P * P, separators=1, vocab_size=CONFIG.llm.vocab_size)
    ends = np.cumsum([len(p.sequence.tokens) for p in placed])
    assert ends[-1] < budget.positions
    return np.split(np.asarray(row_logits(model, batch))[0], ends)[:-1]


def pixels(tiles: np.ndarray):
    """u8[T,R,R,3] -> normalised torch f32[T,3,R,R]."""
    return torch.from_numpy(np.asarray(normalise(tiles, CONFIG.tower)).transpose(0, 3, 1, 2).copy())


def hf_ids(item: Sample, visual_tokens: list[int]):
    """The ids with each image place repeated, [1,S]."""
    counts, ids = iter(visual_tokens), []
    for token in item.ids:
        ids += [IMAGE_ID] * next(counts) if token == IMAGE_TOKEN else [token]
    return torch.tensor([ids])


def run_reference(reference, item: Sample) -> np.ndarray:
    """Logits [S,V] of any-resolution pictures, or of text alone."""
    inputs = {}
    geometries = [anyres.geometry(p.shape[1::-1], SPEC) for p in item.pictures]
    if item.pictures:
        most = max(g.tiles for g in geometries)
        padded = torch.zeros(len(geometries), most, 3, SIDE, SIDE)
        for i, (p, g) in enumerate(zip(item.pictures, geometries, strict=True)):
            padded[i, : g.tiles] = pixels(anyres.make_tiles(p, SPEC))
        sizes = torch.tensor([p.shape[:2] for p in item.pictures])
        inputs = {"pixel_values": padded, "image_sizes": sizes}
    ids = hf_ids(item, [g.visual_tokens for g in geometries])
    with torch.no_grad():
        return reference(input_ids=ids, **inputs).logits[0].numpy()


def run_reference_overview(reference, item: Sample) -> np.ndarray:
    """Logits [S,V] of base views without newline, put together by hand: transformers, which
    appends a newline even to a single tile, has no such mode."""
    inner = reference.model
    with torch.no_grad():
        tiles = pixels(np.concatenate([anyres.overview_tile(p, SPEC) for p in item.pictures]))
        states = inner.vision_tower(tiles, output_hidden_states=True).hidden_states
        features = inner.multi_modal_projector(states[CONFIG.tower.feature_layer][:, 1:])
        ids = hf_ids(item, [P * P] * len(item.pictures))
        x = reference.get_input_embeddings()(ids)
        x[ids == IMAGE_ID] = features.flatten(0, 1)
        return reference.lm_head(inner.language_model(inputs_embeds=x).last_hidden_state)[0].numpy()


def assert_close(logits: np.ndarray, expected: np.ndarray):
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.smoke
@pytest.mark.parametrize("name", SIZES)
def test_anyres(reference, ours, name):
    size, expected = SIZES[name]
    g = anyres.geometry(size, SPEC)
    assert (g.tiles, g.plane_rows, g.plane_cols) == expected
    item = sample(size)
    assert_close(run(ours, [item.placed()])[0], run_reference(reference, item))


def test_overview(reference, ours):
    item = sample((60, 35))
    logits = run(ours, [item.placed(overview=True)])[0]
    assert len(logits) == len(item.ids) - 1 + P * P
    assert_close(logits, run_reference_overview(reference, item))


def test_two_images_in_one_prompt(reference, ours):
    item = sample((90, 20), (40, 50))
    assert_close(run(ours, [item.placed()])[0], run_reference(reference, item))


def test_two_overviews_in_one_prompt(reference, ours):
    item = sample((90, 20), (40, 50))
    logits = run(ours, [item.placed(overview=True)])[0]
    assert_close(logits, run_reference_overview(reference, item))


@pytest.mark.parametrize("tiles", [0, 16])
def test_text_alone_with_and_without_room_for_tiles(reference, ours, tiles):
    item = sample()
    assert_close(run(ours, [item.placed()], tiles=tiles)[0], run_reference(reference, item))


def test_a_packed_row_of_all_kinds(reference, ours):
    first, second, text = sample((60, 35)), sample((90, 20), (40, 50)), sample()
    overview = sample((56, 56))
    placed = [first.placed(), text.placed(), overview.placed(overview=True), second.placed()]
    logits = run(ours, placed)
    assert_close(logits[0], run_reference(reference, first))
    assert_close(logits[1], run_reference(reference, text))
    assert_close(logits[2], run_reference_overview(reference, overview))
    assert_close(logits[3], run_reference(reference, second))


def test_a_swapped_tile_or_a_lost_newline_would_be_seen(reference, ours):
    item = sample((60, 35))
    expected = run_reference(reference, item)
    placed = item.placed()
    swapped = placed._replace(tiles=placed.tiles[[0, 2, 1, 3, 4]])
    assert np.abs(run(ours, [swapped])[0] - expected).max() > 1e-2
    index = placed.sequence.visual_index.copy()
    index[index == layout.SEPARATOR] = 0
    lost = placed._replace(sequence=placed.sequence._replace(visual_index=index))
    assert np.abs(run(ours, [lost])[0] - expected).max() > 1e-2


def test_one_size_where_transformers_unpads_otherwise():
    g = anyres.geometry(DISAGREE, SPEC)
    plane = torch.zeros(1, g.tile_rows * P, g.tile_cols * P)
    unpad = transformers.models.llava_next.modeling_llava_next.unpad_image
    assert (g.plane_rows, g.plane_cols) == (6, 8)
    assert unpad(plane, DISAGREE[::-1]).shape == (1, 8, 8)
