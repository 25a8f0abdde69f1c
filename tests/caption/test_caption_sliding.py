from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sg4v_jax.caption import compose
from sg4v_jax.caption.presets import PRESETS
from sg4v_jax.caption.prompts import Frame, Hierarchical, ShareCaptioner, sharecaptioner_chat
from sg4v_jax.caption.sliding import KeyFrames, VideoCaption, clip, fast, recaption, run, sliding
from sg4v_jax.errors import RecordError


def frame(level: int, *, height=20, width=30) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


VIDEO = KeyFrames("v", [frame(10), frame(20), frame(30)], [0.0, 1.5, 7.25])


class Numbered:
    """Answers "c0", "c1", ... and keeps the requests."""

    name = "numbered"

    def __init__(self):
        self.requests = []

    def describe(self, requests):
        start = len(self.requests)
        self.requests += requests
        return [f" c{start + i}\n" for i in range(len(requests))]


def asked(program):
    captioner = Numbered()
    return run(program, captioner), captioner.requests


def levels(request) -> list[int]:
    return [int(image[0, 0, 0]) for image in request.images]


def test_diffsw_with_real_times_in_share_captioners_own_words():
    result, requests = asked(sliding(VIDEO, preset=PRESETS["model"]))
    assert [levels(r) for r in requests] == [[10], [10, 20], [20, 30], []]
    assert [r.id for r in requests] == ["v#0", "v#1", "v#2", "v#summary"]
    first, second, third, summary = (r.prompt for r in requests)
    assert first == "This is the first frame of a video, describe it in detail."
    assert second == (
        "Here are the Video frame 1 at 0.00 Second(s) and Video frame 2 at 1.50 Second(s) of a "
        "video, describe what happend between them. What happend before is: c0"
    )
    assert third == (
        "Here are the Video frame 2 at 1.50 Second(s) and Video frame 3 at 7.25 Second(s) of a "
        "video, describe what happend between them. What happend before is: c1"
    )
    assert summary == (
        "Summarize the following per frame descriptions:\n"
        "Video frame 1 at 0.00 Second(s) description: c0\n"
        "Video frame 2 at 1.50 Second(s) description: c1\n"
        "Video frame 3 at 7.25 Second(s) description: c2\n"
    )
    assert result == VideoCaption(
        "v", "sliding", "model", "c3", (0.0, 1.5, 7.25), ("c0", "c1", "c2")
    )


def test_the_released_demo_stacks_frames_and_counts_from_zero():
    _, requests = asked(sliding(VIDEO, preset=PRESETS["demo"]))
    assert [[i.shape for i in r.images] for r in requests[:2]] == [[(20, 30, 3)], [(90, 30, 3)]]
    stacked = requests[2].images[0]
    assert (
        (stacked[:20] == 20).all() and (stacked[20:70] == 255).all() and (stacked[70:] == 30).all()
    )
    assert (
        "Video frame 0 at 0.00 Second(s) and Video frame 1 at 2.00 Second(s)" in requests[1].prompt
    )
    assert (
        "Video frame 1 at 2.00 Second(s) and Video frame 2 at 4.00 Second(s)" in requests[2].prompt
    )
    assert requests[3].prompt.splitlines()[0] == "Summarize the following per frame descriptions:"
    assert "Video frame 3 at 4.00 Second(s) description: c2\n" in requests[3].prompt


def test_the_batch_script_sends_one_frame_late_times_and_a_bare_summary():
    _, requests = asked(sliding(VIDEO, preset=PRESETS["batch"]))
    assert [levels(r) for r in requests] == [[10], [20], [30], []]
    assert (
        "Video frame 1 at 2.00 Second(s) and Video frame 2 at 4.00 Second(s)" in requests[1].prompt
    )
    assert requests[3].prompt.startswith("Video frame 1 at 0.00 Second(s) description: c0\n")


def test_tiles_of_the_presets():
    assert [(p.hd_sliding, p.hd_fast) for p in PRESETS.values()] == [
        (25, 55), (25, 55), (9, 16), (9, 16),
    ]  # fmt: skip


def test_the_hierarchical_prompts_have_four_blocks_and_the_structured_input():
    prompts = Hierarchical()
    a, b = Frame(4, 1.5), Frame(5, 3.25)
    texts = [
        prompts.first(a),
        prompts.following(a, b, previous="A dog runs {fast}."),
        prompts.summary([(a, "one"), (b, "two")]),
        prompts.fast([a, b]),
        prompts.recaption("a {dog}"),
    ]
    for text in texts:
        heads = [line for line in text.splitlines() if line.startswith("###")]
        assert heads == ["### Character", "### Skills", "### Constraints", "### Structured Input"]
    _, following, summary, fast_text, again = (t.split("### Structured Input\n")[1] for t in texts)
    assert following == (
        "Video frame 4 at 1.50 Second(s): the first image\nDescription so far: A dog runs {fast}.\n"
        "Video frame 5 at 3.25 Second(s): the second image"
    )
    assert summary == "Video frame 4 at 1.50 Second(s): one\nVideo frame 5 at 3.25 Second(s): two"
    assert fast_text == "Video frame 4 at 1.50 Second(s)\nVideo frame 5 at 3.25 Second(s)"
    assert again == "Idea: a {dog}"


