"""The caption file of the published data set: `sharegpt4video_40k.jsonl`, one video a line.

    {"video_id": "a1", "video_path": "panda/a1.mp4", "zip_folder": "panda_videos_1.zip",
     "captions": [{"idx": "0", "content": "..."}, {"idx": "-1", "content": "..."}]}

The caption of idx -1 tells the whole video and is learnt; those of single key frames are not
read here. Source: section 4.6 of the original system's specification.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping

from sg4v_jax import files
from sg4v_jax.data.readers import fields, source
from sg4v_jax.data.record import Record, Visual
from sg4v_jax.errors import RecordError

# What asks for a detailed caption. Ours: the prompts of the original's training are not published.
CAPTION_PROMPTS = (
    "Describe this video in detail.",
    "Tell what happens in this video from beginning to end.",
    "What does this video show? Describe it thoroughly.",
    "Write a detailed description of the video, in the order of its events.",
    "Give a full account of the scene, the people or objects in it and what they do.",
    "Explain what can be seen in this video and how it changes over time.",
    "Describe the content of the video, the camera's movement included.",
    "Write a detailed caption for this video.",
)
WHOLE_VIDEO = "-1"


def caption_prompt(record_id: str, *, seed: int) -> str:
    """One of `CAPTION_PROMPTS`, drawn from the seed and the id, whatever else is in the file."""
    return random.Random(f"{seed}/{record_id}").choice(CAPTION_PROMPTS)


def read_sharegpt4video_jsonl(
    path: str | os.PathLike, *, root: str | os.PathLike, seed: int = 0
) -> list[Record]:
    """A captioning record for each video.

    Args:
      path: the annotation file.
      root: the folder that `video_path` is relative to. Where the video is not there, it is
        looked for in a folder with the name of its `zip_folder`, as unpacking one archive makes.
      seed: draws the prompts.

    Raises:
      RecordError: not one JSON object a line, a missing field or one of the wrong type, no
        caption of the whole video or two of them; names file, record and field.
      UnsafePathError: a path that climbs out of `root`.
    """
    rows = source.read_lines(path)
    return fields.numbered(
        _record(item, place, path=str(path), root=root, seed=seed) for place, item in rows
    )


def _record(item: Mapping, place: str, *, path: str, root: str | os.PathLike, seed: int) -> Record:
    name = fields.text_field(item, "video_id", where=f"{path}: {place}")
    where = f"{path}: record {name!r}"
    visual = Visual("video", _video(item, root=root, where=where))
    turns = fields.asked([visual], caption_prompt(name, seed=seed), _summary(item, where=where))
    return Record(name, path, (visual,), turns)


def _video(item: Mapping, *, root: str | os.PathLike, where: str) -> str:
    at = f"{where}: field 'video_path'"
    full = fields.media_path(item.get("video_path"), root=root, where=at)
    if item.get("zip_folder") is None or fields.exists(full):
        return full
    archive = fields.text_field(item, "zip_folder", where=where)
    beside = f"{fields.stem(archive)}/{files.path(full).name}"
    unpacked = files.safe_join(root, beside, where=f"{where}: field 'zip_folder'")
    return unpacked if fields.exists(unpacked) else full


def _summary(item: Mapping, *, where: str) -> str:
    captions = item.get("captions")
    if not isinstance(captions, list) or not all(isinstance(c, dict) for c in captions):
        raise RecordError(
            f"{where}: field 'captions': expected a list of objects, got {captions!r:.60}",
            mend='give it as [{"idx": "-1", "content": ...}]',
        )
    whole = [c for c in captions if str(c.get("idx")) == WHOLE_VIDEO]
    if len(whole) != 1:
        raise RecordError(
            f"{where}: field 'captions': {len(whole)} of {len(captions)} have idx '-1'",
            mend="give exactly one caption of the whole video, with idx '-1'",
        )
    return fields.text_field(whole[0], "content", where=f"{where}: field 'captions'")
