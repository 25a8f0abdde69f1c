"""Which frames a row shows, what it notes of lost ones, and both ways to show a picture."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from sg4v_jax.data import pipeline
from sg4v_jax.data.index import build_index
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.data.mixture import Part, read_part
from sg4v_jax.data.packing import Budget
from sg4v_jax.data.record import Note, Record, Visual
from sg4v_jax.errors import ConfigError, DecodeTimeoutError, Sg4vError
from sg4v_jax.text.chat import Turn
from sg4v_jax.video.decode import Decoded
from sg4v_jax.video.encode import write_mp4

FRAMES = 32


@pytest.fixture(scope="module")
def ramp(tmp_path_factory):
    """A video of 32 frames at 10 a second, each brighter than the one before."""
    file = tmp_path_factory.mktemp("ramp") / "ramp.mp4"
    levels = np.arange(FRAMES, dtype=np.uint8) * 6
    write_mp4(str(file), np.broadcast_to(levels[:, None, None, None], (FRAMES, 64, 96, 3)), fps=10)
    return Visual("video", str(file))


def shown(spec: InputSpec, picture: np.ndarray) -> list[int]:
    """The frame numbers in a grid of `ramp`, from the brightness of its cells."""
    cells = spec.band + np.array([64, 96])
    at = [(y * cells[0] + 32, x * cells[1] + 48) for y in range(4) for x in range(4)]
    return [round(float(picture[y, x].mean()) / 6) for y, x in at]


def test_the_rule_of_the_spec(spec, ramp):
    by_rule = {
        rule: shown(spec, dataclasses.replace(spec, sampling=rule).load(ramp).pixels)
        for rule in ("run", "mvbench", "tempcompass")
    }
    step = (FRAMES - 1) / 16
    assert by_rule["run"] == [int(step / 2) + round(step * i) for i in range(16)]
    assert by_rule["mvbench"] == by_rule["run"]
    assert by_rule["tempcompass"] == [
        (round(step * i) + round(step * (i + 1))) // 2 for i in range(16)
    ]
    assert by_rule["tempcompass"] != by_rule["run"]


@pytest.mark.parametrize("rule", ["run", "mvbench", "tempcompass"])
def test_bounds_show_a_stretch_whatever_the_rule(spec, ramp, rule):
    part = dataclasses.replace(ramp, bounds=(1.0, 2.6))
    frames = shown(spec, dataclasses.replace(spec, sampling=rule).load(part).pixels)
    assert frames == [10 + math.floor(0.5 + i) for i in range(16)]
    drawn = spec.load(part, rng=np.random.default_rng(0)).pixels
    assert shown(spec, drawn) == frames
    slower = dataclasses.replace(part, fps=5.0)  # then seconds 1.0 to 2.6 are frames 5 to 13
    assert shown(spec, spec.load(slower).pixels)[::15] == [5, 13]


def test_bounds_outside_the_video_are_an_error(spec, ramp):
    with pytest.raises(ConfigError, match="ramp.mp4.*start after the last frame"):
        spec.load(dataclasses.replace(ramp, bounds=(7.0, 8.0)))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"sampling": "rand"}, "sampling 'rand'"), ({"double_bos": "yes"}, "double_bos 'yes'")],
)
def test_unknown_settings(spec, change, message):
    with pytest.raises(ConfigError, match=f"{message} is unknown"):
        dataclasses.replace(spec, **change)


def test_a_spec_saved_before_these_fields_reads_as_it_did(spec):
    old = dataclasses.asdict(spec) | {"anyres": spec.anyres}
    del old["sampling"], old["double_bos"]
    assert InputSpec(**old) == spec and spec.sampling == "run" and spec.double_bos is None


def test_double_bos_reaches_the_tokens(spec, tokenizer, ramp):
    record = ask(ramp)
    [size] = [spec.visual_size(ramp)]
    tokens = {
        double: dataclasses.replace(spec, double_bos=double)
        .record_sequence(record, sizes=[size], tokenizer=tokenizer)[0]
        .tokens.tolist()
        for double in (None, False, True)
    }
    assert tokens[None] == tokens[False]  # this tokenizer adds none
    assert tokens[True] == [tokenizer.bos_id, *tokens[False]]


def ask(*visuals: Visual, name: str = "x") -> Record:
    content = "<image>\n" * len(visuals) + "What?"
    return Record(name, "a.json", visuals, (Turn("user", content), Turn("assistant", "A ball.")))


@pytest.fixture
def ramp_rows(make_rows, spec, tokenizer, ramp):
    """`ramp_rows(**settings)`: rows of one record each, six records of the same video."""
    records = [ask(ramp, name=str(i)) for i in range(6)]
    index = build_index(records, spec=spec, tokenizer=tokenizer)

    def make(**settings):
        return make_rows(index=index, budget=Budget(200, 5, 40), batch_rows=3, **settings)

    return make


def frames_of(rows, row: int) -> list[int]:
    epoch, _ = rows.locate(row)
    [number] = rows.records_of(row).tolist()
    [picture] = rows.pictures(number, epoch=epoch)
    np.testing.assert_array_equal(rows[row].tiles, rows.spec.tiles(picture.pixels))
    return shown(rows.spec, picture.pixels)


def test_drawn_frames_are_in_order_and_other_ones_in_each_epoch(ramp_rows):
    rows = ramp_rows(sampling="rand")
    seen = {row: frames_of(rows, row) for row in range(12)}
    for frames in seen.values():
        assert frames == sorted(frames)
        assert all(2 * i <= f < 2 * i + 2 for i, f in enumerate(frames))
    assert len({tuple(frames) for frames in seen.values()}) == 12  # 6 records in 2 epochs
    plain = ramp_rows()
    assert len({tuple(frames_of(plain, row)) for row in range(12)}) == 1


def test_drawn_frames_depend_on_seed_epoch_and_record_alone(ramp_rows):
    rows, again = ramp_rows(sampling="rand"), ramp_rows(sampling="rand")
    wanted = [rows[row].tiles for row in range(9)]
    for row in (8, 0, 5, 8):  # resumed anywhere, in any order
        np.testing.assert_array_equal(again[row].tiles, wanted[row])
    threaded = pipeline.batches(ramp_rows(sampling="rand"), start=1, stop=3, threads=4)
    got = np.concatenate([read.batch.tiles for read in threaded])
    np.testing.assert_array_equal(got, np.stack(wanted[3:]))
    other = ramp_rows(sampling="rand", seed=1)
    assert not np.array_equal(other.pictures(0, epoch=0)[0], rows.pictures(0, epoch=0)[0])


def test_unknown_training_time_sampling(ramp_rows):
    with pytest.raises(ConfigError, match="training-time sampling 'random' is unknown"):
        ramp_rows(sampling="random")


def test_substituted_frames_are_noted(ramp_rows, ramp, monkeypatch):
    def damaged(path, *, n, **options):
        return Decoded([np.zeros((64, 96, 3), np.uint8)] * n, 3, tuple(range(n)))

    monkeypatch.setattr("sg4v_jax.data.inputs.sample_frames", damaged)
    rows = ramp_rows()
    batch, notes = rows.read(0)
    record = rows.index.records[rows.records_of(0)[0]]
    assert notes == (Note(record.where, "substituted", f"{ramp.path}: frames lost to damage", 3),)
    assert (batch.segments > 0).any()


def test_a_skipped_record_is_noted(ramp_rows, monkeypatch):
    def slow(path, *, n, seconds, **options):
        raise DecodeTimeoutError(f"{path}: not read within {seconds:g} seconds")

    monkeypatch.setattr("sg4v_jax.data.inputs.sample_frames", slow)
    rows = ramp_rows(seconds=7.0)
    batch, [note] = rows.read(0)
    assert note.kind == "skipped" and note.count == 1
    assert note.reason.endswith("ramp.mp4: not read within 7 seconds")
    assert note.record == rows.index.records[rows.records_of(0)[0]].where
    assert not (batch.segments > 0).any()


def test_a_broken_file_is_opened_once_for_all_its_records(spec, tokenizer, monkeypatch, ramp):
    opened = []

    def broken(path, *, seconds):
        opened.append((path, seconds))
        raise Sg4vError(f"{path}: broken")

    monkeypatch.setattr("sg4v_jax.data.inputs.probe", broken)
    words = Record("w", "a.json", (), (Turn("user", "Hi"), Turn("assistant", "Ho")))
    records = [*(ask(ramp, name=str(i)) for i in range(5)), words]
    index = build_index(records, spec=spec, tokenizer=tokenizer, max_skipped=0.9, seconds=3.0)
    assert opened == [(ramp.path, 3.0)] and len(index.skipped) == 5


@pytest.mark.parametrize("longest_side", [0, 200])
@pytest.mark.parametrize("visual", ["anyres", "overview"])
def test_from_the_annotation_to_the_row(
    spec, tokenizer, make_rows, ramp, tmp_path, visual, longest_side
):
    """Both ways to show a picture, with and without the cap on the grid's size."""
    line = {"video": "ramp.mp4", "question": "What?", "answer": "Light."}
    (tmp_path / "a.jsonl").write_text(json.dumps(line))
    root = ramp.path.rpartition("/")[0]
    part = Part(name="p", file=str(tmp_path / "a.jsonl"), format="jsonl", root=root)
    seen = dataclasses.replace(spec, visual=visual, longest_side=longest_side)
    index = build_index(read_part(part), spec=seen, tokenizer=tokenizer)
    width, height = 4 * 96 + 3 * 8, 4 * 64 + 3 * 8
    if longest_side:
        width, height = int(width * 200 / width), int(height * 200 / width)
    assert index.sizes == (((width, height),),)
    batch = make_rows(index=index, spec=seen, batch_rows=1)[0]
    picture = seen.load(ramp).pixels
    assert picture.shape == (height, width, 3)
    tiles = seen.tiles(picture)
    assert len(tiles) == {"anyres": 5, "overview": 1}[visual] == index.lengths[0, 1]
    np.testing.assert_array_equal(batch.tiles[: len(tiles)], tiles)
    assert not batch.tiles[len(tiles) :].any()
    positions, _ = seen.positions((width, height))
    assert (batch.visual_index >= 0).sum() == len(positions)
