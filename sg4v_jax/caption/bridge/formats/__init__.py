"""Caption files of every kind: one module a format, each reads rows and writes them alike.

caption_job            rows of `sg4v caption run`
sharegpt4video_jsonl   the published captions
panda_csv              Panda-70M: a row a source video, list-valued cells
llava_json             LLaVA's conversations, one question and answer each
osp                    Open-Sora-Plan v1.1: path, frame_idx, cap
wan                    metadata.csv of Wan's trainers: video, prompt
csv, jsonl             named columns
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from sg4v_jax import files
from sg4v_jax.caption.bridge.formats import (
    base,
    caption_job,
    llava,
    osp,
    panda,
    plain,
    sharegpt4video,
    videochatgpt,
    wan,
)
from sg4v_jax.caption.bridge.formats.base import Container, Format, ReadOptions, WriteOptions
from sg4v_jax.caption.bridge.slices import layout_of
from sg4v_jax.errors import ConfigError, RecordError

FORMATS: Mapping[str, Format] = {
    "caption_job": caption_job.FORMAT,
    "sharegpt4video_jsonl": sharegpt4video.FORMAT,
    "panda_csv": panda.FORMAT,
    "llava_json": llava.FORMAT,
    "osp": osp.FORMAT,
    "wan": wan.FORMAT,
    "videochatgpt_json": videochatgpt.FORMAT,
    "csv": plain.CSV,
    "jsonl": plain.JSONL,
}

__all__ = [
    "FORMATS",
    "Container",
    "Format",
    "ReadOptions",
    "WriteOptions",
    "detect",
    "format_named",
]


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
      ConfigError: there is none.
    """
    if name not in FORMATS:
        raise ConfigError(f"format {name!r} is unknown", mend=f"use one of {', '.join(FORMATS)}")
    return FORMATS[name]


def detect(name: str | os.PathLike, fields: list[str]) -> str:
    """The format of a file whose first usable row (or header) has these fields.

    Raises:
      RecordError: no format has such fields in a file of that ending.
    """
    layout, have = layout_of(name), set(fields)
    for key, known in FORMATS.items():
        if key == "wan" and have & set(base.USUAL["detailed"]):
            continue  # a table of questions with a caption beside
        if layout in known.layouts and any(set(needed) <= have for needed in known.marks):
            return key
    if layout == "csv":
        return "csv"
    if layout == "lines":
        return "jsonl"
    raise RecordError(
        f"{files.path(name)}: a list of objects with {', '.join(fields) or 'no fields'} is no "
        "caption file that is known",
        mend="name its format (--source_format), or make it a .jsonl",
    )
