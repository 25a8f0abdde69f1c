"""The engine: turns and pictures in, answers out, in batches of different lengths."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from sg4v_jax.batch import Batch
from sg4v_jax.data import layout
from sg4v_jax.data.packing import Budget
from sg4v_jax.errors import BudgetError
from sg4v_jax.infer.generate import Sampling, decode, prefill, right_align
from sg4v_jax.models import int8
from sg4v_jax.models.params import skeleton
from sg4v_jax.models.video_lm import VideoLM
from sg4v_jax.text.chat import Turn, stop_ids
from sg4v_jax.weights.load import load_model
from sg4v_jax.weights.store import ModelSettings

PROMPT_STEP = 64  # prompt buckets are multiples of this
BATCHES = (1, 2, 4, 8, 16, 32)


# Compiled once a process and shape, whichever engine asks.
_prefill = jax.jit(prefill, static_argnames=("slots", "dtype", "kv_dtype"))
_decode = jax.jit(decode, static_argnames=("eos", "greedy", "dtype"))


@dataclasses.dataclass(frozen=True)
class Request:
    """One question: turns that end with the user's, and a picture u8[H,W,3] for each `<image>`."""

    turns: Sequence[Turn]
    pictures: Sequence[np.ndarray]


class Engine:
    """A model ready to answer.

    Args:
      settings: model, inputs and tokenizer.
      params: parameters by path; of an int8 model as `models.int8.params` makes them.
      dtype: of activations.
      kv_dtype: of the cache: None as `dtype`, another float, or "int8".
    """

    def __init__(
        self,
        settings: ModelSettings,
        params,
        *,
        dtype: str = "float32",
        kv_dtype: str | None = None,
    ):
        self.settings = settings
        rounded = any(path.endswith("kernel_scale") for path in params)
        plain = lambda key: VideoLM(settings.config, key=key)
        shape = skeleton((lambda key: int8.attach(plain(key))) if rounded else plain)
        self._model, self._dtype = shape.build(params), jnp.dtype(dtype)
        self._kv_dtype = kv_dtype
        self._stops = stop_ids(settings.tokenizer, settings.inputs.chat_template)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike,
        *,
        dtype: str = "float32",
        weights_dtype: str | None = None,
        kv_dtype: str | None = None,
        step: int | str | None = None,
        **inputs: str | int,
    ) -> Engine:
        """The model in `folder`: a model directory, a checkpoint, or a hub id (`weights.load`).

        Args:
          dtype: of activations.
          weights_dtype: of the weights: None as `dtype`, another float, or `int8` (matrices and
            the vocabulary table in a byte a number, the rest in `dtype`).
          kv_dtype: of the cache: None as `dtype`, another float, or `int8`.
          step: of a working directory: a number, "best", or None for the newest.
          inputs: fields of `InputSpec` (`visual`, `sampling`, `longest_side` ...) that replace
            the model's own.
        """
        # Weights in int8 are rounded from the stored numbers, once.
        rounded = weights_dtype == "int8"
        settings, flat = load_model(
            folder, step=step, dtype=None if rounded else weights_dtype or dtype
        )
        replaced = dataclasses.replace(settings.inputs, **inputs)
        settings = dataclasses.replace(settings, inputs=replaced)
        if rounded:
            build = lambda key: VideoLM(settings.config, key=key)
            flat = int8.params(flat, jax.eval_shape(build, jax.random.key(0)), dtype=dtype)
        return cls(settings, flat, dtype=dtype, kv_dtype=kv_dtype)

    def answer(
        self,
        requests: Sequence[Request],
        *,
        max_new_tokens: int,
        sampling: Sampling = Sampling(),
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[str]:
        """The answers, in the order of the requests.

        Requests of like length share a batch; each answer is the same as alone (greedy).

        Args:
          progress: called with the number of answers done so far.

        Raises:
          BudgetError: a prompt with its answer is longer than the model's positions.
        """
        samples = [self._lay_out(r, max_new_tokens) for r in requests]
        order = sorted(range(len(samples)), key=lambda i: len(samples[i].sequence.tokens))
        answers = [""] * len(samples)
        for start in range(0, len(order), BATCHES[-1]):
            chosen = order[start : start + BATCHES[-1]]
            texts = self._answer_batch(
                [samples[i] for i in chosen], max_new_tokens=max_new_tokens, sampling=sampling
            )
            for i, text in zip(chosen, texts, strict=True):
                answers[i] = text
            progress(start + len(chosen))
        return answers

    def _lay_out(self, request: Request, max_new_tokens: int) -> layout.Placed:
        inputs = self.settings.inputs
        sizes = [p.shape[1::-1] for p in request.pictures]
        sequence, _ = inputs.sequence(
            request.turns, sizes=sizes, tokenizer=self.settings.tokenizer, generation=True
        )
        longest = self.settings.config.llm.max_position_embeddings
        if len(sequence.tokens) + max_new_tokens > longest:
            raise BudgetError(
                f"the prompt has {len(sequence.tokens)} positions and may add {max_new_tokens}; "
                f"the model has {longest}",
                mend="ask a shorter question, start a new chat, or lower --max_new_tokens",
            )
        side = inputs.anyres.side
        empty = np.zeros((0, side, side, 3), np.uint8)
        tiles = np.concatenate([empty, *(inputs.tiles(p) for p in request.pictures)])
        return layout.Placed(sequence, tiles, 0.0)

    def _answer_batch(
        self, samples: Sequence[layout.Placed], *, max_new_tokens: int, sampling: Sampling
    ) -> list[str]:
        batch = self._batch(samples)
        slots = batch.tokens.shape[1] + max_new_tokens
        state = _prefill(
            self._model, batch, slots=slots, dtype=self._dtype, kv_dtype=self._kv_dtype
        )
        tokens = _decode(
            self._model,
            state,
            key=jax.random.key(sampling.seed),
            eos=tuple(sorted(self._stops)),
            greedy=sampling.temperature == 0,
            temperature=jnp.float32(sampling.temperature or 1.0),
            top_p=jnp.float32(sampling.top_p),
            dtype=self._dtype,
        )
        return [self._text(row) for row in np.asarray(tokens)[: len(samples)]]

    def _batch(self, samples: Sequence[layout.Placed]) -> Batch:
        """Buckets: prompt length up to a multiple of 64, batch up to the next size."""
        longest = max(len(s.sequence.tokens) for s in samples)
        size = next(n for n in BATCHES if n >= len(samples))
        budget = Budget(
            positions=-(-longest // PROMPT_STEP) * PROMPT_STEP,
            tiles=max(s.sequence.tiles for s in samples),
            scored=1,
        )
        anyres = self.settings.inputs.anyres
        # Rows beyond the last request repeat it: an empty row would never be done.
        filled = list(samples) + [samples[-1]] * (size - len(samples))
        rows = [
            layout.place([s], budget=budget, side=anyres.side, patches=anyres.patches)
            for s in filled
        ]
        return right_align(Batch(*(np.stack(field) for field in zip(*rows, strict=True))))

    def _text(self, tokens: np.ndarray) -> str:
        tokenizer = self.settings.tokenizer
        ends = [i for i, t in enumerate(tokens) if int(t) in self._stops]
        said = tokens[: ends[0]] if ends else tokens
        return tokenizer.decode([int(t) for t in said]).strip()
