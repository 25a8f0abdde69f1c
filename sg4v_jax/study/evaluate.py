"""A trained model and the study's data -> `answers.jsonl`, and what a result row says of them.

Each question is answered about the right video, about a wrong one and about none; the option said is
the likeliest. A generated caption of each video is read by `world.aspects.reader`, which answers
the choice questions from it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.infer.engine import Engine, Shown
from sg4v_jax.infer.engine import Request as Prompt
from sg4v_jax.study import accuracy
from sg4v_jax.study.likelihood import Request, Scorer
from sg4v_jax.text.chat import IMAGE_PLACEHOLDER, Turn
from sg4v_jax.weights.load import load_model
from sg4v_jax.world.aspects import reader
from sg4v_jax.world.aspects.facts import EventFact, truth
from sg4v_jax.world.aspects.questions import CAPTION_PROMPT, Claim, Question
from sg4v_jax.world.aspects.scene import WorldSettings, sample_scene

ANSWERS = "answers.jsonl"
CONDITIONS = ("right", "wrong", "none")
BLANK = 128  # every pixel of the picture of no video
CAPTION_TOKENS = 96
PATHS = ("grid", "frames")
_SALT = 83


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What is evaluated, and how.

    Attributes:
      split: "dev" or "test".
      world: of the scenes.
      path: "grid" (one picture a video) or "frames" (each of its frames is a picture).
      conditions: which of `CONDITIONS`; "right" must be one.
      scenes: only the questions about the first so many scenes; None for all.
      captions: describe the first so many scenes; None for all.
      dtype: of activations.
    """

    split: str
    world: WorldSettings
    path: str = "grid"
    conditions: Sequence[str] = CONDITIONS
    scenes: int | None = None
    captions: int | None = None
    dtype: str = "float32"

    def __post_init__(self):
        if self.path not in PATHS:
            raise ConfigError(f"path {self.path!r} is unknown", mend=f"use one of {PATHS}")
        if "right" not in self.conditions or set(self.conditions) - set(CONDITIONS):
            raise ConfigError(
                f"conditions {self.conditions!r}", mend=f"use 'right' and others of {CONDITIONS}"
            )


def evaluate(
    model: str | os.PathLike,
    *,
    data: str | os.PathLike,
    out: str | os.PathLike,
    settings: Settings,
) -> dict[str, Any]:
    """Answers the questions of a split, writes `out/answers.jsonl`, and sums them up.

    Args:
      model: a model directory or any other name that `--model` takes.
      data: the folder with `questions/`, `pictures/` and `captions/`.

    Returns:
      The fields accuracy, unseen, captioning, yes_share and captions of a result row.

    Raises:
      RecordError: a question or picture that is missing or damaged.
      CheckpointError: no such model.
    """
    loaded, params = load_model(model, dtype=settings.dtype)
    scorer = Scorer(loaded, params, dtype=settings.dtype)
    asked, every = read_questions(data, split=settings.split, scenes=settings.scenes)
    videos = Videos(scorer, data=data, path=settings.path)
    lines = answer(scorer, asked, videos=videos, every=every, conditions=settings.conditions)
    scenes = list(dict.fromkeys(line["scene"] for line in asked))[: settings.captions]
    engine = Engine(loaded, params, dtype=settings.dtype)
    told = describe(engine, scenes, videos=videos, every=every)
    lines += from_captions(asked, told)
    files.write_atomic(
        files.path(out) / ANSWERS,
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines),
    )
    counts = events_of(told, split=settings.split, world=settings.world)
    return fields(lines, conditions=settings.conditions) | {"captions": counts}


def fields(lines: Sequence[Mapping[str, Any]], *, conditions: Sequence[str]) -> dict[str, Any]:
    """The fields accuracy, unseen, captioning and yes_share that follow from `answers.jsonl`."""
    asked = [line for line in lines if line["form"] != "captioning"]
    read = [line for line in lines if line["form"] == "captioning"]

    def right(line: Mapping[str, Any], condition: str = "right") -> tuple[str, str, bool]:
        return line["aspect"], line["form"], line["said"][condition] == line["answer"]

    described = accuracy.summary(right(line) for line in read)["cells"]
    yes_no = [line for line in asked if line["form"] == "yesno"]
    return {
        "accuracy": {c: accuracy.summary(right(line, c) for line in asked) for c in conditions},
        "unseen": accuracy.summary(right(line) for line in asked if line["unseen"]),
        "captioning": {
            aspect: round(cell["captioning"][0] / cell["captioning"][1], 6)
            for aspect, cell in described.items()
        },
        "yes_share": {
            "right": accuracy.mean(line["said"]["right"] == "yes" for line in yes_no),
            "truth": accuracy.mean(line["answer"] == "yes" for line in yes_no),
        },
    }