def test_share_captioners_chat_marks():
    assert sharecaptioner_chat("Hi") == (
        "[UNUSED_TOKEN_146]user\nHi[UNUSED_TOKEN_145]\n[UNUSED_TOKEN_146]assistant\n"
    )
    prompts = ShareCaptioner()
    assert prompts.fast([]) == (
        "Here are a few key frames of a video, discribe this video in detail."
    )
    assert prompts.recaption("a {cat}") == (
        "Translate this brief generation prompt into a detailed caption: a {cat}"
    )


def test_fast_layouts():
    result, (request,) = asked(fast(VIDEO, preset=PRESETS["paper"]))
    assert levels(request) == [10, 20, 30] and result.caption == "c0" and result.mode == "fast"
    _, (request,) = asked(fast(VIDEO, preset=PRESETS["demo"]))
    assert [image.shape for image in request.images] == [(3 * 20 + 2 * 20, 100 + 30, 3)]
    many = KeyFrames("m", [frame(i) for i in range(30)], range(30))
    _, (request,) = asked(fast(many, preset=PRESETS["batch"]))
    assert [image.shape for image in request.images] == [(600, 800, 3)]
    corners = request.images[0][[50, 550], [80, 720], 0]
    assert list(corners) == [0, 29]
    with pytest.raises(RecordError, match="exactly 30 frames, not 3"):
        run(fast(VIDEO, preset=PRESETS["batch"]), Numbered())


def test_a_strip_shows_every_frame_with_its_number_at_the_left():
    picture = compose.strip([frame(10), frame(20)])
    assert (picture[:20, 100:] == 10).all() and (picture[40:, 100:] == 20).all()
    assert (picture[29:31] == 0).any(2).any(1).all()  # the line
    margins = picture[:20, :100], picture[40:, :100]
    assert all((margin < 128).any() for margin in margins)
    assert (margins[0] != margins[1]).any()
    assert compose.strip([frame(10, width=800)]).shape == (20, 1000, 3)


def test_one_frame_and_a_clip_out_of_captions_alone():
    result, requests = asked(sliding(KeyFrames("s", [frame(1)], [0]), preset=PRESETS["model"]))
    assert [levels(r) for r in requests] == [[1], []] and result.differential == ("c0",)
    whole = VideoCaption("v", "sliding", "model", "all", (0, 2, 3.5, 8), ("a", "b", "c", "d"))
    part, (request,) = asked(clip(whole, start=2, end=5, preset=PRESETS["model"]))
    assert request.images == () and request.id == "v@2-5#summary"
    assert request.prompt.splitlines()[1:] == [
        "Video frame 1 at 0.00 Second(s) description: b",
        "Video frame 2 at 1.50 Second(s) description: c",
    ]
    assert (part.caption, part.times, part.differential) == ("c0", (0, 1.5), ("b", "c"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KeyFrames("v", [], []), "video v: 0 key frames"),
        (lambda: KeyFrames("v", [frame(1)], [0, 1]), "1 key frames, 2 times"),
        (lambda: KeyFrames("v", [frame(1)] * 2, [2, 1]), "do not rise"),
        (lambda: KeyFrames("v", [frame(1)] * 2, [1, 1]), "do not rise"),
        (lambda: KeyFrames("v", [frame(1)], [float("nan")]), "do not rise"),
        (lambda: KeyFrames("v", [frame(1)], [-1.0]), "do not rise"),
        (lambda: KeyFrames("v", [frame(1) / 255], [0]), "key frame 0 is float64"),
        (lambda: KeyFrames("v", [frame(1)[..., 0]], [0]), r"uint8\[20, 30\]"),
    ],
)
def test_key_frames_that_cannot_be(make, message):
    with pytest.raises(RecordError, match=message):
        make()


@pytest.mark.parametrize("answer", ["", " \n", None])
def test_an_empty_answer_is_an_error_that_names_the_step(answer):
    class Silent(Numbered):
        def describe(self, requests):
            return ["fine" if r.id == "v#0" else answer for r in requests]

    with pytest.raises(RecordError, match="v#1: the text is empty"):
        run(sliding(VIDEO, preset=PRESETS["paper"]), Silent())


def test_clips_and_prompts_that_cannot_be():
    whole = VideoCaption("v", "sliding", "model", "all", (0, 2), ("a", "b"))
    preset = PRESETS["model"]
    with pytest.raises(RecordError, match="no key frame between 3 and 9 s"):
        run(clip(whole, start=3, end=9, preset=preset), Numbered())
    fast_one = dataclasses.replace(whole, differential=())
    with pytest.raises(RecordError, match="0 differential captions for 2 times"):
        run(clip(fast_one, start=0, end=9, preset=preset), Numbered())
    with pytest.raises(RecordError, match="p: prompt: the text is empty"):
        run(recaption("p", "  ", preset=preset), Numbered())
    sizes = KeyFrames("v", [frame(1), frame(1, width=8)], [0, 1])
    with pytest.raises(RecordError, match="different shapes"):
        run(sliding(sizes, preset=PRESETS["demo"]), Numbered())
