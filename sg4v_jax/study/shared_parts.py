r"""What the samples of many questions have in common, and batches in which it stands once.

Legend: `P` clips, `Q` questions, `O` options of a batch; `S` positions of a part, `T` tiles a clip,
`R` tile side.

The samples of a clip begin alike (with its visual tokens above all), those of one question share
the rest of its prompt too, and only the options differ. So a batch has three parts, and each row
goes on from a row of the part before:

    clips        <bos> user <64 visual tokens>           once a clip
    questions    \n Does the circle move? assistant      once a question
    options      yes <eot>,  no <eot>                    once an option

With 12 questions of 2.5 options a clip, that is a sixth of the positions. What is shared is found by
comparing the samples, so nothing here knows templates or tokenizers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sg4v_jax.data.layout import SEPARATOR, TEXT, Sequence1D
from sg4v_jax.video.anyres import AnyRes

STEP = 8  # rows and positions of a part are multiples of it, so that few shapes are compiled for
SPARE = 1.25  # clips and questions that a batch has room for, over what its options need


class Question(NamedTuple):
    """One question laid out.

    Attributes:
      clip: questions with equal ones are about the same pictures.
      tiles: u8[T,R,R,3] of those.
      samples: prompt and option, for each option.
    """

    clip: tuple[int, ...]
    tiles: np.ndarray
    samples: Sequence[Sequence1D]


class Part(NamedTuple):
    """The positions that one part of a batch adds to the part before, for N rows."""

    tokens: np.ndarray  # i32[N,S]
    visual_index: np.ndarray  # i32[N,S], as in a `Batch`
    positions: np.ndarray  # i32[N,S]
    segments: np.ndarray  # i32[N,S], 1 = a token, 0 = padding
    parent: np.ndarray  # i32[N], the row of the part before

    @staticmethod
    def empty(rows: int, positions: int) -> Part:
        """All padding."""
        zeros = lambda: np.zeros((rows, positions), np.int32)
        return Part(zeros(), zeros() + TEXT, zeros(), zeros(), np.zeros(rows, np.int32))

    def write(self, row: int, sample: Sequence1D, at: slice, *, parent: int, table: int) -> None:
        """Puts positions `at` of a sample into a row; `table`: rows of the visual table."""
        count, index = at.stop - at.start, sample.visual_index[at]
        separator = table + SEPARATOR - index
        self.tokens[row, :count] = sample.tokens[at]
        self.visual_index[row, :count] = np.where(index <= SEPARATOR, separator, index)
        self.positions[row, :count] = np.arange(at.start, at.stop)
        self.segments[row, :count] = 1
        self.parent[row] = parent


class Shared(NamedTuple):
    """One batch: three parts, pixels, and what is scored in the last part."""

    clips: Part
    questions: Part
    options: Part
    tiles: np.ndarray  # u8[P,T,R,R,3]
    targets: np.ndarray  # i32[O,S]
    counted: np.ndarray  # bool[O,S]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How questions are cut into parts and batches; all batches have one shape.

    Attributes:
      clips: numbers of the questions about each clip.
      stems: for each question, positions that all samples of its clip begin with.
      prompts: for each question, positions that the samples of its options begin with.
      rows: P, Q and O; positions: S of each part; tiles: T.
    """

    questions: Sequence[Question]
    clips: Sequence[Sequence[int]]
    stems: Sequence[int]
    prompts: Sequence[int]
    rows: tuple[int, int, int]
    positions: tuple[int, int, int]
    tiles: int
    anyres: AnyRes

    @staticmethod
    def of(questions: Sequence[Question], *, options: int, anyres: AnyRes) -> Plan:
        """The plan for batches of at most `options` options (or those of one question)."""
        clips: dict[tuple[int, ...], list[int]] = {}
        for number, question in enumerate(questions):
            clips.setdefault(question.clip, []).append(number)
        prompts = [_alike(q.samples) for q in questions]
        stems = [0] * len(questions)
        for chosen in clips.values():
            # One sample of each question: the others begin as it does, up to the prompt's end.
            stem = min(
                _alike([questions[n].samples[0] for n in chosen]), *(prompts[n] for n in chosen)
            )
            for number in chosen:
                stems[number] = stem
        asked = [len(q.samples) for q in questions]
        rests = [
            len(s.tokens) - p for q, p in zip(questions, prompts, strict=True) for s in q.samples
        ]
        middles = [p - s for p, s in zip(prompts, stems, strict=True)]
        most = max(min(options, sum(asked)), max(asked, default=1))
        room = lambda count: min(count, int(SPARE * count * most / max(sum(asked), 1)) + 1)
        return Plan(
            questions=questions,
            clips=list(clips.values()),
            stems=stems,
            prompts=prompts,
            rows=tuple(_up(n) for n in (room(len(clips)), room(len(questions)), most)),
            positions=tuple(_up(max(n, default=1)) for n in (stems, middles, rests)),
            tiles=max((len(q.tiles) for q in questions), default=0),
            anyres=anyres,
        )

    def batches(self) -> Iterator[list[list[int]]]:
        """Numbers of the questions of each batch, by clip; a clip may go on in the next one."""
        most_clips, most_questions, most_options = self.rows
        chosen: list[list[int]] = []
        questions = options = 0
        for clip in self.clips:
            begun = False
            for number in clip:
                count = len(self.questions[number].samples)
                full = questions == most_questions or options + count > most_options
                if full or (not begun and len(chosen) == most_clips):
                    yield chosen
                    chosen, questions, options, begun = [], 0, 0, False
                if not begun:
                    chosen.append([])
                chosen[-1].append(number)
                questions, options, begun = questions + 1, options + count, True
        if chosen:
            yield chosen

    def place(self, chosen: Sequence[Sequence[int]]) -> Shared:
        """The batch of these questions; its options stand in their order."""
        parts = [Part.empty(n, s) for n, s in zip(self.rows, self.positions, strict=True)]
        clips, questions, options = parts
        side, table = self.anyres.side, self.tiles * self.anyres.patches**2
        tiles = np.zeros((self.rows[0], self.tiles, side, side, 3), np.uint8)
        targets, counted = np.zeros_like(options.tokens), np.zeros(options.tokens.shape, bool)
        question = option = 0
        for clip, numbers in enumerate(chosen):
            first, stem = self.questions[numbers[0]], self.stems[numbers[0]]
            clips.write(clip, first.samples[0], slice(0, stem), parent=0, table=table)
            tiles[clip, : len(first.tiles)] = first.tiles
            for number in numbers:
                samples, prompt = self.questions[number].samples, self.prompts[number]
                at = slice(stem, prompt)
                questions.write(question, samples[0], at, parent=clip, table=table)
                for sample in samples:
                    at = slice(prompt, len(sample.tokens))
                    options.write(option, sample, at, parent=question, table=table)
                    scored = sample.loss_index - prompt
                    targets[option, scored], counted[option, scored] = sample.targets, True
                    option += 1
                question += 1
        return Shared(*parts, tiles, targets, counted)


def _alike(samples: Sequence[Sequence1D]) -> int:
    """Positions that all begin with, but none whose output is scored."""
    first = samples[0]
    count = min(int(s.loss_index[0]) for s in samples)
    for other in samples[1:]:
        same = first.tokens[:count] == other.tokens[:count]
        same &= first.visual_index[:count] == other.visual_index[:count]
        count = count if same.all() else int(same.argmin())
    return count


def _up(count: int) -> int:
    return max(STEP, -(-count // STEP) * STEP)
