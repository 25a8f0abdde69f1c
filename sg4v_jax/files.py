"""Files through one layer: local paths and `gs://` alike, whole or not at all.

`epath` gives both kinds one interface; nothing else in the package opens files for writing
except the checkpoint library and the video encoder.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pathlib
import shutil
import threading
from typing import Any

from etils import epath

from sg4v_jax.errors import RecordError, StorageError, UnsafePathError

ASSET = "asset:"  # prefix of names of files that the package ships


def path(name: str | os.PathLike) -> epath.Path:
    """`name` as a path object: local, `gs://`, or `asset:NAME` for a file that the package ships."""
    text = os.fspath(name)
    if text.startswith(ASSET):
        return epath.Path(__file__).parent / "assets" / text.removeprefix(ASSET)
    return epath.Path(name)


def is_remote(name: str | os.PathLike) -> bool:
    """Whether `name` lies in an object store (`gs://...`), not in the local file system."""
    return "://" in os.fspath(name)


def absolute(name: str | os.PathLike) -> epath.Path:
    """`name` as a path that does not depend on the working directory; links are followed.

    `epath` would put the working directory before `gs://`.
    """
    found = path(name)
    return found if is_remote(found) else found.resolve()


def append(name: str | os.PathLike, text: str) -> None:
    """Adds `text` at the end of a file that one process writes.

    An object store cannot append: there the whole file is written anew, which suits logs of some
    megabytes.

    Raises:
      StorageError: the disk is full or the folder cannot be written.
    """
    target = path(name)
    if is_remote(target):
        write_atomic(target, (target.read_text() if target.exists() else "") + text)
        return
    try:
        with target.open("a") as f:
            f.write(text)
    except OSError as e:
        raise _cannot_write(target, e) from e


def write_atomic(name: str | os.PathLike, content: bytes | str) -> None:
    """Writes `content` so that `name` is either the old file or the whole new one.

    An object store shows an object once it is whole, so that nothing is renamed there.

    Raises:
      StorageError: the disk is full or the folder cannot be written; `name` is unchanged.
    """
    target = path(name)
    temporary = target.parent / f"{target.name}.tmp-{os.getpid()}-{threading.get_ident()}"
    data = content.encode() if isinstance(content, str) else content
    try:
        if is_remote(target):
            target.write_bytes(data)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(target)
    except OSError as e:
        with contextlib.suppress(OSError):  # the folder itself may be what is wrong
            temporary.unlink(missing_ok=True)
        raise _cannot_write(target, e) from e


def put(local: str | os.PathLike, name: str | os.PathLike) -> None:
    """Moves the whole local file `local` to `name`, which then is the old file or the new one.

    Raises:
      StorageError: as `write_atomic`; `local` may be left.
    """
    target = path(name)
    temporary = target.parent / f"{target.name}.tmp-{os.getpid()}-{threading.get_ident()}"
    try:
        with open(local, "rb") as f:
            os.fsync(f.fileno())
            if is_remote(target):
                with target.open("wb") as sink:
                    shutil.copyfileobj(f, sink, 1 << 22)
                return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(local, target)
        except OSError as e:
            if e.errno != errno.EXDEV:
                raise
            shutil.copyfile(local, temporary)
            os.replace(temporary, target)
    except OSError as e:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _cannot_write(target, e) from e


def _cannot_write(target: epath.Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot write {target}: {error.strerror or error}",
        mend="free some space or choose another folder; the earlier file is unchanged",
    )


def write_json(name: str | os.PathLike, value: Any) -> None:
    """`write_atomic` of `value` as indented JSON."""
    write_atomic(name, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(name: str | os.PathLike) -> Any:
    """The JSON value in file `name`.

    Raises:
      RecordError: the file is missing or is not JSON; names the line.
    """
    try:
        return json.loads(path(name).read_text())
    except FileNotFoundError as e:
        raise RecordError(f"{name}: no such file", mend="check the path") from e
    except json.JSONDecodeError as e:
        raise RecordError(
            f"{name}: line {e.lineno}: not JSON ({e.msg})", mend="mend the file or make it again"
        ) from e


def read_jsonl(name: str | os.PathLike) -> list[dict]:
    """The JSON objects in file `name`, one a line; blank lines are skipped.

    Raises:
      RecordError: the file is missing, or a line is not a JSON object; names the line.
    """
    try:
        text = path(name).read_text()
    except FileNotFoundError as e:
        raise RecordError(f"{name}: no such file", mend="check the path") from e
    rows = []
    for number, line in enumerate(text.split("\n"), 1):  # no other line end ends a row
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as e:
            raise RecordError(f"{name}: line {number}: not JSON ({e.msg})") from e
        if not isinstance(row, dict):
            raise RecordError(f"{name}: line {number}: expected an object, got {row!r:.60}")
        rows.append(row)
    return rows


def safe_join(root: str | os.PathLike, relative: str, *, where: str = "") -> str:
    """`root/relative`, refusing any path that leaves `root` (also through a link).

    Args:
      root: the folder that annotation paths are relative to.
      relative: the path as written in the annotation.
      where: file, record and field, for the message.

    Raises:
      UnsafePathError: `relative` is absolute, has a drive, or climbs out of `root`.
    """
    text = str(relative)
    parts = pathlib.PurePosixPath(text.replace("\\", "/"))
    bad = parts.is_absolute() or ".." in parts.parts or "://" in text or "\0" in text
    if not bad and "://" not in str(root):
        real_root = os.path.realpath(root)
        real = os.path.realpath(os.path.join(real_root, text))
        bad = os.path.commonpath([real_root, real]) != real_root
    if bad:
        raise UnsafePathError(
            f"{where + ': ' if where else ''}path {text!r} leaves its root {root}",
            mend="use a path relative to the data root, without '..' and links that lead outside",
        )
    return str(path(root) / text)
