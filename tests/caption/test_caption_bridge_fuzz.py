"""Hostile caption files of every format: lines come out, or faults that are named, or one error."""

from __future__ import annotations

import json
import pathlib
import random

import pytest

from sg4v_jax.caption.bridge import join, recognise, slices, swap
from sg4v_jax.caption.bridge.build import source_format
from sg4v_jax.caption.bridge.clips import MENDS, Fault
from sg4v_jax.caption.bridge.formats import FORMATS
from sg4v_jax.caption.bridge.rows import RowReader
from sg4v_jax.caption.bridge.work import Maker, Making
from sg4v_jax.errors import Sg4vError

GOLDEN = pathlib.Path(__file__).parents[1] / "data/golden"
NAMES = sorted(p.name for p in GOLDEN.iterdir())
EACH = 80  # mutated files for each format
SPLICES = (
    *(b"\xff\xfe", b"\0", b"NaN", b"\xef\xbb\xbf", b"9" * 5000, b"}]", b'"', b"\\", b"\r", b","),
    *(b"../", b"\\ud800", b"\xe9", b"[[[[" * 300, b"null", b'""', b"\n", b"[", b"'", b"C:\\"),
    *(b"gs://x/", b"\x85", b"\xe2\x80\xa8", b"-1", b"1e999", b"0:0"),
)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to three of: flipped bits, a cut, a splice, a stretch left out or told twice."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at, kind = rng.randrange(max(1, len(made))), rng.randrange(5)
        end = min(len(made), at + rng.randint(1, 60))
        if kind == 0 and made:
            made[at % len(made)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del made[at:]
        elif kind == 2:
            made[at:at] = rng.choice(SPLICES)
        elif kind == 3:
            del made[at:end]
        else:
            made[at:at] = made[at:end]
    return bytes(made)


def made_of(file, target: str) -> tuple[list, list[Fault]]:
    """Lines and faults, as a build's workers make them."""
    sliced = slices.cut(file, size=300)
    reader = RowReader(str(file), sliced.layout, sliced.header)
    arms = ("detailed", "first_n_sentences:1", "shuffled")
    source = source_format(file, sliced)
    if source == "panda_csv":
        arms = ("short",)
    making = Making(source=source, target=target, styles=arms)
    maker, lines, faults = Maker(making), [], []
    for part in sliced.slices:
        for row in reader.rows(slices.read(file, part), first=part.first):
            for made in maker.made(row):
                (faults if isinstance(made, Fault) else lines).append(made)
    return lines, faults


@pytest.mark.parametrize("name", NAMES)
def test_lines_or_faults_or_a_typed_error(name, tmp_path):
    rng, file = random.Random(f"bridge {name}"), tmp_path / name
    whole = (GOLDEN / name).read_bytes()
    read = faulty = refused = 0
    for number in range(EACH):
        file.write_bytes(mutated(whole, rng))
        target = ("llava_json", "osp", "wan", "sharegpt4video_jsonl", "videochatgpt_json")[
            number % 5
        ]
        try:
            lines, faults = made_of(file, target)
        except Sg4vError as e:
            refused += 1
            assert name in str(e) and e.mend
            continue
        read += bool(lines)
        faulty += bool(faults)
        for fault in faults:
            assert fault.kind in MENDS and fault.mend and name in fault.where
            json.dumps(fault.as_json()).encode()
        for identity, where, arms in lines:
            assert identity and where.startswith(str(file)) and arms
            for line, _, words, _ in arms.values():
                assert line.encode() and words
                if target == "llava_json":
                    check_llava(json.loads(line))
    assert refused + faulty > EACH // 4 and read > 5  # both ways are tried


def check_llava(record: dict) -> None:
    path = record.get("video", record.get("image"))
    parts = pathlib.PurePosixPath(path.replace("\\", "/"))
    assert not parts.is_absolute() and ".." not in parts.parts and "://" not in path
    start, end = record.get("bounds") or (0, 1)
    assert 0 <= start < end


def test_mutated_mixes_are_swapped_to_the_byte_or_refused(tmp_path):
    rng, file = random.Random("swap"), tmp_path / "mix.json"
    whole, rule = (GOLDEN / "videochatgpt.json").read_bytes(), recognise.parse("question")
    opened = refused = 0
    for _ in range(EACH):
        file.write_bytes(mutated(whole, rng))
        try:
            with swap.open_mix(file, rule) as mix:
                assert swap.differences(mix, file) == []
                rest = b"".join(swap._swapped(mix, iter([b"{}"] * len(mix.samples))))
                assert json.loads(rest.decode("utf-8-sig")) is not None
                opened += 1
        except Sg4vError as e:
            refused += 1
            assert "mix.json" in str(e)
    assert opened > 5 and refused > 5


def test_mutated_panda_files_give_captions_or_faults(tmp_path):
    rng, file = random.Random("panda"), tmp_path / "panda.csv"
    whole = (GOLDEN / "panda.csv").read_bytes()
    for _ in range(EACH):
        file.write_bytes(mutated(whole, rng))
        try:
            shorts, faults = join.read_short(file)
        except Sg4vError as e:
            assert "panda.csv" in str(e)
            continue
        assert all(fault.kind in MENDS for fault in faults)
        for told in shorts.videos.values():
            assert all(0 <= start < end and isinstance(text, str) for start, end, text in told)


def test_every_format_says_what_it_reads():
    assert {known for form in FORMATS.values() for known in form.layouts} == {
        "lines",
        "csv",
        "list",
    }
