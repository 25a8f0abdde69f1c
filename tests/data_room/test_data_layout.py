"""Visual indices and packed rows, against worked examples and slow references."""

from __future__ import annotations

import numpy as np
import pytest

from sg4v_jax.batch import Batch
from sg4v_jax.data.layout import (
    SEPARATOR,
    TEXT,
    Placed,
    Sequence1D,
    anyres_index,
    check,
    expand,
    overview_index,
    place,
)
from sg4v_jax.data.packing import Budget
from sg4v_jax.errors import RecordError
from sg4v_jax.text.chat import IMAGE_TOKEN, TokenizedChat
from sg4v_jax.video.anyres import AnyRes, Geometry, geometry
from sg4v_jax.video.grid import grid_size

NEWLINE = SEPARATOR  # separator 0 of a sample not yet placed
SPEC_8B = AnyRes.standard(336, patches=24)
# Frame size -> visual tokens, of the published system.
TOKENS_8B = {
    (1280, 720): 1948,
    (1920, 1080): 1948,
    (640, 360): 1948,
    (640, 480): 2340,
    (480, 320): 2242,
    (320, 240): 2438,
    (480, 480): 2928,
    (720, 1280): 1968,
    (1920, 800): 1944,
}


def two_tiles(*, top: int, rows: int) -> Geometry:
    return Geometry(
        pinpoint=(2, 1),
        tile_rows=1,
        tile_cols=2,
        plane_top=top,
        plane_left=0,
        plane_rows=rows,
        plane_cols=4,
        patches=2,
    )


def chat(ids: list[int], trained: list[int] = ()) -> TokenizedChat:
    """Token ids with `IMAGE_TOKEN` for images; `trained` lists positions."""
    images = [i for i, token in enumerate(ids) if token == IMAGE_TOKEN]
    return TokenizedChat(ids, [i in trained for i in range(len(ids))], images)


def test_anyres_worked_example():
    base, n = [0, 1, 2, 3], NEWLINE
    whole = anyres_index(two_tiles(top=0, rows=2), patches=2)
    assert whole.tolist() == [*base, 4, 5, 8, 9, n, 6, 7, 10, 11, n]
    assert whole.dtype == np.int32
    lower = anyres_index(two_tiles(top=1, rows=1), patches=2)
    assert lower.tolist() == [*base, 6, 7, 10, 11, n]


@pytest.mark.parametrize("frame", TOKENS_8B)
def test_as_many_positions_as_visual_tokens(frame):
    shape = geometry(grid_size(*frame), SPEC_8B)
    index = anyres_index(shape, patches=24)
    assert len(index) == shape.visual_tokens == TOKENS_8B[frame]
    used = index[index != NEWLINE]
    assert len(set(used.tolist())) == len(used)
    assert used.min() == 0 and used.max() < shape.tiles * 576
    assert (index == NEWLINE).sum() == shape.plane_rows


def test_every_patch_stands_where_its_picture_part_is():
    rng = np.random.default_rng(0)
    for size in rng.integers(30, 3000, (60, 2)).tolist():
        for spec in (SPEC_8B, AnyRes.standard(16, patches=2)):
            p, g = spec.patches, geometry(tuple(size), spec)
            # The tiles' own patch numbers, put together to the plane as pixels would be.
            tiles = np.arange((g.tiles - 1) * p * p) + p * p
            plane = tiles.reshape(g.tile_rows, g.tile_cols, p, p).swapaxes(1, 2)
            plane = plane.reshape(g.tile_rows * p, g.tile_cols * p)
            expected = list(range(p * p))
            for row in plane[g.plane_top :][: g.plane_rows]:
                expected += [*row[g.plane_left :][: g.plane_cols], NEWLINE]
            assert anyres_index(g, patches=p).tolist() == expected


def test_overview_is_the_base_view_alone():
    assert overview_index(patches=2).tolist() == [0, 1, 2, 3]
    assert len(overview_index(patches=24)) == 576


def test_expand_worked_example():
    image = (overview_index(patches=1), 1)
    sample = expand(chat([5, IMAGE_TOKEN, 7, 8, 9], [3, 4]), images=[image], patches=1)
    assert sample.tokens.tolist() == [5, 0, 7, 8, 9]
    assert sample.visual_index.tolist() == [TEXT, 0, TEXT, TEXT, TEXT]
    assert sample.loss_index.tolist() == [2, 3]
    assert sample.targets.tolist() == [8, 9]
    assert sample.tiles == 1


