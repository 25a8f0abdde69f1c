"""Reads damaged videos in a process of its own, so that a crash in C is a failed test.

    python tests/video/fuzz_videos.py FOLDER FILES SEED

Prints one line of JSON: how often each outcome came, and where `breaches` found some.
"""

from __future__ import annotations

import collections
import json
import pathlib
import random
import sys

import conftest
from PIL import Image

from sg4v_jax.errors import DecodeTimeoutError, Sg4vError
from sg4v_jax.video.decode import probe, read_frames, sample_frames
from sg4v_jax.video.sampling import run_indices

FRAMES = 40
SECONDS = 30.0  # for one call; a healthy one takes some milliseconds
X264 = {"g": "8", "bf": "2", "sc_threshold": "0"}
VP8 = {"deadline": "good", "cpu-used": "5", "g": "8", "b": "2M", "threads": "1"}
SAME = {"fflags": "+bitexact"}  # no random identifiers
KINDS = {
    "mp4": {"x264": X264},
    "mov": {"form": "mov", "x264": X264, "muxer": {"movflags": "+faststart"}},
    "mkv": {"form": "matroska", "x264": X264, "muxer": SAME},
    "webm": {"form": "webm", "codec": "libvpx", "x264": VP8, "muxer": SAME},
    "avi": {"form": "avi", "codec": "mpeg4"},
    "mpg": {"form": "vob", "codec": "mpeg2video"},
    "gif": {"form": "gif", "codec": "gif", "pix_fmt": "rgb8"},
}
# Formats that list every frame with its place or its size: what is lost is known.
INDEXED = {".mp4", ".mov", ".webp"}


def sources(folder: pathlib.Path) -> dict[str, bytes]:
    """Suffix -> a sound video of `FRAMES` bar-coded frames."""
    for suffix, kind in KINDS.items():
        conftest.write_clip(folder / f"source.{suffix}", FRAMES, **kind)
    first, *rest = (Image.fromarray(conftest.barcode(k)) for k in range(FRAMES))
    first.save(folder / "source.webp", save_all=True, append_images=rest, duration=40, quality=60)
    return {p.suffix: p.read_bytes() for p in sorted(folder.glob("source.*"))}


def flip(data: bytearray, rng: random.Random, start: int, stop: int) -> None:
    for _ in range(rng.choice((1, 4, 30))):
        data[rng.randrange(start, stop)] ^= 1 << rng.randrange(8)


def mutate(content: bytes, other: bytes, rng: random.Random) -> tuple[str, bytes]:
    """The name of what was done, and the damaged file."""
    data, size = bytearray(content), len(content)
    how = rng.choice(("flips", "head", "tail", "cut", "splice", "foreign", "noise", "zeros"))
    at, length = rng.randrange(size), rng.randrange(1, 400)
    if how == "flips":
        flip(data, rng, 0, size)
    elif how == "head":
        flip(data, rng, 0, min(size, 600))
    elif how == "tail":
        flip(data, rng, max(0, size - 2500), size)
    elif how == "cut":
        del data[at:]
    elif how == "splice":
        source = rng.randrange(size)
        data[at : at + rng.choice((0, length))] = content[source : source + length]
    elif how == "foreign":
        source = rng.randrange(len(other))
        data[at : at + length] = other[source : source + length]
    elif how == "noise":
        data[at : at + length] = rng.randbytes(length)
    else:
        data[at : at + length] = bytes(length)
    return how, bytes(data)


def breaches(path: pathlib.Path, how: str, outcomes: collections.Counter) -> list[str]:
    """What `decode` does wrong with this file; counts the outcome.

    A read that counts no substitution claims that all its frames are sound. GIF frames change
    parts of a picture and nothing tells a wrong part, so their bar codes prove nothing.
    """
    info = probe(path, seconds=SECONDS)
    sampled = sample_frames(path, seconds=SECONDS)
    found = []
    if info.width * info.height > 1 << 18:  # a damaged header may claim large pictures
        outcomes["large"] += 1
        return found
    every = read_frames(path, range(info.frames), seconds=SECONDS)
    if len(every.frames) != info.frames or list(sampled.indices) != run_indices(info.frames):
        found.append(f"{info.frames} frames probed, {len(every.frames)} read")
    if sampled.substituted and not every.substituted:
        found.append("a substitution that is gone when all frames are read")
    if every.substituted:
        outcomes["substituted"] += 1
        return found
    outcomes["clean"] += 1
    if info.frames > FRAMES and how != "splice":  # that may repeat whole frames
        found.append(f"{info.frames} sound frames of {FRAMES}")
    shown = [(k, conftest.sure_number_of(frame)) for k, frame in enumerate(every.frames)]
    sure = [(k, number) for k, number in shown if number is not None]
    numbers = [number for _, number in sure]
    if path.suffix != ".gif" and numbers != sorted(set(numbers)):
        outcomes["out of order"] += 1
        if path.suffix in INDEXED:
            found.append(f"sound frames show {numbers}")
    if path.suffix in INDEXED and info.frames == FRAMES and any(k != n for k, n in sure):
        found.append(f"frame number and number shown differ: {[p for p in sure if p[0] != p[1]]}")
    return found


def main(folder: str, files: str, seed: str) -> None:
    root, rng = pathlib.Path(folder), random.Random(int(seed))
    originals = sources(root)
    suffixes = sorted(originals)
    outcomes: dict[str, collections.Counter] = {s: collections.Counter() for s in suffixes}
    wrong = []
    for number in range(int(files)):
        suffix = suffixes[number % len(suffixes)]
        how, data = mutate(originals[suffix], originals[rng.choice(suffixes)], rng)
        path = root / f"damaged{suffix}"
        path.write_bytes(data)
        try:
            found = breaches(path, how, outcomes[suffix])
        except DecodeTimeoutError as e:
            found = [str(e)]
        except Sg4vError as e:
            outcomes[suffix][type(e).__name__] += 1
            found = [] if str(path) in str(e) and e.mend else [f"no name or mend: {e}"]
        except Exception as e:  # noqa: BLE001 - any other kind is what is looked for
            found = [f"{type(e).__name__}: {e}"]
        wrong += [f"{number} {suffix} {how}: {message}" for message in found]
    print(json.dumps({"wrong": wrong, "outcomes": outcomes}))


if __name__ == "__main__":
    main(*sys.argv[1:])
