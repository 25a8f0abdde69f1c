"""What a captioner is asked: two families of prompts behind one protocol.

`ShareCaptioner` holds the exact strings that ShareCaptioner-Video was trained on, misspellings
included: changing a letter changes the model's input. `Hierarchical` is for general chat models:
our own words in the paper's four blocks (Character, Skills, Constraints, Structured Input).

Numbers and times come from the caller; a time is seconds, written with two decimals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Frame(NamedTuple):
    """A key frame as prompts name it: its number and its time in seconds."""

    number: int
    time: float

    def __str__(self) -> str:
        return f"Video frame {self.number} at {self.time:.2f} Second(s)"


class Prompts(Protocol):
    """The questions of the four modes."""

    def first(self, frame: Frame) -> str:
        """About the first key frame alone."""

    def following(self, before: Frame, after: Frame, *, previous: str) -> str:
        """About what changed between two key frames; `previous` is the caption up to `before`."""

    def summary(self, captions: Sequence[tuple[Frame, str]]) -> str:
        """Text only: one caption out of the differential ones."""

    def fast(self, frames: Sequence[Frame]) -> str:
        """About all key frames at once."""

    def recaption(self, text: str) -> str:
        """Text only: a detailed caption out of a short prompt."""


class ShareCaptioner:
    """ShareCaptioner-Video's own strings (`captioner/app.py` of the released code).

    Args:
      header: whether the summary opens with its instruction (the batch script has none).
    """

    FAST = "Here are a few key frames of a video, discribe this video in detail."
    FIRST = "This is the first frame of a video, describe it in detail."
    FOLLOWING = (
        "Here are the {before} and {after} of a video, describe what happend between them. "
        "What happend before is: {previous}"
    )
    SUMMARY = "Summarize the following per frame descriptions:\n"
    SUMMARY_LINE = "{frame} description: {text}\n"
    RECAPTION = "Translate this brief generation prompt into a detailed caption: {text}"

    def __init__(self, *, header: bool = True):
        self.header = header

    def first(self, frame: Frame) -> str:
        return self.FIRST

    def following(self, before: Frame, after: Frame, *, previous: str) -> str:
        return self.FOLLOWING.format(before=before, after=after, previous=previous)

    def summary(self, captions: Sequence[tuple[Frame, str]]) -> str:
        lines = [self.SUMMARY_LINE.format(frame=frame, text=text) for frame, text in captions]
        return (self.SUMMARY if self.header else "") + "".join(lines)

    def fast(self, frames: Sequence[Frame]) -> str:
        return self.FAST

    def recaption(self, text: str) -> str:
        return self.RECAPTION.format(text=text)


def sharecaptioner_chat(prompt: str) -> str:
    """`prompt` in ShareCaptioner-Video's chat marks; the image comes before all of it.

    The answer ends at "[UNUSED_TOKEN_145]" (or "<|im_end|>").
    """
    return f"[UNUSED_TOKEN_146]user\n{prompt}[UNUSED_TOKEN_145]\n[UNUSED_TOKEN_146]assistant\n"


_DIFFERENCE = """\
### Character
You study video one key frame after another, and put into words what has changed from one key \
frame to the next.

### Skills
1. You follow what people, animals and things do, and how their poses and places change.
2. You notice when the surroundings change: background, light, weather, a cut to another scene.
3. You notice changed looks: colour, size, shape, clothing, text.
4. You tell the camera's own movement (pan, tilt, zoom, following) from movement in the scene.

### Constraints
- Say only what can be seen. Do not guess at causes, feelings or what may come.
- Write plain connected sentences. No lists, no headings, no ornament.
- Say nothing about sound.
- Never mention frame numbers, time stamps, images or these instructions.
- Do not repeat what the earlier description says; tell what is new since then.
- Be exact and short. If nothing has changed, say so in one sentence.

### Structured Input
"""

_FIRST = """\
### Character
You study video one key frame after another. This is the first key frame.

### Skills
You describe the scene: who and what is there, how it looks, where it stands, what it does, the \
background, the light, and from where the camera looks.

### Constraints
- Say only what can be seen. Do not guess at causes, feelings or what may come.
- Write plain connected sentences. No lists, no headings, no ornament.
- Say nothing about sound.
- Never mention frame numbers, time stamps, images or these instructions.

### Structured Input
"""

_SUMMARY = """\
### Character
You receive descriptions of a video's key frames in order of time. Each tells what has changed \
since the one before. You write one description of the whole video.

### Skills
You join the parts into one account that keeps their order, names each person and thing the same \
way throughout, and leaves out repetition.

### Constraints
- Use only what the descriptions say. Add and infer nothing.
- Keep the order of events.
- Write plain connected sentences. No lists, no headings, no ornament.
- Never mention frames, frame numbers, time stamps or these instructions.

### Structured Input
"""

_FAST = """\
### Character
You describe a video of which you see the key frames in order of time.

### Skills
You tell what is there at first, what happens and in which order, and how the camera moves.

### Constraints
- Say only what can be seen. Write plain connected sentences, without lists or headings.
- Say nothing about sound. Never mention frames, images, time stamps or these instructions.

### Structured Input
"""

_RECAPTION = """\
### Character
You turn a short idea for a video into the detailed description of a video that shows it.

### Skills
You add what the idea leaves open: looks, surroundings, light, actions in order, camera movement.

### Constraints
- Keep all that the idea says; contradict none of it.
- Write plain connected sentences in the present tense. No lists, no headings, no sound.

### Structured Input
Idea: """


class Hierarchical:
    """Prompts in four blocks for general chat models. The images come in the order of the text."""

    def first(self, frame: Frame) -> str:
        return f"{_FIRST}{frame}: the image"

    def following(self, before: Frame, after: Frame, *, previous: str) -> str:
        return (
            f"{_DIFFERENCE}{before}: the first image\nDescription so far: {previous}\n"
            f"{after}: the second image"
        )

    def summary(self, captions: Sequence[tuple[Frame, str]]) -> str:
        return _SUMMARY + "\n".join(f"{frame}: {text}" for frame, text in captions)

    def fast(self, frames: Sequence[Frame]) -> str:
        return _FAST + "\n".join(map(str, frames))

    def recaption(self, text: str) -> str:
        return _RECAPTION + text
