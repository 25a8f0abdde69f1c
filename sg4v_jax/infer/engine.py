"""The engine: turns and pictures in, answers out, in batches of different lengths."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sg4v_jax import chips, sharding
from sg4v_jax.batch import Batch
from sg4v_jax.data import layout
from sg4v_jax.data.packing import Budget
from sg4v_jax.errors import BudgetError
from sg4v_jax.infer.generate import Sampling, decode, prefill, right_align
from sg4v_jax.models import int8
from sg4v_jax.models.lora import attach, is_lora
from sg4v_jax.models.params import Skeleton, flatten, skeleton
from sg4v_jax.models.video_lm import VideoLM
from sg4v_jax.text.chat import Turn, stop_ids
from sg4v_jax.weights.load import load_model, load_model_settings
from sg4v_jax.weights.store import ModelSettings

PROMPT_STEP = 64  # prompt buckets are multiples of this
BATCHES = (1, 2, 4, 8, 16, 32)


@functools.cache
def compiled(flags: tuple[tuple[str, str], ...]) -> tuple[Callable, Callable]:
    """Prefill and decode, jitted: compiled once a process and shape, whichever engine asks.

    Args:
      flags: of XLA, (name, value) each; an engine passes those of its devices (`chips.flags`).
    """
    options = dict(compiler_options=dict(flags))
    return (
        jax.jit(prefill, static_argnames=("slots", "dtype", "kv_dtype"), **options),
        jax.jit(decode, static_argnames=("eos", "greedy", "dtype"), **options),
    )


class Shown(NamedTuple):
    """A picture made ready once for many requests: its (width, height), and its tiles."""

    size: tuple[int, int]
    tiles: np.ndarray  # u8[T,R,R,3]


@dataclasses.dataclass(frozen=True)
class Request:
    """One question.

    Attributes:
      turns: the last is the user's, or the beginning of the answer.
      pictures: for each `<image>` u8[H,W,3], or what `Engine.show` made of it.
      system: text of the system block in place of the template's own.
    """

    turns: Sequence[Turn]
    pictures: Sequence[np.ndarray | Shown]
    system: str | None = None


class Prepared(NamedTuple):
    """A batch laid out on the host: `count` of its rows are asked for."""

    batch: Batch
    count: int
    max_new_tokens: int


class Engine:
    """A model ready to answer.

    Args:
      settings: model, inputs and tokenizer.
      params: parameters by path; of an int8 model as `models.int8.params` makes them; with the
        low-rank branches of `settings.lora` or, merged, without.
      dtype: of activations.
      kv_dtype: of the cache: None as `dtype`, another float, or "int8".
      mesh: devices to share a batch (and, by its axes, the weights) among; None for the first.
    """

    def __init__(
        self,
        settings: ModelSettings,
        params,
        *,
        dtype: str = "float32",
        kv_dtype: str | None = None,
        mesh: Mesh | None = None,
    ):
        self.settings, self._mesh = settings, mesh
        rounded = any(path.endswith("kernel_scale") for path in params)
        adapted = settings.lora is not None and any(is_lora(path) for path in params)
        plain = lambda key: VideoLM(settings.config, key=key)
        if adapted:
            plain = lambda key: attach(VideoLM(settings.config, key=key), settings.lora, key=key)
        shape = skeleton((lambda key: int8.attach(plain(key))) if rounded else plain)
        if mesh is not None:
            params = jax.device_put(dict(params), _shardings(shape, mesh))
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
        mesh: Mesh | None = None,
        **inputs: str | int,
    ) -> Engine:
        """The model in `folder`: a model directory, a checkpoint, or a hub id (`weights.load`).

        Args:
          dtype: of activations.
          weights_dtype: of the weights: None as `dtype`, another float, or `int8` (matrices and
            the vocabulary table in a byte a number, the rest in `dtype`).
          kv_dtype: of the cache: None as `dtype`, another float, or `int8`.
          step: of a working directory: a number, "best", or None for the newest.
          mesh: as for the class; each device then reads its own part of the weights.
          inputs: fields of `InputSpec` (`visual`, `sampling`, `longest_side` ...) that replace
            the model's own.
        """
        # Weights in int8 are rounded from the stored numbers, once.
        rounded = weights_dtype == "int8"
        where = None
        if mesh is not None and not rounded:
            config = load_model_settings(folder).config
            where = _shardings(skeleton(lambda key: VideoLM(config, key=key)), mesh)
        settings, flat = load_model(
            folder, step=step, dtype=None if rounded else weights_dtype or dtype, shardings=where
        )
        replaced = dataclasses.replace(settings.inputs, **inputs)
        settings = dataclasses.replace(settings, inputs=replaced)
        if rounded:
            build = lambda key: VideoLM(settings.config, key=key)
            flat = int8.params(flat, jax.eval_shape(build, jax.random.key(0)), dtype=dtype)
        return cls(settings, flat, dtype=dtype, kv_dtype=kv_dtype, mesh=mesh)

    def fingerprint(self) -> str:
        """16 hex digits of the parameters' names, shapes, and first and last vectors.

        Cheap for a model of any size; any step of training changes it.
        """
        digest = hashlib.sha256()
        for path, value in sorted(flatten(self._model).items()):
            digest.update(f"{path}{value.shape}{value.dtype}".encode())
            for end in (0, -1) if value.ndim > 1 else (0,):
                vector = value[(end,) * (value.ndim - 1)] if value.size else value
                digest.update(np.asarray(vector, np.float32).tobytes())
        return digest.hexdigest()[:16]

    def showing(self, **inputs: Any) -> Engine:
        """The same model that shows videos in another way: `inputs` as for `load`. Shares weights."""
        other = copy.copy(self)
        replaced = dataclasses.replace(self.settings.inputs, **inputs)
        other.settings = dataclasses.replace(self.settings, inputs=replaced)
        other._stops = stop_ids(other.settings.tokenizer, replaced.chat_template)
        return other

    def show(self, picture: np.ndarray) -> Shown:
        """u8[H,W,3] as the model sees it, for requests that share it."""
        return Shown(picture.shape[1::-1], self.settings.inputs.tiles(picture))

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
        samples = [self.lay_out(r, max_new_tokens=max_new_tokens) for r in requests]
        order = sorted(range(len(samples)), key=lambda i: len(samples[i].sequence.tokens))
        answers = [""] * len(samples)
        for start in range(0, len(order), BATCHES[-1]):
            chosen = order[start : start + BATCHES[-1]]
            size = next(n for n in BATCHES if n >= len(chosen))
            batch = self.collate(
                [samples[i] for i in chosen], max_new_tokens=max_new_tokens, rows=size
            )
            for i, text in zip(chosen, self.generate(batch, sampling=sampling), strict=True):
                answers[i] = text
            progress(start + len(chosen))
        return answers

    def lay_out(self, request: Request, *, max_new_tokens: int) -> layout.Placed:
        """A request as a row to be; needs no device.

        Raises:
          BudgetError: the prompt with its answer is longer than the model's positions.
          RecordError: a turn spells a control token, or is empty.
        """
        inputs = self.settings.inputs
        shown = [p if isinstance(p, Shown) else self.show(p) for p in request.pictures]
        sequence, _ = inputs.sequence(
            request.turns,
            sizes=[s.size for s in shown],
            tokenizer=self.settings.tokenizer,
            generation=True,
            system=request.system,
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
        return layout.Placed(sequence, np.concatenate([empty, *(s.tiles for s in shown)]), 0.0)

    def collate(
        self, samples: Sequence[layout.Placed], *, max_new_tokens: int, rows: int
    ) -> Prepared:
        """At most `rows` samples as a batch of so many (more, if the mesh asks for it).

        Prompts get a length that is a multiple of 64, so that few lengths are compiled for.
        """
        longest = max(len(s.sequence.tokens) for s in samples)
        budget = Budget(
            positions=-(-longest // PROMPT_STEP) * PROMPT_STEP,
            tiles=max(s.sequence.tiles for s in samples),
            scored=1,
        )
        parts = 1 if self._mesh is None else self._mesh.shape["data"] * self._mesh.shape["fsdp"]
        size = -(-rows // parts) * parts
        anyres = self.settings.inputs.anyres
        # Rows beyond the last request repeat it: an empty row would never be done.
        filled = [*samples, *[samples[-1]] * (size - len(samples))]
        placed = [
            layout.place([s], budget=budget, side=anyres.side, patches=anyres.patches)
            for s in filled
        ]
        batch = Batch(*(np.stack(field) for field in zip(*placed, strict=True)))
        return Prepared(right_align(batch), len(samples), max_new_tokens)

    def generate(self, prepared: Prepared, *, sampling: Sampling = Sampling()) -> list[str]:
        """The answers to a batch; returns when the device is done."""
        batch = prepared.batch
        slots = batch.tokens.shape[1] + prepared.max_new_tokens
        context = contextlib.nullcontext()
        first = jax.devices()[0] if self._mesh is None else self._mesh.devices.flat[0]
        run_prefill, run_decode = compiled(tuple(chips.flags(first.device_kind).items()))
        if self._mesh is not None:
            batch = self._spread(batch)
            context = jax.set_mesh(self._mesh)
        with context:
            state = run_prefill(
                self._model, batch, slots=slots, dtype=self._dtype, kv_dtype=self._kv_dtype
            )
            tokens = run_decode(
                self._model,
                state,
                key=jax.random.key(sampling.seed),
                eos=tuple(sorted(self._stops)),
                greedy=sampling.temperature == 0,
                temperature=jnp.float32(sampling.temperature or 1.0),
                top_p=jnp.float32(sampling.top_p),
                dtype=self._dtype,
            )
            if self._mesh is not None:  # each host reads all rows
                tokens = jax.device_put(tokens, NamedSharding(self._mesh, PartitionSpec()))
        return [self._text(row) for row in np.asarray(tokens)[: prepared.count]]

    def _spread(self, batch: Batch) -> Batch:
        """A batch that every host holds whole, shared among the devices."""
        where = NamedSharding(self._mesh, PartitionSpec(sharding.RULES["batch"]))
        return jax.tree.map(
            lambda x: jax.make_array_from_callback(x.shape, where, lambda index: x[index]), batch
        )

    def _text(self, tokens: np.ndarray) -> str:
        tokenizer = self.settings.tokenizer
        ends = [i for i, t in enumerate(tokens) if int(t) in self._stops]
        said = tokens[: ends[0]] if ends else tokens
        return tokenizer.decode([int(t) for t in said]).strip()


def _shardings(shape: Skeleton, mesh: Mesh) -> Mapping[str, jax.sharding.Sharding]:
    """Where each parameter lies on `mesh`."""
    return {
        path: sharding.sharding_for(shape.axes[path], shape=leaf.shape, mesh=mesh)
        for path, leaf in shape.shapes.items()
    }