def test_two_images_in_different_turns():
    # The second image's patches go on after the first one's three tiles.
    first = (anyres_index(two_tiles(top=1, rows=1), patches=2), 3)
    second = (overview_index(patches=2), 1)
    ids = [5, IMAGE_TOKEN, 6, 7, IMAGE_TOKEN, 8]
    sample = expand(chat(ids, [3, 5]), images=[first, second], patches=2)
    assert sample.tiles == 4
    seen = [0, 1, 2, 3, 6, 7, 10, 11, NEWLINE]
    expected = [TEXT, *seen, TEXT, TEXT, 12, 13, 14, 15, TEXT]
    assert sample.visual_index.tolist() == expected
    assert sample.tokens.tolist() == [5, *[0] * 9, 6, 7, *[0] * 4, 8]
    # What is said right after an image is predicted by the image's last position.
    assert sample.loss_index.tolist() == [10, 15]
    assert sample.targets.tolist() == [7, 8]


def test_text_alone_has_no_tiles():
    sample = expand(chat([5, 6, 7], [0, 2]), images=[], patches=2)
    assert sample.visual_index.tolist() == [TEXT] * 3
    assert sample.tiles == 0
    # Nothing stands before position 0 that could say it.
    assert sample.loss_index.tolist() == [1] and sample.targets.tolist() == [7]


@pytest.mark.parametrize("images", [0, 2])
def test_places_and_images_must_be_as_many(images):
    image = (overview_index(patches=1), 1)
    with pytest.raises(RecordError, match=f"a.json: record 'x'.* 1 <image> places for {images}"):
        where = "a.json: record 'x'"
        expand(chat([5, IMAGE_TOKEN]), images=[image] * images, patches=1, where=where)


def test_place_worked_example():
    tile = np.full((1, 1, 1, 3), 9, np.uint8)
    first = expand(chat([5, IMAGE_TOKEN]), images=[(np.array([0]), 1)], patches=1)
    image = (np.array([0, NEWLINE]), 1)
    second = expand(chat([IMAGE_TOKEN, 6], [1]), images=[image], patches=1)
    row = place(
        [Placed(first, tile, 1.0), Placed(second, tile + 1, 0.5)],
        budget=Budget(8, 3, 2),
        side=1,
        patches=1,
    )
    assert row.visual_index.tolist() == [-1, 0, 1, 3, -1, -1, -1, -1]
    assert row.positions.tolist() == [0, 1, 0, 1, 2, 0, 0, 0]
    assert row.segments.tolist() == [1, 1, 2, 2, 2, 0, 0, 0]
    assert row.tokens.tolist() == [5, 0, 0, 0, 6, 0, 0, 0]
    assert row.loss_index.tolist() == [3, -1]
    assert row.targets.tolist() == [6, 0]
    assert row.loss_weights.tolist() == [0.5, 0]
    assert row.tiles[:, 0, 0, 0].tolist() == [9, 10, 0]


def random_samples(rng: np.random.Generator, *, patches: int, side: int) -> list[Placed]:
    """A few samples of text, patches and separators of two kinds, some without tiles."""
    samples = []
    for _ in range(rng.integers(0, 5)):
        n, tiles = int(rng.integers(1, 12)), int(rng.integers(0, 3))
        choices = [TEXT, SEPARATOR, SEPARATOR - 1, *range(tiles * patches**2)]
        visual = rng.choice(choices, n).astype(np.int32)
        tokens = np.where(visual == TEXT, rng.integers(1, 99, n), 0).astype(np.int32)
        scored = np.flatnonzero(rng.random(n - 1) < 0.4).astype(np.int32)
        sequence = Sequence1D(tokens, visual, tiles, scored, tokens[scored + 1])
        pixels = rng.integers(1, 255, (tiles, side, side, 3), np.uint8)
        samples.append(Placed(sequence, pixels, float(rng.random())))
    return samples


def slow_place(samples, *, budget: Budget, side: int, patches: int) -> dict[str, list]:
    """`place`, one position at a time."""
    row = {name: [] for name in Batch._fields}
    tile_pixels = []
    for segment, (sequence, pixels, weight) in enumerate(samples, 1):
        offset = len(row["tokens"])
        for i in range(len(sequence.tokens)):
            index = int(sequence.visual_index[i])
            if index >= 0:
                index += len(tile_pixels) * patches**2
            elif index != TEXT:
                index = budget.tiles * patches**2 + {SEPARATOR: 0, SEPARATOR - 1: 1}[index]
            row["visual_index"].append(index)
            row["tokens"].append(int(sequence.tokens[i]))
            row["positions"].append(i)
            row["segments"].append(segment)
        for i, target in zip(sequence.loss_index, sequence.targets, strict=True):
            row["loss_index"].append(offset + int(i))
            row["targets"].append(int(target))
            row["loss_weights"].append(np.float32(weight))
        tile_pixels += list(pixels)
    fill = {"visual_index": -1, "loss_index": -1}
    for name in Batch._fields[:-1]:
        size = budget.scored if name.startswith(("loss", "target")) else budget.positions
        row[name] += [fill.get(name, 0)] * (size - len(row[name]))
    black = np.zeros((side, side, 3), np.uint8)
    row["tiles"] = tile_pixels + [black] * (budget.tiles - len(tile_pixels))
    return row


