"""The time limit holds while packets trickle in, and while a decoder hangs for good."""

from __future__ import annotations

import concurrent.futures
import math
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image, WebPImagePlugin

from sg4v_jax.errors import ConfigError, CorruptVideoError, DecodeTimeoutError
from sg4v_jax.video import container as containers
from sg4v_jax.video import limits, pictures
from sg4v_jax.video.decode import probe, read_frames, sample_frames
from sg4v_jax.video.limits import Deadline, run_within

READS = [probe, sample_frames, lambda path, **kwargs: read_frames(path, [0, 3], **kwargs)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory, clips):
    return clips.write(tmp_path_factory.mktemp("limits") / "a.mp4", 30)


@pytest.fixture(scope="module")
def moving(tmp_path_factory, clips):
    path = tmp_path_factory.mktemp("limits") / "a.webp"
    first, *rest = (Image.fromarray(clips.barcode(k)) for k in range(8))
    first.save(path, save_all=True, append_images=rest, duration=40)
    return path


def is_named_error(error: DecodeTimeoutError, path, seconds: str) -> bool:
    return str(path) in str(error) and f"within {seconds} seconds" in str(error) and error.mend


def wait_for_reader(path) -> None:
    """Until the thread that was left behind ends."""
    for thread in threading.enumerate():
        if thread.name == f"read {path}":
            thread.join(20)


@pytest.mark.parametrize("read", READS)
def test_packets_that_trickle_in(clip, read, monkeypatch):
    """The reader ends by itself at the deadline."""
    packets = containers.packets
    seen = []

    def slow(*args, **kwargs):
        for packet in packets(*args, **kwargs):
            seen.append(packet)
            time.sleep(0.05)
            yield packet

    monkeypatch.setattr(containers, "packets", slow)
    with pytest.raises(DecodeTimeoutError) as e:
        read(clip, seconds=0.3)
    assert is_named_error(e.value, clip, "0.3")
    wait_for_reader(clip)
    assert len(seen) <= 7  # of 30


@pytest.mark.parametrize("read", READS)
def test_a_reader_that_hangs(clip, read, monkeypatch):
    """The caller gets its error although the packet source never returns."""
    freed = threading.Event()

    def hanging(*args, **kwargs):
        freed.wait(30)
        return iter(())

    monkeypatch.setattr(containers, "packets", hanging)
    try:
        with pytest.raises(DecodeTimeoutError) as e:
            read(clip, seconds=0.2)
        assert is_named_error(e.value, clip, "0.2")
        assert not freed.is_set()
    finally:
        freed.set()


def test_a_process_with_a_hanging_reader_exits(clip):
    code = """
import sys, time
from sg4v_jax.errors import DecodeTimeoutError
from sg4v_jax.video import container, decode

container.packets = lambda *args, **kwargs: time.sleep(1000)
try:
    decode.sample_frames(sys.argv[1], seconds=0.1)
except DecodeTimeoutError:
    print("timed out")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, clip],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "timed out\n", "")


def test_pictures_and_folders_have_the_limit_too(tmp_path, clips, moving, monkeypatch):
    for k in range(4):
        Image.fromarray(clips.barcode(k)).save(tmp_path / f"{k}.png")
    assert [clips.number_of(f) for f in read_frames(tmp_path, range(4)).frames] == [0, 1, 2, 3]
    seek, convert = WebPImagePlugin.WebPImageFile.seek, np.array

    calls = []

    def slowly(work):
        return lambda *args: (calls.append(work), time.sleep(0.15), work(*args))[-1]

    monkeypatch.setattr(WebPImagePlugin.WebPImageFile, "seek", slowly(seek))
    monkeypatch.setattr(pictures.np, "array", slowly(convert))
    for path in (moving, tmp_path):
        with pytest.raises(DecodeTimeoutError) as e:
            read_frames(path, range(4), seconds=0.2)
        assert is_named_error(e.value, path, "0.2")
        wait_for_reader(path)
    assert calls.count(seek) <= 2 and calls.count(convert) <= 4  # of 4 and 8


def test_ffmpeg_is_told_the_time_that_is_left(clip, monkeypatch):
    told = []
    opened = containers.av.open
    monkeypatch.setattr(
        containers.av, "open", lambda *args, **k: told.append(k["timeout"]) or opened(*args, **k)
    )
    probe(clip, seconds=20)
    probe(clip, seconds=math.inf)
    assert 0 < told[0] <= 20 and told[1] is None


def test_an_interrupted_read_is_a_timeout_and_not_damage(clip):
    deadline = Deadline(clip, seconds=50)
    container, stream = containers.open_video(clip, deadline=deadline)

    class Interrupted:
        def demux(self, _):
            deadline.give_up()  # the time is up while FFmpeg reads
            raise containers.av.error.ExitError(1, "Immediate exit requested")

    with container, pytest.raises(DecodeTimeoutError):
        list(containers.packets(Interrupted(), stream, deadline=deadline))


def test_many_threads_at_once(clip, moving, clips):
    wanted = [5, 0, 7, 7]

    def read(path):
        return [clips.number_of(f) for f in read_frames(path, wanted).frames]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(read, [clip, str(moving)] * 12))
    assert results == [wanted] * 24


def test_no_limit_needs_no_thread(clip):
    seen = run_within(clip, seconds=math.inf, work=lambda deadline: threading.current_thread())
    assert seen is threading.current_thread()
    limited = run_within(clip, seconds=9, work=lambda deadline: threading.current_thread())
    assert limited.daemon and limited is not seen


def test_work_is_told_to_end_when_its_caller_is_interrupted(monkeypatch):
    kept = []

    class Interrupted(threading.Thread):
        def join(self, timeout=None):
            super().join()
            raise KeyboardInterrupt

    monkeypatch.setattr(limits.threading, "Thread", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_within("a.mp4", seconds=50, work=kept.append)
    with pytest.raises(DecodeTimeoutError):
        kept[0].check()


def test_errors_of_the_work_keep_their_traceback(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(4000))
    with pytest.raises(CorruptVideoError) as e:
        probe(path)
    assert "container.py" in {entry.path.name for entry in e.traceback}


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_limit_that_is_none(clip, seconds):
    with pytest.raises(ConfigError, match="seconds="):
        probe(clip, seconds=seconds)
