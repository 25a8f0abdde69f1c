"""DiffSW over world videos through the oracle; engines with a fault are found out."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from sg4v_jax.caption.captioners import CaptionRequest, open_captioner
from sg4v_jax.caption.presets import PRESETS, get_preset
from sg4v_jax.caption.sliding import clip, fast, recaption, run, sliding
from sg4v_jax.caption.world_captioner import WorldCaptioner, look
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.world.parse import caption_events
from sg4v_jax.world.render import render
from sg4v_jax.world.scene import state

EVENT = re.compile(r"\bit ((?:moves|grows|shrinks|turns) [^.]*)\.")


def events(text: str) -> list[str]:
    return EVENT.findall(text)


def captions(videos, captioner, *, preset="paper"):
    return [run(sliding(video, preset=PRESETS[preset]), captioner) for video in videos]


def test_the_oracle_sees_what_is_there(scenes):
    for scene in scenes:
        for number, frame in enumerate(render(scene)):
            seen, true = look(frame, where="test"), state(scene, number)
            assert (seen.size, seen.colour) == (true.size, true.colour)
            assert abs(seen.x - true.x) < 1.5 and abs(seen.y - true.y) < 1.5


@pytest.mark.parametrize("preset", ["paper", "model"])
def test_without_errors_every_event_is_told_once_and_in_order(scenes, videos, truths, preset):
    for scene, result, true in zip(
        scenes, captions(videos, WorldCaptioner(), preset=preset), truths, strict=True
    ):
        assert events(" ".join(result.differential)) == true
        assert events(result.caption) == true
        assert caption_events(result.caption) == [event.family for event in scene.events]
        assert f"{scene.size} {scene.colour}" in result.caption
        assert len(result.differential) == len(result.times) == 8


def test_the_demo_misses_speeds_and_the_batch_script_all_events(videos, truths):
    demo = [events(r.caption) for r in captions(videos, WorldCaptioner(), preset="demo")]
    bare = [[e.rsplit(" ", 1)[0] if e[0] == "m" else e for e in t] for t in truths]
    assert [[e.rsplit(" ", 1)[0] if e[0] == "m" else e for e in t] for t in demo] == bare
    assert demo != truths  # its times of 0, 2, 4 s make everything slow
    batch = captions(videos, WorldCaptioner(), preset="batch")
    assert all(events(r.caption) == [] for r in batch)


class Mutant:
    """Spoils requests on their way to the oracle, as a faulty engine would make them."""

    name = "mutant"

    def __init__(self, spoil):
        self.spoil = spoil

    def describe(self, requests):
        return WorldCaptioner().describe([self.spoil(request) for request in requests])


def swapped(request: CaptionRequest) -> CaptionRequest:
    return dataclasses.replace(request, images=request.images[::-1])


def without_previous(request: CaptionRequest) -> CaptionRequest:
    prompt = re.sub(r"Description so far: .*\n", "Description so far: \n", request.prompt)
    return dataclasses.replace(request, prompt=prompt)


def every_two_seconds(request: CaptionRequest) -> CaptionRequest:
    prompt = re.sub(
        r"frame (\d+) at \d+\.\d\d", lambda m: f"frame {m[1]} at {2 * int(m[1])}.00", request.prompt
    )
    return dataclasses.replace(request, prompt=prompt)


def window_lost(number: int):
    def spoil(request: CaptionRequest) -> CaptionRequest:
        if not request.id.endswith(f"#{number}"):
            return request
        return dataclasses.replace(request, images=request.images[1:] * 2)

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        swapped,
        without_previous,
        every_two_seconds,
        *(pytest.param(window_lost(n), id=f"window {n} lost") for n in (2, 3, 6)),
    ],
)
def test_faulty_engines_are_found_out(videos, truths, spoil):
    told = [events(r.caption) for r in captions(videos, Mutant(spoil))]
    assert told != truths
    assert [events(r.caption) for r in captions(videos, Mutant(lambda r: r))] == truths


def test_rates_spoil_what_they_say_and_the_more_the_higher(videos, truths):
    def share_right(captioner, right) -> float:
        results = captions(videos, captioner)
        return float(
            np.mean([right(events(r.caption), t) for r, t in zip(results, truths, strict=True)])
        )

    def told(got, true):
        return len(got) / len(true)

    def all_true(got, true):
        return sum(e in true for e in got) / max(1, len(got))

    def in_order(got, true):
        return got == true

    for rate, score in (("omit", told), ("false", all_true), ("shuffle", in_order)):
        scores = [share_right(WorldCaptioner(**{rate: r}), score) for r in (0.0, 0.2, 0.5, 1.0)]
        assert scores[0] == 1.0 and scores == sorted(scores, reverse=True)
        assert scores[1] > scores[2] > scores[3] == 0.0, rate
    assert share_right(WorldCaptioner(shuffle=1.0), told) == 1.0
    assert share_right(WorldCaptioner(false=1.0), told) == 1.0


def test_answers_depend_on_the_request_and_the_seed_alone(videos):
    captioner = WorldCaptioner(omit=0.5, false=0.5, shuffle=0.5)
    assert captions(videos, captioner) == captions(videos, captioner)
    assert captions(videos, captioner) != captions(videos, dataclasses.replace(captioner, seed=1))


def test_a_clip_is_told_from_its_own_captions(videos, truths):
    for whole, true in zip(captions(videos, WorldCaptioner()), truths, strict=True):
        first = run(clip(whole, start=0, end=1.0, preset=PRESETS["paper"]), WorldCaptioner())
        second = run(clip(whole, start=1.25, end=2.0, preset=PRESETS["paper"]), WorldCaptioner())
        assert (events(first.caption), events(second.caption)) == (true[:1], true[1:])
        assert first.times == whole.times[:5] and second.times == (0, 0.375, 0.75)


def test_fast_and_recaption(videos, truths):
    for video, true in zip(videos, truths, strict=True):
        result = run(fast(video, preset=PRESETS["paper"]), WorldCaptioner())
        told = list(dict.fromkeys(event.split()[0] for event in events(result.caption)))
        assert told == [event.split()[0] for event in true]
    again = run(recaption("a", "a red ball", preset=PRESETS["paper"]), WorldCaptioner())
    assert again.caption == "a red ball"


def test_pictures_that_are_not_the_worlds():
    request = CaptionRequest((np.zeros((40, 60, 3), np.uint8),), "", "clip#0")
    with pytest.raises(RecordError, match=r"clip#0: .* cannot read a picture of \[40, 60, 3\]"):
        WorldCaptioner().describe([request])


def test_captioners_by_name():
    captioner = open_captioner("world:omit=0.1,false=0.25,seed=3")
    assert captioner == WorldCaptioner(omit=0.1, false=0.25, seed=3)
    assert open_captioner(captioner.name) == captioner
    assert open_captioner("world:") == WorldCaptioner()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("world:omit=2", "omit=2"),
        ("world:omt=0.1", "unknown rate 'omt'"),
        ("world:omit=x", "'omit=x' is no number"),
        ("oracle:", "unknown kind 'oracle'"),
    ],
)
def test_captioners_that_do_not_exist(spec, message):
    with pytest.raises(ConfigError, match=message):
        open_captioner(spec)


def test_unknown_preset():
    with pytest.raises(ConfigError, match="unknown preset 'papier'"):
        get_preset("papier")
