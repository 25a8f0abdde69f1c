"""Files that are no good: each gives its typed error, with its name and a mend."""

from __future__ import annotations

import wave

import av
import numpy as np
import pytest
from PIL import Image

from sg4v_jax.errors import (
    CorruptVideoError,
    EmptyVideoError,
    MissingVideoError,
    NoVideoStreamError,
    VideoError,
)
from sg4v_jax.video.decode import probe, read_frames, sample_frames


def packet_places(path) -> list[tuple[int, int]]:
    """(offset, size) of each packet of an mp4."""
    with av.open(path) as container:
        return [(e.pos, e.size) for e in container.streams.video[0].index_entries]


def missing(path, clips):
    pass


def folder(path, clips):
    path.mkdir()


def no_bytes(path, clips):
    path.touch()


def no_frames(path, clips):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()


def no_frames_fragmented(path, clips):
    with av.open(str(path), "w", options={"movflags": "+empty_moov+frag_keyframe"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()


def text(path, clips):
    path.write_text("<html><body>404: no such video, désolé</body></html>\n" * 40)


def play_list(path, clips):
    clips.write(path.with_name("real.mp4"), 3)
    path.write_text("#EXTM3U\n#EXTINF:1,\nreal.mp4\n#EXT-X-ENDLIST\n")


def sound(path, clips):
    with wave.open(str(path), "wb") as f:
        f.setnchannels(1), f.setsampwidth(2), f.setframerate(8000)
        f.writeframes(np.arange(8000, dtype=np.int16).tobytes())


def sound_mp4(path, clips, *, cover=False):
    silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), "f4"), format="fltp", layout="mono")
    silence.sample_rate = 8000
    with av.open(str(path), "w") as container:
        streams = [(container.add_stream("aac", rate=8000), silence)]
        if cover:
            stream = container.add_stream("mjpeg", rate=1)
            stream.width, stream.height, stream.pix_fmt = 128, 64, "yuvj420p"
            stream.disposition = av.stream.Disposition.attached_pic
            picture = av.VideoFrame.from_ndarray(clips.barcode(1), format="rgb24")
            streams.append((stream, picture))
        for stream, frame in streams:
            container.mux(stream.encode(frame))
            container.mux(stream.encode())


def sound_with_cover(path, clips):
    sound_mp4(path, clips, cover=True)


def picture(path, clips):
    Image.fromarray(clips.barcode(1)).save(path, format="png")


