"""How likely a model finds each option of a question: the option said is the likeliest.

A sample (prompt and one option) is laid out as training lays out its record; what samples have in
common is run once (`shared_parts.py`). Legend: `P` clips, `Q` questions, `O` options of a batch.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from sg4v_jax import chips
from sg4v_jax.data.layout import Sequence1D
from sg4v_jax.data.record import Record, Visual
from sg4v_jax.errors import BudgetError, RecordError
from sg4v_jax.infer.engine import Shown
from sg4v_jax.models.kv_cache import KVCache
from sg4v_jax.models.params import skeleton
from sg4v_jax.models.video_lm import VideoLM
from sg4v_jax.study.shared_parts import Part, Plan, Question, Shared
from sg4v_jax.text.chat import Turn
from sg4v_jax.train.cross_entropy import chunked_cross_entropy
from sg4v_jax.weights.load import load_model
from sg4v_jax.weights.store import ModelSettings

OPTIONS = 256  # options a batch, for a model of about a million parameters


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


class Scorer:
    """A model ready to score.

    Args:
      settings: model, inputs and tokenizer.
      params: parameters by path, low-rank branches merged.
      dtype: of activations.
      options: how many a batch has; each takes the keys and values of a whole sample.
    """

    def __init__(
        self,
        settings: ModelSettings,
        params: Mapping[str, jax.Array],
        *,
        dtype: str = "float32",
        options: int = OPTIONS,
    ):
        self.settings, self.dtype, self._options = settings, jnp.dtype(dtype), options
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
        questions = [self._question(request) for request in requests]
        plan = Plan.of(questions, options=self._options, anyres=self.settings.inputs.anyres)
        run = compiled(tuple(chips.flags(jax.devices()[0].device_kind).items()))
        scores = [np.zeros(0)] * len(requests)
        done = 0
        for chosen in plan.batches():
            batch = plan.place(chosen)
            found = np.asarray(run(self.model, batch, dtype=self.dtype), np.float64)
            start = 0
            for number in itertools.chain(*chosen):
                count = len(requests[number].options)
                scores[number] = found[start : start + count]
                start, done = start + count, done + 1
            progress(done)
        return scores

    def _question(self, request: Request) -> Question:
        if not request.options:
            raise RecordError(
                f"{request.turns[-1].content!r:.80}: a question without options",
                mend="give its possible answers",
            )
        side = self.settings.inputs.anyres.side
        tiles = [np.zeros((0, side, side, 3), np.uint8), *(p.tiles for p in request.pictures)]
        return Question(
            clip=tuple(id(picture) for picture in request.pictures),
            tiles=np.concatenate(tiles),
            samples=[self.lay_out(request, option) for option in request.options],
        )

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


@functools.cache
def compiled(flags: tuple[tuple[str, str], ...]) -> Callable[..., jax.Array]:
    """`log_likelihoods`, jitted: compiled once a process and shape; `flags` of XLA."""
    return jax.jit(log_likelihoods, static_argnames="dtype", compiler_options=dict(flags))


def log_likelihoods(model: VideoLM, batch: Shared, *, dtype: jnp.dtype) -> jax.Array:
    """f32[O]: the summed log-probability of each option's targets."""
    clips, questions, options = batch.clips, batch.questions, batch.options
    slots = sum(part.tokens.shape[1] for part in (clips, questions, options))
    table = model.visual_table(batch.tiles, dtype=dtype)
    cache = KVCache.empty(model.llm.config, batch=len(clips.parent), slots=slots, dtype=dtype)
    _, cache = _extend(model, clips, table, cache)
    cache, table = _children(cache, questions.parent), table[questions.parent]
    _, cache = _extend(model, questions, table, cache)
    cache = _children(cache, options.parent)
    hidden, _ = _extend(model, options, table[options.parent, :0], cache)  # no picture in these
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