def test_place_equals_a_slow_reference():
    rng, budget = np.random.default_rng(1), Budget(50, 9, 50)
    for _ in range(50):
        samples = random_samples(rng, patches=2, side=4)
        row = place(samples, budget=budget, side=4, patches=2)
        expected = slow_place(samples, budget=budget, side=4, patches=2)
        for name, value in row._asdict().items():
            np.testing.assert_array_equal(value, np.array(expected[name]), err_msg=name)
        kinds = {k: v.dtype.name for k, v in row._asdict().items()}
        assert set(kinds.values()) == {"int32", "float32", "uint8"}
        assert kinds["loss_weights"] == "float32" and kinds["tiles"] == "uint8"


def test_a_sample_without_pixels_leaves_a_hole_and_moves_none():
    rng, budget = np.random.default_rng(2), Budget(60, 9, 60)
    samples = [s for _ in range(3) for s in random_samples(rng, patches=2, side=4)][:4]
    assert len(samples) == 4
    whole = place(samples, budget=budget, side=4, patches=2)
    samples[1] = samples[1]._replace(tiles=None)
    holed = place(samples, budget=budget, side=4, patches=2)
    gone = whole.segments == 2
    assert gone.any()
    assert (holed.segments[gone] == 0).all() and (holed.tokens[gone] == 0).all()
    assert (holed.visual_index[gone] == TEXT).all()
    for name in ("tokens", "visual_index", "positions"):
        np.testing.assert_array_equal(getattr(holed, name)[~gone], getattr(whole, name)[~gone])
    # Samples are numbered without a gap, so that the largest number is how many there are.
    assert holed.segments.max() == 3
    np.testing.assert_array_equal(holed.segments[~gone] > 0, whole.segments[~gone] > 0)
    scored_gone = np.isin(whole.loss_index, np.flatnonzero(gone))
    assert (holed.loss_index[scored_gone] == -1).all()
    assert (holed.loss_weights[scored_gone] == 0).all()
    np.testing.assert_array_equal(holed.loss_index[~scored_gone], whole.loss_index[~scored_gone])
    first, count = samples[0].sequence.tiles, samples[1].sequence.tiles
    assert not holed.tiles[first : first + count].any()
    np.testing.assert_array_equal(holed.tiles[first + count :], whole.tiles[first + count :])


def good_batch() -> Batch:
    """[1, ...]: one text sample in a row of 4 positions and 2 tiles of one patch."""
    sample = expand(chat([5, 6], [1]), images=[], patches=1)
    empty = np.zeros((0, 1, 1, 3), np.uint8)
    row = place([Placed(sample, empty, 1.0)], budget=Budget(4, 2, 2), side=1, patches=1)
    return Batch(*(field[None] for field in row))


def test_check_accepts_a_good_batch_with_and_without_accumulation():
    batch = good_batch()
    check(batch, patches=1, separators=1, vocab_size=7)
    check(Batch(*(f[None] for f in batch)), patches=1, separators=1, vocab_size=7)


@pytest.mark.parametrize(
    ("field", "value", "limits"),
    [
        ("tokens", -1, "0..6"),
        ("tokens", 7, "0..6"),
        ("visual_index", -2, "-1..2"),  # a separator that was never placed
        ("visual_index", 3, "-1..2"),  # a second separator where the model has one
        ("positions", -1, "0..3"),
        ("positions", 4, "0..3"),
        ("segments", -1, "0..4"),
        ("segments", 5, "0..4"),
        ("loss_index", -2, "-1..3"),
        ("loss_index", 4, "-1..3"),
        ("targets", -1, "0..6"),
        ("targets", 7, "0..6"),
    ],
)
def test_check_names_the_field_the_place_and_the_value(field, value, limits):
    batch = good_batch()
    getattr(batch, field)[0, 1] = value
    with pytest.raises(RecordError) as caught:
        check(batch, patches=1, separators=1, vocab_size=7)
    assert f"{field}[0, 1] is {value}, outside {limits}" in str(caught.value)
    assert "mend:" in str(caught.value)