def noise(path, clips):
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def cut_before_the_index(path, clips):
    clips.write(path, 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def cut_after_the_index(path, clips):
    clips.write(path, 30, muxer={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: packet_places(str(path))[0][0]])


def overwritten(path, clips):
    clips.write(path, 30)
    content = bytearray(path.read_bytes())
    for offset, size in packet_places(str(path)):
        content[offset : offset + size] = b"\xff" * size
    path.write_bytes(content)


@pytest.mark.parametrize("read", [probe, sample_frames])
@pytest.mark.parametrize(
    "make, error, message",
    [
        (missing, MissingVideoError, "No such file"),
        (folder, EmptyVideoError, "holds no frames"),
        (no_bytes, EmptyVideoError, "0 bytes"),
        (no_frames, EmptyVideoError, "0 frames"),
        (no_frames_fragmented, EmptyVideoError, "0 frames"),
        (text, NoVideoStreamError, "text"),
        (play_list, NoVideoStreamError, "text"),
        (sound, NoVideoStreamError, "streams: audio"),
        (sound_mp4, NoVideoStreamError, "streams: audio"),
        (sound_with_cover, NoVideoStreamError, "audio, a cover picture"),
        (picture, CorruptVideoError, "cannot be opened"),
        (noise, CorruptVideoError, "cannot be opened"),
        (cut_before_the_index, CorruptVideoError, "truncated"),
        (cut_after_the_index, CorruptVideoError, "its 30 frames"),
        (overwritten, CorruptVideoError, "damaged"),
    ],
)
def test_bad_file(tmp_path, clips, make, error, message, read):
    path = tmp_path / "bad.mp4"
    make(path, clips)
    with pytest.raises(VideoError, match=message) as e:
        read(path)
    assert type(e.value) is error
    assert str(path) in str(e.value) and e.value.mend


def cut_clip(path, clips, keep: int):
    """100 frames with the index first, cut after the first `keep` packets."""
    clips.write(path, 100, x264={"bf": "0"}, muxer={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: packet_places(str(path))[keep][0]])


def test_truncated_a_little_counts_what_is_lost(tmp_path, clips):
    cut_clip(tmp_path / "cut.mp4", clips, keep=80)
    assert probe(tmp_path / "cut.mp4").frames == 100
    wanted = list(range(0, 100, 10))
    decoded = read_frames(tmp_path / "cut.mp4", wanted)
    shown = [clips.number_of(f) for f in decoded.frames]
    assert shown == [0, 10, 20, 30, 40, 50, 60, 70, 79, 79]
    assert decoded.substituted == 2


def test_lost_frames_that_an_edit_list_hides_do_not_count(tmp_path, clips):
    path = tmp_path / "cut.mp4"
    clips.write(path, 20, muxer={"movflags": "+faststart"})
    content = bytearray(path.read_bytes())
    duration = content.index(b"elst") + 12  # past name, version and number of entries
    content[duration : duration + 4] = (600).to_bytes(4)  # milliseconds: 15 frames of 20
    path.write_bytes(content)
    assert probe(path).frames == 15
    path.write_bytes(content[: packet_places(str(path))[12][0]])
    assert probe(path).frames == 15


def test_truncated_by_most_is_an_error(tmp_path, clips):
    cut_clip(tmp_path / "cut.mp4", clips, keep=40)
    with pytest.raises(CorruptVideoError, match="only 6 of 16 wanted frames"):
        sample_frames(tmp_path / "cut.mp4")
    assert read_frames(tmp_path / "cut.mp4", [0, 39]).substituted == 0


@pytest.fixture(scope="module")
def holed(tmp_path_factory, clips):
    """96 frames in groups of 12, the first two packets of the group at 48 overwritten."""
    path = tmp_path_factory.mktemp("holed") / "holed.mp4"
    clips.write(path, 96, x264={"g": "12", "bf": "0", "sc_threshold": "0"})
    content = bytearray(path.read_bytes())
    for offset, size in packet_places(str(path))[48:50]:
        content[offset : offset + size] = b"\xff" * size
    path.write_bytes(content)
    return path


def test_damage_in_the_middle_spoils_its_group_only(holed, clips):
    decoded = read_frames(holed, range(96))
    shown = [clips.number_of(f) for f in decoded.frames]
    for number in [*range(48), *range(60, 96)]:
        assert shown[number] == number
    assert shown[48:50] != [48, 49]
    assert decoded.substituted == 12


def test_damage_is_counted_by_place(holed):
    assert read_frames(holed, [0, 47, 60, 95]).substituted == 0
    assert read_frames(holed, [0, 48, 48, 95]).substituted == 2
    assert read_frames(holed, [0, 20, 40, 49]).substituted == 1


def test_nearest_later_frame_stands_in(tmp_path, clips):
    # Every frame is a keyframe, so the neighbours of a lost one are sound.
    path = tmp_path / "holed.mp4"
    clips.write(path, 30, x264={"g": "1"})
    content = bytearray(path.read_bytes())
    for offset, size in packet_places(str(path))[10:13]:
        content[offset : offset + size] = b"\xff" * size
    path.write_bytes(content)
    decoded = read_frames(path, [9, 10, 12, 13])
    assert [clips.number_of(f) for f in decoded.frames] == [9, 13, 13, 13]
    assert decoded.substituted == 2


def test_a_lost_packet_of_a_broadcast_spoils_the_numbers_after_it(tmp_path, clips):
    """MPEG transport streams number their packets, so a lost one is known, its frames are not."""
    path = tmp_path / "a.ts"
    clips.write(path, 60, form="mpegts", x264={"g": "12", "bf": "0"})
    content, half = path.read_bytes(), path.stat().st_size // 188 // 2 * 188
    path.write_bytes(content[:half] + content[half + 188 :])
    frames = probe(path).frames
    assert 50 <= frames < 60
    shown = [clips.number_of(f) for f in read_frames(path, range(frames)).frames]
    assert shown[:20] == list(range(20)) and shown[-1] == 59
    assert read_frames(path, range(20)).substituted == 0
    assert read_frames(path, [0, frames - 1]).substituted == 1


def test_frame_size_that_changes(tmp_path):
    path = tmp_path / "sizes.ts"
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(6):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), "u1"), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    other = tmp_path / "other.ts"
    with av.open(str(other), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(6):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), "u1"), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes() + other.read_bytes())
    with pytest.raises(VideoError, match="64x64, 96x64"):
        sample_frames(path)
