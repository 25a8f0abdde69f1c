"""Which videos a verb works on: a folder, or a list; as items of a job.

An item is `{"id": ..., "video": ...}`. The video's path is relative to a root, so the same job
has the same items on every machine; `open_path` joins the two when the video is read, and a path
that climbs out of its root is then that item's own failure.
"""

from __future__ import annotations

import os
import pathlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from sg4v_jax import files
from sg4v_jax.errors import RecordError

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".wmv", ".ogv", ".gif"),
    *(".mpg", ".mpeg", ".ts", ".3gp"),
)


class Videos(NamedTuple):
    """Items, and the folder that their paths are relative to."""

    root: str
    items: list[dict[str, Any]]


def list_videos(where: str | os.PathLike) -> Videos:
    """The videos that `where` names.

        a folder      every video file in it and below, by path; the id is the path without suffix
        x.txt         a path a line, relative to the list's folder
        x.json(l)     records with "video" and perhaps "id", relative to the list's folder

    Raises:
      RecordError: nothing there, no videos in it, a record without "video", two of one id.
    """
    path = files.path(where)
    if path.is_dir():
        found = (folder / name for folder, _, inside in path.walk() for name in inside)
        names = sorted(
            p.relative_to(path).as_posix() for p in found if p.suffix.lower() in SUFFIXES
        )
        videos = Videos(str(path), _named(names))
    else:
        videos = Videos(str(path.parent), _from_list(path))
    if not videos.items:
        raise RecordError(
            f"{where}: no videos", mend=f"files that end in {', '.join(SUFFIXES)} are taken"
        )
    _check_ids(videos.items, where=str(where))
    return videos


def open_path(root: str, item: dict[str, Any]) -> str:
    """Where the video of `item` lies.

    Raises:
      UnsafePathError: its path leaves `root`.
    """
    return files.safe_join(root, item["video"], where=f"video {item['id']!r}")


def folder_of(root: str, name: str) -> str:
    """A folder of its own below `root` for the item `name`.

    Raises:
      RecordError: the id is no plain path: it climbs out, or two ids would share a folder.
    """
    folder = files.safe_join(root, name, where=f"id {name!r}")
    if str(pathlib.PurePosixPath(name)) != name or name == ".":
        raise RecordError(
            f"id {name!r} cannot name a folder", mend=f"write {str(pathlib.PurePosixPath(name))!r}"
        )
    return folder


def _from_list(path) -> list[dict[str, Any]]:
    if path.suffix not in (".txt", ".json", ".jsonl"):
        raise RecordError(
            f"{path}: not a folder, and no list of videos",
            mend="give a folder, or a .txt, .json or .jsonl file",
        )
    if not path.exists():
        raise RecordError(f"{path}: no such file or folder", mend="check the path")
    if path.suffix == ".txt":
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except UnicodeDecodeError as e:
            raise RecordError(f"{path}: not UTF-8 ({e})", mend="save it as UTF-8") from e
        return _named([line for line in lines if line])
    rows = files.read_json(path) if path.suffix == ".json" else files.read_jsonl(path)
    if not isinstance(rows, list):
        raise RecordError(f"{path}: not a list", mend="give a list of objects")
    names = []
    for number, row in enumerate(rows, 1):
        video = row.get("video") if isinstance(row, dict) else None
        if not isinstance(video, str) or not video:
            raise RecordError(
                f"{path}: record {number}: field 'video': {video!r}", mend="give the path"
            )
        names.append(video)
    return [
        {"id": str(row.get("id") or item["id"]), "video": item["video"]}
        for row, item in zip(rows, _named(names), strict=True)
    ]


def _named(names: Sequence[str]) -> list[dict[str, Any]]:
    """Items with the path as id, the suffix left out where that leaves ids apart."""
    stems = [os.path.splitext(name)[0] for name in names]
    count = Counter(stems)
    return [
        {"id": stem if count[stem] == 1 else name, "video": name}
        for stem, name in zip(stems, names, strict=True)
    ]


def _check_ids(items: Sequence[dict[str, Any]], *, where: str) -> None:
    twice = [name for name, n in Counter(item["id"] for item in items).items() if n > 1]
    if twice:
        raise RecordError(
            f"{where}: {len(twice)} ids stand twice, the first is {twice[0]!r}",
            mend="make ids unique",
        )