def read_questions(
    data: str | os.PathLike, *, split: str, scenes: int | None = None
) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """The questions about the first `scenes` scenes, and the video of every scene of the split.

    Raises:
      RecordError: no such file, or a line that is not a question.
    """
    file = files.path(data) / "questions" / f"{split}.jsonl"
    lines = read_lines(
        file, fields=("id", "scene", "video", "aspect", "form", "text", "options", "answer")
    )
    every = {line["scene"]: line["video"] for line in lines}
    kept = set(list(every)[:scenes])
    return [line for line in lines if line["scene"] in kept], every


def read_lines(file: str | os.PathLike, *, fields: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file, each with all of `fields`.

    Raises:
      RecordError: names file, line and field.
    """
    if not files.path(file).exists():
        raise RecordError(f"{file}: no such file", mend="make the study's data first")
    found = []
    for number, text in enumerate(files.path(file).read_text().splitlines(), 1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError as e:
            raise RecordError(
                f"{file}: line {number}: not JSON ({e.msg})", mend="make the file again"
            ) from e
        for field in fields:
            if field not in line:
                raise RecordError(
                    f"{file}: line {number}: field {field!r} is missing", mend="make the file again"
                )
        found.append(line)
    return found


class Videos:
    """The videos of a data folder as the model sees them; each is read once."""

    def __init__(self, scorer: Scorer, *, data: str | os.PathLike, path: str):
        self._scorer, self._data, self._path = scorer, data, path
        self._shown: dict[str, tuple[Shown, ...]] = {}
        self._blank: dict[tuple[int, ...], tuple[Shown, ...]] = {}

    def shown(self, video: str) -> tuple[Shown, ...]:
        """What stands at the video's image places.

        Raises:
          RecordError: no such picture.
          UnsafePathError: a path that leaves the data folder.
        """
        if video not in self._shown:
            self._shown[video] = self._show(self._read(video))
        return self._shown[video]

    def blank(self, video: str) -> tuple[Shown, ...]:
        """A grey picture of the same size."""
        sizes = tuple(p.size for p in self.shown(video))
        if sizes not in self._blank:
            grey = lambda size: np.full((size[1], size[0], 3), BLANK, np.uint8)
            one = self._scorer.show(grey(sizes[0]))
            same = all(size == sizes[0] for size in sizes)
            shown = [one if same else self._scorer.show(grey(size)) for size in sizes]
            self._blank[sizes] = tuple(shown)
        return self._blank[sizes]

    def _show(self, picture: np.ndarray) -> tuple[Shown, ...]:
        if self._path == "grid":
            return (self._scorer.show(picture),)
        frames = frames_of(picture, count=self._scorer.settings.inputs.frames)
        return tuple(self._scorer.show(frame) for frame in frames)

    def _read(self, video: str) -> np.ndarray:
        where = files.safe_join(self._data, video, where="questions: field 'video'")
        try:
            with Image.open(where) as image:
                return np.asarray(image.convert("RGB"))
        except OSError as e:
            raise RecordError(f"{where}: no picture ({e})", mend="make the data again") from e


def frames_of(picture: np.ndarray, *, count: int) -> list[np.ndarray]:
    """A grid u8[H,W,3] of `count` frames without bands -> the frames, row by row.

    96 x 96 with 16 frames: 16 of 24 x 24.

    Raises:
      ConfigError: the picture is not made of so many equal parts.
    """
    side = round(count**0.5)
    height, width = picture.shape[:2]
    if side * side != count or height % side or width % side:
        raise ConfigError(
            f"a picture of {width}x{height} is no grid of {count} frames",
            mend="use a square number of frames, and no bands",
        )
    high, wide = height // side, width // side
    rows = (picture[high * r : high * (r + 1)] for r in range(side))
    return [row[:, wide * c : wide * (c + 1)] for row in rows for c in range(side)]


def user_turn(text: str, *, pictures: int) -> Turn:
    r"""The question as training has it: `<image>` for each picture, a line end, the text.

    >>> user_turn("Does it move?", pictures=1).content
    "<image>\nDoes it move?"
    """
    return Turn("user", f"{IMAGE_PLACEHOLDER * pictures}\n{text}")


def derangement(scenes: Sequence[int]) -> dict[int, int]:
    """For each scene another one, always the same; each is another's once.

    Raises:
      ConfigError: there is but one.
    """
    scenes = sorted(scenes)
    if len(scenes) < 2:
        raise ConfigError("one scene has no wrong video", mend="make two scenes or more")
    order = np.random.default_rng([_SALT, len(scenes)]).permutation(len(scenes))
    return {scenes[a]: scenes[b] for a, b in zip(order, np.roll(order, -1), strict=True)}


def answer(
    scorer: Scorer,
    asked: Sequence[Mapping[str, Any]],
    *,
    videos: Videos,
    every: Mapping[int, str],
    conditions: Sequence[str],
) -> list[dict[str, Any]]:
    """A line of `answers.jsonl` for each question.

    Args:
      every: the video of each scene of the split, those that are not asked about too.
    """
    other = derangement(list(every)) if "wrong" in conditions else {}
    look = {
        "right": lambda line: videos.shown(line["video"]),
        "wrong": lambda line: videos.shown(every[other[line["scene"]]]),
        "none": lambda line: videos.blank(line["video"]),
    }
    scores = {}
    for condition in conditions:
        requests = []
        for line in asked:
            shown = look[condition](line)
            turn = user_turn(line["text"], pictures=len(shown))
            requests.append(Request([turn], line["options"], shown))
        scores[condition] = scorer.option_scores(requests)
    kept = ("id", "scene", "aspect", "form", "unseen", "answer")
    return [
        {name: line[name] for name in kept}
        | {"said": {c: line["options"][int(scores[c][n].argmax())] for c in conditions}}
        | {"scores": [round(float(x), 4) for x in scores["right"][n]]}
        for n, line in enumerate(asked)
    ]


def describe(
    engine: Engine, scenes: Sequence[int], *, videos: Videos, every: Mapping[int, str]
) -> dict[int, str]:
    """A caption of each scene, the likeliest token at a time."""
    prompts = []
    for scene in scenes:
        shown = videos.shown(every[scene])
        prompts.append(Prompt([user_turn(CAPTION_PROMPT, pictures=len(shown))], shown))
    texts = engine.answer(prompts, max_new_tokens=CAPTION_TOKENS) if prompts else []
    return dict(zip(scenes, texts, strict=True))


def from_captions(
    asked: Sequence[Mapping[str, Any]], told: Mapping[int, str]
) -> list[dict[str, Any]]:
    """The fourth form: each choice question as somebody answers it who reads the caption alone."""
    lines = []
    for line in asked:
        if line["form"] != "choice" or line["scene"] not in told:
            continue
        caption = told[line["scene"]]
        said = reader.answer(reader.read(caption), question_of(line)) or ""
        kept = {name: line[name] for name in ("scene", "aspect", "unseen", "answer")}
        name = line["id"].removesuffix("choice") + "captioning"
        head = {"id": name, "scene": kept["scene"], "aspect": kept["aspect"], "form": "captioning"}
        lines.append(head | kept | {"said": {"right": said}, "caption": caption})
    return lines


def question_of(line: Mapping[str, Any]) -> Question:
    """A line of the questions as the reader takes it: what its options say, not how."""
    claims = tuple(
        Claim(option, "", "", tuple((field, value) for field, value in tells))
        for option, tells in zip(line["options"], line["claims"], strict=True)
    )
    return Question(
        line["id"],
        line["aspect"],
        line["form"],
        line["text"],
        tuple(line["options"]),
        line["answer"],
        claims,
    )


def events_of(told: Mapping[int, str], *, split: str, world: WorldSettings) -> dict[str, int]:
    """How many events the captions tell, how many of them are false, and how many are not told.

    An event is true if one of the scene's agrees with all that is said of it; each of the scene's
    makes one told event true.
    """
    counts = dict(events_told=0, events_false=0, events_missing=0, events_true=0)
    for scene, caption in told.items():
        left = list(truth(sample_scene(scene, split=split, settings=world)).events)
        events = reader.read(caption).events
        for event in events:
            match = next((e for e in left if _agrees(event, e)), None)
            if match is not None:
                left.remove(match)
                counts["events_true"] += 1
        counts["events_told"] += len(events)
        counts["events_missing"] += len(left)
    counts["events_false"] = counts["events_told"] - counts["events_true"]
    return counts


def _agrees(said: EventFact, fact: EventFact) -> bool:
    told = dataclasses.asdict(said)
    return all(value is None or value == getattr(fact, field) for field, value in told.items())
