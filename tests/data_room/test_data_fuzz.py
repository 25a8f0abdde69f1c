"""Hostile annotation files: whatever the bytes, records come out or a typed error."""

from __future__ import annotations

import copy
import json
import random

import pytest

from sg4v_jax.data.readers import READERS
from sg4v_jax.data.record import Record
from sg4v_jax.errors import Sg4vError, UnsafePathError

EACH = 60  # mutated files for each format
PATHS = ("../x", "/etc/passwd", "..\\x", "a\0b", "gs://b/x", "~/x", "", "x" * 5000, "\ud800", "..")
SWAPS = (None, True, 0, -1, 1e308, 10**400, "", "text", [], {}, [None], {"a": [1]}, [[["x"]]])
TALK = [
    {"from": "human", "value": "<image>\nWhat?"},
    {"from": "gpt", "value": "A caf\u00e9 \U0001f600."},
]


def llava() -> list:
    return [
        {"id": "a", "video": "clips/a.mp4", "bounds": [1, 2.5], "conversations": TALK},
        {"id": 2, "image": ["a.png", "b.png"], "conversations": TALK},
        {"conversations": TALK, "start": 1, "end": 2, "fps": 3, "video": "b"},
    ]


SEEDS = {
    "llava_json": llava(),
    "jsonl": [
        *llava(),
        {"id": "x", "video": "a.mp4", "prompt": "What?", "answer": "A ball."},
        {"id": "y", "image": "a.png", "caption": "A dog."},
    ],
    "videochatgpt_json": [{"q": "What?", "a": "A man.", "video_id": v} for v in ("v_1", "v_2")],
    "sharegpt4video_jsonl": [
        {
            "video_id": "a1",
            "video_path": "panda/a1.mp4",
            "zip_folder": "panda_1.zip",
            "keyframe": [0, 3],
            "captions": [{"idx": "0", "content": "A."}, {"idx": "-1", "content": "All."}],
        }
    ]
    * 2,
}


def encoded(items: object, *, lines: bool) -> bytes:
    if lines and isinstance(items, list):
        return "\n".join(json.dumps(item) for item in items).encode()
    return json.dumps(items, ensure_ascii=True).encode()


def places(value: object) -> list[tuple]:
    """(container, key) of every value inside."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    if not isinstance(value, dict | list):
        return []
    found = []
    for key, inner in inside:
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += places(inner)
    return found


def mutated(seed: list, rng: random.Random, *, lines: bool) -> bytes:
    """One of: flipped bytes, a cut, a splice, a swapped value, a hostile path, deep nesting."""
    kind = rng.randrange(6)
    items = copy.deepcopy(seed)
    if kind == 3:
        container, key = rng.choice(places(items))
        container[key] = copy.deepcopy(rng.choice(SWAPS))
    elif kind == 4:
        texts = [(c, k) for c, k in places(items) if isinstance(c[k], str)]
        container, key = rng.choice(texts)
        container[key] = rng.choice(PATHS)
    elif kind == 5:
        container, key = rng.choice(places(items))
        container[key] = "DEEP"
        depth = rng.choice((17, 200, 900, 990, 5000, 100_000))
        open_, close = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
        nested = open_ * depth + b"1" + close * depth
        return encoded(items, lines=lines).replace(b'"DEEP"', nested)
    data = bytearray(encoded(items, lines=lines))
    if kind == 0:
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[rng.randrange(len(data)) :]
    elif kind == 2:
        at = rng.randrange(len(data))
        data[at:at] = rng.choice((b"\xff\xfe", b"\0", b"NaN", b"\xef\xbb\xbf", b"9" * 5000, b"}]"))
    return bytes(data)


def attempt(name: str, file, root) -> list[Record] | Sg4vError:
    try:
        return READERS[name](file, root=root)
    except Sg4vError as e:
        return e


@pytest.mark.parametrize("name", SEEDS)
def test_the_seeds_themselves_are_sound(name, tmp_path):
    file = tmp_path / "seed"
    file.write_bytes(encoded(SEEDS[name], lines=name.endswith("jsonl")))
    assert len(READERS[name](file, root=tmp_path)) == len(SEEDS[name])


@pytest.mark.parametrize("name", SEEDS)
def test_records_or_a_typed_error(name, tmp_path):
    root, file = tmp_path / "root", tmp_path / "mutated"
    root.mkdir()
    rng = random.Random(f"fuzz {name}")
    read = refused = 0
    for _ in range(EACH):
        file.write_bytes(mutated(SEEDS[name], rng, lines=name.endswith("jsonl")))
        got = attempt(name, file, root)
        if isinstance(got, Sg4vError):
            refused += 1
            assert str(file) in str(got) or str(root) in str(got)
            continue
        read += 1
        for record in got:
            assert all(isinstance(t.content, str) for t in record.turns)
            assert record.where.encode() and record.turns
            assert all(v.path.startswith(f"{root}/") for v in record.visuals)
    assert refused > EACH // 4 and read > 2  # both ways are tried


@pytest.mark.parametrize("name", SEEDS)
@pytest.mark.parametrize("path", [p for p in PATHS if p.startswith(("..", "/", "gs", "a\0"))])
def test_every_path_of_every_reader_stays_in_its_root(name, path, tmp_path):
    fields = {"video": path, "image": path, "video_path": path, "video_id": path}
    [item] = copy.deepcopy(SEEDS[name][:1])
    item |= {key: value for key, value in fields.items() if key in item}
    file = tmp_path / "a"
    file.write_bytes(encoded([item], lines=name.endswith("jsonl")))
    error = attempt(name, file, tmp_path)
    assert isinstance(error, Sg4vError), error
    assert isinstance(error, UnsafePathError) or name == "videochatgpt_json"
    assert str(file) in str(error)
