"""Opening a video file: every way in which that fails, as a typed error."""

from __future__ import annotations

import os
from collections.abc import Iterator

import av

from sg4v_jax import files
from sg4v_jax.errors import (
    CorruptVideoError,
    EmptyVideoError,
    MissingVideoError,
    NoVideoStreamError,
)
from sg4v_jax.video.limits import Deadline

# FFmpeg also "plays" text as a terminal and follows play lists to other files and hosts. Data may
# come from strangers, so only self-contained media formats are tried (audio: for a clear message).
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,vob,m4v,h264,hevc,flv,asf,"
    "ogg,gif,rm,swf,mxf,dv,ivf,wav,mp3,flac,aac,ac3,aiff"
)
# Their demuxers invent or repeat times, or give decoding times for presentation times.
_UNTRUE_TIMES = {"avi", "mpeg", "mpegts", "mpegvideo", "m4v", "h264", "hevc", "vob", "dv", "swf"}


def open_video(
    name: str, *, deadline: Deadline
) -> tuple[av.container.InputContainer, av.video.stream.VideoStream]:
    """The opened container and its first stream of moving pictures; the caller closes it.

    Args:
      name: a local path or `gs://...`.
      deadline: FFmpeg's own reads end by then too.

    Raises:
      DecodeTimeoutError: the file does not open in time.
      MissingVideoError: no such file, or it may not be read.
      EmptyVideoError: the file has no bytes, or its index lists nothing.
      NoVideoStreamError: text, or a container without video (a cover picture does not count).
      CorruptVideoError: anything else that no media format explains.
    """
    try:
        source, head = _source(name)
    except OSError as e:
        raise MissingVideoError(
            f"{name}: cannot be read ({e.strerror or e})",
            mend="check the path and the data root, and that the file is readable",
        ) from e
    if not head:
        raise EmptyVideoError(f"{name}: the file has 0 bytes", mend="fetch the file again")
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
    try:
        container = av.open(
            source,
            container_options=options,
            metadata_errors="ignore",
            timeout=deadline.remaining,
        )
    except (av.error.FFmpegError, ValueError) as e:
        deadline.check()
        if _is_text(head):
            raise NoVideoStreamError(
                f"{name}: this is text, not a video (it starts {head[:40]!r})",
                mend="check the path; a web page may have been saved in place of the video",
            ) from e
        raise _corrupt(name, getattr(e, "strerror", None) or str(e)) from e
    if not container.streams:
        container.close()
        if b"moov" in head:  # a whole index with nothing in it, as encoders write for no frames
            raise EmptyVideoError(f"{name}: the video has 0 frames", mend="leave it out")
        raise _corrupt(name, "no index of its contents")
    moving = [s for s in container.streams.video if not _is_picture(s)]
    if not moving:
        kinds = ", ".join(
            "a cover picture" if s.type == "video" else s.type for s in container.streams
        )
        container.close()
        raise NoVideoStreamError(
            f"{name}: no video stream (streams: {kinds})",
            mend="give a file with moving pictures",
        )
    if moving[0].codec_context is None:
        container.close()
        raise _corrupt(name, "no decoder for its video stream")
    return container, moving[0]


def packets(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    *,
    deadline: Deadline,
) -> Iterator[av.Packet]:
    """The stream's packets that hold data, from the current position, up to the first that
    cannot be read.

    Raises:
      DecodeTimeoutError: the time is up.
    """
    try:
        for packet in container.demux(stream):
            deadline.check()
            if packet.size:  # an empty one would tell the decoder that the stream ends
                yield packet
    except av.error.FFmpegError:
        deadline.check()  # FFmpeg says so too when it is interrupted
        return


def has_true_times(container: av.container.InputContainer) -> bool:
    """Whether packets of this format carry the times at which frames are shown."""
    return not _UNTRUE_TIMES & set(container.format.name.split(","))


def frames_beyond_end(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> int:
    """Frames that the index of an mp4 places past the end of the file: it is truncated."""
    if "mp4" not in container.format.name.split(","):
        return 0  # other formats list keyframes or nothing
    size = container.size
    return sum(e.pos >= size and not e.is_discard for e in stream.index_entries)


def _source(name: str):
    """What FFmpeg reads from, and the first bytes. `file:` keeps a colon in a name harmless."""
    if "://" in name:
        remote = files.path(name).open("rb")
        head = remote.read(512)
        remote.seek(0)
        return remote, head
    if os.path.exists(name) and not os.path.isfile(name):
        raise OSError(None, "not a regular file")
    with open(name, "rb") as f:
        return f"file:{name}", f.read(512)


def _corrupt(name: str, reason: str) -> CorruptVideoError:
    return CorruptVideoError(
        f"{name}: cannot be opened as a video ({reason}); it is truncated, damaged or of a format "
        "that is not read here",
        mend="fetch the file again, or convert it to mp4",
    )


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", errors="ignore")  # a letter may be cut at the end
    return len(text.encode()) > len(head) - 4 and all(c.isprintable() or c.isspace() for c in text)


def _is_picture(stream: av.video.stream.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)
