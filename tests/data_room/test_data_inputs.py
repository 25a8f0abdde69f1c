"""From a record to its laid-out sample and its tiles."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.data.inputs import InputSpec, measure
from sg4v_jax.data.record import Record, Visual
from sg4v_jax.errors import ConfigError, CorruptVideoError, MissingVideoError, RecordError
from sg4v_jax.text.chat import Turn
from sg4v_jax.video.anyres import AnyRes

ASKED = (Turn("user", "<image>\nWhat?"), Turn("assistant", "A ball."))


@pytest.fixture
def image(tmp_path):
    """A picture file 50 wide and 20 high."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 50, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return Visual("image", str(tmp_path / "a.png")), pixels


def test_the_spec_is_that_of_the_test_model(spec):
    from sg4v_jax.models.video_lm import PRESETS
    from sg4v_jax.weights.store import anyres_of

    assert anyres_of(PRESETS["sg4v-test"]()) == spec.anyres == AnyRes.standard(16, patches=2)


def test_a_videos_size_is_known_without_its_frames(spec, records):
    for longest_side in (0, 200):
        changed = dataclasses.replace(spec, longest_side=longest_side)
        [video] = records[0].visuals
        width, height = changed.visual_size(video)
        picture, substituted = changed.load(video)
        assert picture.shape == (height, width, 3) and picture.dtype == np.uint8
        assert substituted == 0
        assert width == (longest_side or 4 * 96 + 3 * 8)


def test_an_image_is_shown_as_it_is(spec, image):
    visual, pixels = image
    assert spec.visual_size(visual) == (50, 20)
    np.testing.assert_array_equal(spec.load(visual).pixels, pixels)


@pytest.mark.parametrize("visual", ["anyres", "overview"])
def test_positions_and_tiles_agree(spec, image, visual):
    changed = dataclasses.replace(spec, visual=visual)
    for size in ((50, 20), (20, 50), (30, 30), (100, 20)):
        index, count = changed.positions(size)
        picture = np.zeros((size[1], size[0], 3), np.uint8)
        assert changed.tiles(picture).shape == (count, 16, 16, 3)
        assert index.max() < count * 4
    assert changed.positions((30, 30))[1] == {"anyres": 5, "overview": 1}[visual]


def test_lengths_are_those_of_the_laid_out_sample(spec, tokenizer, records):
    for record in records[:4]:
        sizes, lengths, cut = measure(record, spec=spec, tokenizer=tokenizer)
        sequence, drop = spec.record_sequence(record, sizes=sizes, tokenizer=tokenizer)
        assert drop is None and not cut
        assert lengths == (len(sequence.tokens), 5, len(sequence.loss_index))
        assert (sequence.visual_index != -1).sum() == 4 + 4 * 5
        answers = [t.content for t in record.turns if t.role == "assistant"]
        said = tokenizer.decode(sequence.targets.tolist(), skip_special=False)
        assert said == "".join(f"{a}<|eot_id|>" for a in answers)


def test_a_record_of_text_alone(spec, tokenizer):
    record = Record("x", "a.json", (), (Turn("user", "Hi"), Turn("assistant", "Ho")))
    sizes, (positions, tiles, scored), _ = measure(record, spec=spec, tokenizer=tokenizer)
    assert sizes == () and tiles == 0
    assert scored == len(tokenizer.encode("Ho", special=False)) + 1
    assert positions > scored


def test_images_in_several_turns(spec, tokenizer, image, records):
    visual, _ = image
    turns = (*ASKED, Turn("user", "And <image>?"), Turn("assistant", "A cube."))
    record = Record("x", "a.json", (visual, *records[0].visuals), turns)
    sizes, (_, tiles, _), _ = measure(record, spec=spec, tokenizer=tokenizer)
    assert sizes == ((50, 20), (408, 408))
    assert tiles == spec.positions((50, 20))[1] + 5
    sequence, _ = spec.record_sequence(record, sizes=sizes, tokenizer=tokenizer)
    seen = np.flatnonzero(sequence.visual_index != -1)
    borders = np.flatnonzero(np.diff(seen) > 1)
    assert len(borders) == 1  # two runs of visual positions, text between them
    between = sequence.tokens[seen[borders[0]] + 1 : seen[borders[0] + 1]]
    assert "What?" in tokenizer.decode(between.tolist())


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ((Turn("user", "Hi"),), "last turn is not an answer"),
        ((Turn("user", "Hi"), Turn("assistant", "")), "empty turn"),
    ],
)
def test_a_record_with_nothing_to_train_on_is_dropped(spec, tokenizer, turns, reason):
    record = Record("x", "a.json", (), turns)
    with pytest.raises(RecordError, match=f"a.json: record 'x': dropped: {reason}"):
        measure(record, spec=spec, tokenizer=tokenizer)


def test_control_tokens_spelled_in_a_record_are_refused(spec, tokenizer):
    turns = (Turn("user", "Hi<|eot_id|>"), Turn("assistant", "Ho"))
    with pytest.raises(RecordError, match="record 'x': turn 0 .*control token"):
        measure(Record("x", "a.json", (), turns), spec=spec, tokenizer=tokenizer)


def test_image_files_that_cannot_be_read(spec, tmp_path, image):
    with pytest.raises(MissingVideoError, match="none.png: no such image"):
        spec.load(Visual("image", str(tmp_path / "none.png")))
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(CorruptVideoError, match="text.png: not a readable image"):
        spec.visual_size(Visual("image", str(tmp_path / "text.png")))


def test_a_cut_image_file_is_a_typed_error(spec, tmp_path, image):
    # Its size can be read, so that it passes the index; its pixels cannot.
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    cut = Visual("image", str(tmp_path / "cut.png"))
    assert spec.visual_size(cut) == (50, 20)
    with pytest.raises(CorruptVideoError, match="cut.png: not a whole image"):
        spec.load(cut)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"visual": "tiles"}, "visual 'tiles'"), ({"template": "vicuna"}, "template 'vicuna'")],
)
def test_unknown_settings(spec, change, message):
    with pytest.raises(ConfigError, match=f"{message} is unknown") as caught:
        InputSpec(**dataclasses.asdict(spec) | {"anyres": spec.anyres} | change)
    assert caught.value.mend
