"""Annotation files to records: one module a format, all called alike.

READERS["llava_json"]("train.json", root="data", seed=0) -> list[Record]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sg4v_jax.data.readers.arrayrecord import read_arrayrecord
from sg4v_jax.data.readers.jsonl import read_jsonl
from sg4v_jax.data.readers.llava import read_llava_json
from sg4v_jax.data.readers.sharegpt4video import read_sharegpt4video_jsonl
from sg4v_jax.data.readers.videochatgpt import read_videochatgpt_json
from sg4v_jax.data.record import Record

READERS: Mapping[str, Callable[..., list[Record]]] = {
    "llava_json": read_llava_json,
    "sharegpt4video_jsonl": read_sharegpt4video_jsonl,
    "videochatgpt_json": read_videochatgpt_json,
    "jsonl": read_jsonl,
    "arrayrecord": read_arrayrecord,
}

__all__ = [
    "READERS",
    "read_arrayrecord",
    "read_jsonl",
    "read_llava_json",
    "read_sharegpt4video_jsonl",
    "read_videochatgpt_json",
]
