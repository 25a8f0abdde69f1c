"""How likely a model finds each option of a question: the option said is the likeliest.

Legend: `P` pictures (or lists of them), `Q` questions, `O` options of a batch; `S` positions of a
part; `C` cache slots, `D` width, `T` tiles a picture list, `R` tile side.

A sample (prompt and one option) is laid out as training lays out its record. What samples have in
common is then run once: the beginning that a picture's questions share (its visual tokens above
all), the rest of a question that its options share, and the options, each on the kept keys and
values of the part before. For a picture of 64 visual tokens with 12 questions of 2.7 options that is
a sixth of the positions.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sg4v_jax import chips
from sg4v_jax.data.layout import SEPARATOR, TEXT, Sequence1D
from sg4v_jax.data.record import Record, Visual
from sg4v_jax.errors import BudgetError, RecordError
from sg4v_jax.infer.engine import Shown
from sg4v_jax.models.kv_cache import KVCache
from sg4v_jax.models.params import skeleton
from sg4v_jax.models.video_lm import VideoLM
from sg4v_jax.text.chat import Turn
from sg4v_jax.train.cross_entropy import chunked_cross_entropy
from sg4v_jax.weights.load import load_model
from sg4v_jax.weights.store import ModelSettings

OPTIONS = 256  # options a batch
STEP = 8  # lengths of parts are multiples of it, so that few are compiled for


@dataclasses.dataclass(frozen=True)
class Request:
    """One question.

    Attributes:
      turns: as a training record's; the last is the user's.
      options: possible answers.
      pictures: for each `<image>`, what `Scorer.show` made of it. Requests that hold the same
        objects share the work on them.
    """

    turns: Sequence[Turn]
    options: Sequence[str]
    pictures: Sequence[Shown]


class Part(NamedTuple):
    """The positions that one level of a batch adds to the level above, for N rows."""

    tokens: np.ndarray  # i32[N,S]
    visual_index: np.ndarray  # i32[N,S], as in a `Batch`
    positions: np.ndarray  # i32[N,S]
    segments: np.ndarray  # i32[N,S], 1 = a token, 0 = padding
    parent: np.ndarray  # i32[N], the row of the level above


class Scored(NamedTuple):
    """One batch: three parts, pixels, and what is scored in the last part."""

    pictures: Part
    questions: Part
    options: Part
    tiles: np.ndarray  # u8[P,T,R,R,3]
    targets: np.ndarray  # i32[O,S]
    counted: np.ndarray  # bool[O,S]


class Scorer:
    """A model ready to score.

    Args:
      settings: model, inputs and tokenizer.
      params: parameters by path, low-rank branches merged.
      dtype: of activations.
    """

    def __init__(
        self, settings: ModelSettings, params: Mapping[str, jax.Array], *, dtype: str = "float32"
    ):
        self.settings, self.dtype = settings, jnp.dtype(dtype)
        self.model = skeleton(lambda key: VideoLM(settings.config, key=key)).build(params)
        self._laid: dict[tuple, Sequence1D] = {}

    @classmethod
    def load(cls, folder: str | os.PathLike, *, dtype: str = "float32") -> Scorer:
        """The model in `folder`, by any name that `--model` takes."""
        return cls(*load_model(folder, dtype=dtype), dtype=dtype)

    def show(self, picture: np.ndarray) -> Shown:
        """u8[H,W,3] as the model sees it."""
        return Shown(picture.shape[1::-1], self.settings.inputs.tiles(picture))

    def option_scores(
        self, requests: Sequence[Request], *, progress: Callable[[int], None] = lambda done: None
    ) -> list[np.ndarray]:
        """Summed log-probability of each option's tokens and its closing token, f64[options] each.

        Neither the order of requests nor what stands beside one in a batch changes its scores, but
        for rounding.

        Args:
          progress: called with the number of requests done so far.

        Raises:
          BudgetError: a sample is longer than the model's positions.
          RecordError: training would drop the sample, or a request has no options.
        """
        laid = [[self.lay_out(r, option) for option in r.options] for r in requests]
        scores = [np.zeros(len(r.options)) for r in requests]
        plan = _Plan.of(requests, laid, self.settings)
        run = compiled(tuple(chips.flags(jax.devices()[0].device_kind).items()))
        done = 0
        for chosen in plan.batches():
            batch = plan.place(chosen)
            found = np.asarray(run(self.model, batch, dtype=self.dtype), np.float64)
            start = 0
            for question in (q for group in chosen for q in group):
                count = len(laid[question])
                scores[question] = found[start : start + count]
                start, done = start + count, done + 1
            progress(done)
        return scores

    def lay_out(self, request: Request, option: str) -> Sequence1D:
        """The sample that training makes of the record with this answer; kept for the next time."""
        sizes = tuple(p.size for p in request.pictures)
        key = (tuple(request.turns), option, sizes)
        if key not in self._laid:
            turns = (*request.turns, Turn("assistant", option))
            visuals = tuple(Visual("image", "") for _ in sizes)
            record = Record(option, "options", visuals, turns)
            sequence, drop = self.settings.inputs.record_sequence(
                record, sizes=sizes, tokenizer=self.settings.tokenizer
            )
            longest = self.settings.config.llm.max_position_embeddings
            if drop is not None or not len(sequence.loss_index):
                raise RecordError(
                    f"option {option!r} of {request.turns[-1].content!r:.80}: {drop or 'empty'}",
                    mend="give an option that a model can be trained to say",
                )
            if len(sequence.tokens) > longest:
                raise BudgetError(
                    f"a prompt with its option has {len(sequence.tokens)} positions, the model "
                    f"{longest}",
                    mend="ask a shorter question, or show smaller pictures",
                )
            self._laid[key] = sequence
        return self._laid[key]


def option_scores(scorer: Scorer, requests: Sequence[Request]) -> list[np.ndarray]:
    """`scorer.option_scores(requests)`."""
    return scorer.option_scores(requests)


@functools.cache
def compiled(flags: tuple[tuple[str, str], ...]) -> Callable[..., jax.Array]:
    """`log_likelihoods`, jitted: compiled once a process and shape; `flags` of XLA."""
    return jax.jit(log_likelihoods, static_argnames="dtype", compiler_options=dict(flags))


def log_likelihoods(model: VideoLM, batch: Scored, *, dtype: jnp.dtype) -> jax.Array:
    """f32[O]: the summed log-probability of each option's targets."""
    slots = sum(p.tokens.shape[1] for p in (batch.pictures, batch.questions, batch.options))
    count = len(batch.pictures.parent)
    table = model.visual_table(batch.tiles, dtype=dtype)
    cache = KVCache.empty(model.llm.config, batch=count, slots=slots, dtype=dtype)
    _, cache = _extend(model, batch.pictures, table, cache)
    cache, table = _children(cache, batch.questions.parent), table[batch.questions.parent]
    _, cache = _extend(model, batch.questions, table, cache)
    cache = _children(cache, batch.options.parent)
    hidden, _ = _extend(model, batch.options, table[batch.options.parent, :0], cache)
    head = model.llm.head().astype(dtype)
    nll, _ = chunked_cross_entropy(hidden, head, targets=batch.targets, chunks=1)
    return -jnp.sum(jnp.where(batch.counted, nll, 0.0), axis=-1)


