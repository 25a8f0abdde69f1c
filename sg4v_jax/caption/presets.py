"""Named ways to caption a video, as data.

    paper    two images a request, real times, four-block prompts (the paper's data set)
    model    as `paper`, with ShareCaptioner-Video's strings and its training resolution
    demo     the released demo: one stacked picture, times of 0, 2, 4, ... whatever the truth
    batch    the released batch script: the later frame alone, times 2 s late, bare summary

The demo and the script take a frame every `int(2 * fps)` and no key frames; their times assume
that spacing. Give them such frames for parity; on irregular key frames their times are wrong.
In the batch script only the sliding prompts are known to count from 1.
"""

from __future__ import annotations

import dataclasses

from sg4v_jax.caption.prompts import Frame, Hierarchical, Prompts, ShareCaptioner
from sg4v_jax.errors import ConfigError

WINDOWS = ("pair", "stacked", "current")
STRIPS = ("separate", "strip", "grid30")
_ASSUMED = 2.0  # seconds between frames in the released scripts


@dataclasses.dataclass(frozen=True)
class Preset:
    """How frames and times become requests.

    Attributes:
      name: for reports and rows.
      prompts: the questions.
      window: images of a sliding request: the two frames as two images ("pair") or stacked in
        one ("stacked"), or the later frame alone ("current").
      fast: images of a fast request: all frames as they are ("separate"), in one tall picture
        ("strip"), or exactly 30 in one ("grid30").
      real_times: whether prompts tell the frames' own times, or 0, 2, 4, ... seconds.
      first_number: the number of the first frame in sliding prompts.
      hd_sliding, hd_fast: the most tiles that ShareCaptioner-Video cuts an image into (`hd_num`).
    """

    name: str
    prompts: Prompts
    window: str = "pair"
    fast: str = "strip"
    real_times: bool = True
    first_number: int = 1
    hd_sliding: int = 25
    hd_fast: int = 55

    def sliding_frame(self, index: int, time: float) -> Frame:
        """Frame `index` (from 0) at `time` seconds, as sliding prompts name it."""
        number = self.first_number + index
        return Frame(number, time if self.real_times else _ASSUMED * number)

    def summary_frame(self, index: int, time: float) -> Frame:
        """The same as the summary names it: numbers from 1, times from 0."""
        return Frame(index + 1, time if self.real_times else _ASSUMED * index)


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("paper", Hierarchical(), fast="separate"),
        Preset("model", ShareCaptioner()),
        Preset(
            "demo",
            ShareCaptioner(),
            window="stacked",
            real_times=False,
            first_number=0,
            hd_sliding=9,
            hd_fast=16,
        ),
        Preset(
            "batch",
            ShareCaptioner(header=False),
            window="current",
            fast="grid30",
            real_times=False,
            first_number=1,
            hd_sliding=9,
            hd_fast=16,
        ),
    )
}


def get_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
      ConfigError: there is none.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}", mend=f"use one of {', '.join(PRESETS)}")
    return PRESETS[name]
