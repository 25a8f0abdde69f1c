"""Key frames as a job, with a tower that sees grey levels."""

from __future__ import annotations

import contextlib
import json
import resource

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.caption.job import run_job
from sg4v_jax.caption.keyframe_index import INDEX, file_names, load_key_frames, read_index
from sg4v_jax.caption.keyframing import KeyFrameSettings, KeyFrameWork
from sg4v_jax.caption.videos import list_videos
from sg4v_jax.errors import RecordError, StorageError, UnsafePathError, WorkdirError
from sg4v_jax.video.encode import write_mp4

SETTINGS = KeyFrameSettings("grey", 0.9, "paper", 1.0)


class Grey:
    """Frames of like brightness are alike: an angle of 180 degrees from black to white."""

    name = "grey"

    def __init__(self):
        self.calls = []

    def prepare(self, frame):
        return frame[:4, :4]

    def features(self, frames):
        self.calls.append(len(frames))
        angle = frames.mean((1, 2, 3)) / 255 * np.pi
        return np.stack([np.cos(angle), np.sin(angle)], 1)


def write(path, levels, *, fps=10) -> None:
    """A second of each level."""
    frames = [np.full((32, 48, 3), level, np.uint8) for level in levels for _ in range(fps)]
    write_mp4(path, np.stack(frames), fps=fps)


@pytest.fixture
def folder(tmp_path):
    """Five videos that work (one of a single frame), two that do not, one path that climbs."""
    (tmp_path / "v").mkdir()
    write(tmp_path / "v/three.mp4", [0, 0, 128, 128, 255])
    write(tmp_path / "v/still.mp4", [100, 100, 100])
    for name in ("p", "q"):
        write(tmp_path / f"v/{name}.mp4", [0, 200])
    write_mp4(tmp_path / "v/one.mp4", np.full((1, 32, 48, 3), 9, np.uint8), fps=10)
    (tmp_path / "v/empty.mp4").touch()
    whole = (tmp_path / "v/three.mp4").read_bytes()
    (tmp_path / "v/cut.mp4").write_bytes(whole[:200])
    names = ["three", "still", "p", "q", "one", "empty", "cut"]
    rows = [{"id": name, "video": f"v/{name}.mp4"} for name in names]
    rows += [{"id": "out", "video": "../x.mp4"}, {"id": "../evil", "video": "v/p.mp4"}]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    return tmp_path


def job(folder, *, settings=SETTINGS, embedder=None, out="out", **options):
    root, items = list_videos(folder / "list.json")
    work = KeyFrameWork(root, str(folder / out), settings, embedder=embedder or Grey())
    return run_job(
        items,
        work,
        job=folder / out / "job",
        file=folder / out / INDEX,
        settings=vars(settings),
        shard_size=4,
        **options,
    )


def test_key_frames_of_good_and_bad_videos(folder):
    grey = Grey()
    finished = job(folder, embedder=grey)
    failed = dict(finished.failed)
    assert finished.rows == 9 and sorted(failed) == ["../evil", "cut", "empty", "out"]
    assert failed["empty"].startswith("EmptyVideoError") and "0 bytes" in failed["empty"]
    assert failed["cut"].startswith("CorruptVideoError")
    assert failed["out"].startswith("UnsafePathError")
    assert failed["../evil"].startswith("UnsafePathError")
    assert "4 failed:" in str(finished) and not (folder / "evil").exists()

    index = read_index(folder / "out")
    assert list(index) == ["three", "still", "p", "q", "one", "empty", "cut", "out", "../evil"]
    three = index["three"]
    assert three["times"] == pytest.approx([0, 2, 4, 4.9]) and three["candidates"] == 5
    assert three["files"][1] == "frames/three/frame_2.00.png"
    assert index["still"]["times"] == pytest.approx([0, 2.9])
    assert index["one"]["times"] == [0.0]
    assert 5 + 3 + 2 + 2 in grey.calls  # a shard's videos share the tower's batches

    video = load_key_frames(folder / "out", three)
    levels = [int(frame.mean()) for frame in video.frames]
    assert np.abs(np.array(levels) - [0, 128, 255, 255]).max() < 4
    with pytest.raises(RecordError, match="empty: it has no key frames: EmptyVideoError"):
        load_key_frames(folder / "out", index["empty"])


def test_run_again_it_changes_nothing_and_other_settings_are_refused(folder):
    job(folder)
    before = (folder / "out" / INDEX).read_bytes()
    tower = Grey()
    job(folder, embedder=tower)
    assert (folder / "out" / INDEX).read_bytes() == before and tower.calls == []
    with pytest.raises(WorkdirError, match=r"settings\.threshold: 0\.9 there, 0\.8 now"):
        job(folder, settings=KeyFrameSettings("grey", 0.8, "paper", 1.0))


def test_failed_videos_are_tried_again_when_asked(folder):
    job(folder)
    write(folder / "v/empty.mp4", [0, 255])
    assert "empty" in dict(job(folder).failed)
    assert sorted(dict(job(folder, retry_failed=True).failed)) == ["../evil", "cut", "out"]


def test_a_half_written_shard_of_a_dead_worker_does_no_harm(folder):
    job(folder, out="whole")
    good = lambda out: [r for r in read_index(folder / out).values() if r["error"] is None]
    for name in ("parts/00001.0001.jsonl", "done/00001.json.tmp-1"):
        (folder / "out/job" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "out/job" / name).write_text('{"id": "one", "sour')
    (folder / "out/frames/three").mkdir(parents=True)
    (folder / "out/frames/three/frame_0.00.png").write_bytes(b"half a picture")
    job(folder)
    assert good("out") == good("whole") and len(good("out")) == 5
    Image.open(folder / "out/frames/three/frame_0.00.png").verify()


@contextlib.contextmanager
def file_limit(size: int):
    """Files cannot grow beyond `size` bytes, as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_full_disk_stops_the_job_and_loses_nothing(folder):
    root, items = list_videos(folder / "list.json")
    noise = np.random.default_rng(0).integers(0, 255, (4, 96, 96, 3), np.uint8)
    write_mp4(folder / "v/p.mp4", noise, fps=4)  # its key frames need more than 8 kB
    work = KeyFrameWork(root, str(folder / "out"), SETTINGS, embedder=Grey())
    with file_limit(8192), pytest.raises(StorageError, match=r"frame_0\.00\.png"):
        work(items)
    assert not list((folder / "out").rglob("*.tmp-*"))
    finished = job(folder)
    assert finished.rows == 9 and len(finished.failed) == 4


def test_names_of_files():
    assert file_names([0, 2.0, 2.004, 4.5]) == [
        "frame_0.00.png",
        "frame_2.0000.png",
        "frame_2.0040.png",
        "frame_4.50.png",
    ]


def test_an_index_that_was_tampered_with(folder):
    job(folder)
    row = read_index(folder / "out")["p"]
    with pytest.raises(UnsafePathError, match="leaves its root"):
        load_key_frames(folder / "out", row | {"files": ["../list.json"]})
    (folder / "out" / row["files"][0]).write_bytes(b"\x89PNG\r\n")
    with pytest.raises(RecordError, match=r"p: key frame frames/p/frame_0\.00\.png cannot be read"):
        load_key_frames(folder / "out", row)
    (folder / "out" / INDEX).write_text('{"id": "p", "source": "v", "error": null}\n')
    with pytest.raises(RecordError, match="line 1: no field 'files'"):
        read_index(folder / "out")