def _extend(model: VideoLM, part: Part, table: jax.Array, cache: KVCache):
    x = model.splice(part.tokens, part.visual_index, table)
    return model.llm.extend(x, positions=part.positions, segments=part.segments, cache=cache)


def _children(cache: KVCache, parent: jax.Array) -> KVCache:
    """The cache of rows that go on from rows `parent` i32[N]."""
    return cache._replace(
        k=cache.k[:, parent], v=cache.v[:, parent], segments=cache.segments[parent]
    )


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is shared, and the shapes of all batches.

    Attributes:
      groups: numbers of the questions about the same pictures.
      stems: for each question, positions that all samples of its group begin with.
      prompts: for each question, positions that its options' samples begin with.
      rows: P, Q, O; lengths: S of each part.
    """

    requests: Sequence[Request]
    laid: Sequence[Sequence[Sequence1D]]
    groups: Sequence[Sequence[int]]
    stems: Sequence[int]
    prompts: Sequence[int]
    rows: tuple[int, int, int]
    lengths: tuple[int, int, int]
    tiles: int
    table: int  # rows of the visual table, T * patches
    side: int

    @staticmethod
    def of(requests, laid, settings: ModelSettings) -> _Plan:
        for request in requests:
            if not request.options:
                raise RecordError("a question without options", mend="give two or more")
        anyres = settings.inputs.anyres
        groups: dict[tuple, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(tuple(id(p) for p in request.pictures), []).append(number)
        prompts = [_shared(samples) for samples in laid]
        # Two samples of each question are enough to find what all have in common.
        stems = [0] * len(requests)
        for group in groups.values():
            stem = min(_shared([laid[q][0] for q in group]), *(prompts[q] for q in group))
            for question in group:
                stems[question] = stem
        rests = [
            len(s.tokens) - p for p, samples in zip(prompts, laid, strict=True) for s in samples
        ]
        middles = [p - s for p, s in zip(prompts, stems, strict=True)]
        lengths = tuple(_up(max(counts, default=0)) for counts in (stems, middles, rests))
        asked, options = len(requests), sum(map(len, laid))
        most = max(min(OPTIONS, options), max(map(len, laid), default=1))
        share = lambda count: max(1, -(-count * most * 5 // (4 * max(options, 1))))
        tiles = max((samples[0].tiles for samples in laid), default=0)
        return _Plan(
            requests=requests,
            laid=laid,
            groups=list(groups.values()),
            stems=stems,
            prompts=prompts,
            rows=tuple(_up(n) for n in (share(len(groups)), share(asked), most)),
            lengths=lengths,
            tiles=tiles,
            table=tiles * anyres.patches**2,
            side=anyres.side,
        )

    def batches(self) -> Iterator[list[list[int]]]:
        """Questions of each batch, by picture: as many as `rows` allow, in order."""
        most_pictures, most_questions, most_options = self.rows
        chosen: list[list[int]] = []
        questions = options = 0
        for group in self.groups:
            fresh = True
            for question in group:
                count = len(self.laid[question])
                full = questions == most_questions or options + count > most_options
                if full or (fresh and len(chosen) == most_pictures):
                    yield chosen
                    chosen, questions, options, fresh = [], 0, 0, True
                if fresh:
                    chosen.append([])
                chosen[-1].append(question)
                questions, options, fresh = questions + 1, options + count, False
        if chosen:
            yield chosen

    def place(self, chosen: Sequence[Sequence[int]]) -> Scored:
        """The batch of these questions."""
        parts = [_blank(n, s) for n, s in zip(self.rows, self.lengths, strict=True)]
        shape = (self.rows[0], self.tiles, self.side, self.side, 3)
        tiles = np.zeros(shape, np.uint8)
        targets = np.zeros(parts[2].tokens.shape, np.int32)
        counted = np.zeros(parts[2].tokens.shape, bool)
        question = option = 0
        for picture, group in enumerate(chosen):
            first, stem = self.laid[group[0]][0], self.stems[group[0]]
            self._write(parts[0], picture, first, slice(0, stem), parent=0)
            shown = [p.tiles for p in self.requests[group[0]].pictures]
            if shown:
                pixels = np.concatenate(shown)
                tiles[picture, : len(pixels)] = pixels
            for number in group:
                samples, prompt = self.laid[number], self.prompts[number]
                self._write(parts[1], question, samples[0], slice(stem, prompt), parent=picture)
                for sample in samples:
                    at = slice(prompt, len(sample.tokens))
                    self._write(parts[2], option, sample, at, parent=question)
                    scored = sample.loss_index - prompt
                    targets[option, scored], counted[option, scored] = sample.targets, True
                    option += 1
                question += 1
        return Scored(*parts, tiles, targets, counted)

    def _write(self, part: Part, row: int, sample: Sequence1D, at: slice, *, parent: int) -> None:
        count = at.stop - at.start
        index = sample.visual_index[at]
        part.tokens[row, :count] = sample.tokens[at]
        part.visual_index[row, :count] = np.where(
            index <= SEPARATOR, self.table + SEPARATOR - index, index
        )
        part.positions[row, :count] = np.arange(at.start, at.stop)
        part.segments[row, :count] = 1
        part.parent[row] = parent


def _blank(rows: int, positions: int) -> Part:
    zeros = lambda: np.zeros((rows, positions), np.int32)
    return Part(
        zeros(),
        np.full((rows, positions), TEXT, np.int32),
        zeros(),
        zeros(),
        np.zeros(rows, np.int32),
    )


def _shared(samples: Sequence[Sequence1D]) -> int:
    """Positions that all begin with, up to the first whose output is scored."""
    first = samples[0]
    count = min(int(s.loss_index[0]) for s in samples)
    for other in samples[1:]:
        same = (first.tokens[:count] == other.tokens[:count]) & (
            first.visual_index[:count] == other.visual_index[:count]
        )
        count = count if same.all() else int(same.argmin())
    return count


def _up(count: int) -> int:
    return max(STEP, -(-count // STEP) * STEP)
