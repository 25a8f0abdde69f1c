"""Typed errors. Each message names the file, record, field and value, and ends with the mend.

The command line prints an `Sg4vError` as one short message without a traceback; anything else is
a bug and keeps its traceback.
"""

from __future__ import annotations


class Sg4vError(Exception):
    """Base of every error that a user can cause and mend.

    Args:
      message: what is wrong, naming the file, record, field and value.
      mend: what to do about it, as an imperative sentence.
    """

    def __init__(self, message: str, *, mend: str = ""):
        self.message, self.mend = message, mend
        super().__init__(f"{message}\n  mend: {mend}" if mend else message)

    def __reduce__(self):  # worker processes send errors back whole
        return (_rebuild, (type(self), self.message, self.mend))


def _rebuild(cls: type[Sg4vError], message: str, mend: str) -> Sg4vError:
    return cls(message, mend=mend)


class ConfigError(Sg4vError):
    """An unknown config field, a value of the wrong type, or settings that contradict."""


class RecordError(Sg4vError):
    """A data record that cannot be used: the message names file, record id and field."""


class UnsafePathError(RecordError):
    """A path in an annotation file that leaves its root."""


class BudgetError(RecordError):
    """A sample longer than a row's budget of positions, tiles or scored positions."""


class VideoError(Sg4vError):
    """A video that cannot be read; subclasses say why."""


class MissingVideoError(VideoError):
    """The file does not exist or is not a regular file."""


class NoVideoStreamError(VideoError):
    """The container opens but has no video stream (audio only, or not a video)."""


class EmptyVideoError(VideoError):
    """The video stream has no frames."""


class CorruptVideoError(VideoError):
    """The container or too many of its packets cannot be decoded (truncated, damaged)."""


class DecodeTimeoutError(VideoError):
    """Reading the video took longer than its time limit (huge, hostile, or a stalled disk)."""


class CheckpointError(Sg4vError):
    """A checkpoint or model directory that is missing, incomplete or of another shape."""


class WorkdirError(Sg4vError):
    """A working directory that belongs to another config; the message shows the difference."""


class StorageError(Sg4vError):
    """Writing failed (disk full, no permission); names what is still usable."""
