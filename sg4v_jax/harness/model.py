"""The model classes of lmms-eval on top of our engine.

    lmms_eval --model sg4v --model_args model=DIR --tasks videomme,...

Rows of our own tasks (`lmms_tasks/`) are asked by the code of `sg4v eval predict`, with the
protocol's pictures, system text and answer prefix. Other tasks give a text, which is wrapped as
`prompt` says (`requests.wrap`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from rich.progress import track

from sg4v_jax.errors import ConfigError, RecordError, VideoError
from sg4v_jax.evals.answering import Answerer, Pace
from sg4v_jax.evals.benchmarks import get_protocol
from sg4v_jax.evals.predict import engine_inputs, in_groups
from sg4v_jax.harness import tasks
from sg4v_jax.harness.requests import (
    Generation,
    chat_request,
    generation,
    simple_request,
    wrap,
)
from sg4v_jax.infer.engine import Engine, Request

_INPUTS = ("frames", "sampling", "visual", "band", "longest_side", "preamble")
_WHOLE = ("frames", "band", "longest_side")
_GROUP = 64  # questions whose pictures are held at once


class Sg4v(lmms):
    """A model of ours: a model directory, a checkpoint, or a hub id.

    Args (of `--model_args`):
      model: as every `--model` of `sg4v`; asset:world is the small one of the package.
      prompt: question, demo or plain: how texts of other people's tasks are wrapped.
      dtype, weights_dtype, step: as `Engine.load` takes them.
      frames, sampling, visual, band, longest_side, preamble: replace the model's own ways of
        showing a video, in our own tasks too.
      batch_size: rows a batch.
    """

    is_simple = True

    def __init__(
        self,
        model: str,
        *,
        prompt: str = "question",
        dtype: str = "float32",
        weights_dtype: str | None = None,
        step: int | str | None = None,
        batch_size: int | str = 16,
        max_batch_size: int | None = None,
        device: str | None = None,
        **inputs: Any,
    ):
        super().__init__()
        wrap("", style=prompt, preamble="", pictures=0)  # refuses an unknown style now
        if unknown := sorted(set(inputs) - set(_INPUTS)):
            raise ConfigError(
                f"model_args: {unknown[0]!r} is unknown", mend=f"use {', '.join(_INPUTS)}"
            )
        self._given = {k: int(v) if k in _WHOLE else v for k, v in inputs.items()}
        self._engine = Engine.load(
            model, dtype=dtype, weights_dtype=weights_dtype, step=step, **self._given
        )
        self._prompt = prompt
        self._batch = int(batch_size) if str(batch_size).isdigit() else 16
        # lmms-eval gives document i to process i mod n; each process has a model of its own.
        self._rank = int(os.environ.get("RANK", "0"))
        self._world_size = int(os.environ.get("WORLD_SIZE", "1"))
        self.device = "cpu"  # where lmms-eval gathers counts; jax chooses its own devices

    @property
    def batch_size(self) -> int:
        return self._batch

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """An answer for each request, in their order."""
        answers: list[str | None] = [None] * len(requests)
        ours: dict[tuple[str, str], list[int]] = {}
        others = []
        for number, request in enumerate(requests):
            doc = self._doc(request)
            if isinstance(doc, Mapping) and {"benchmark", "protocol", "id"} <= set(doc):
                ours.setdefault((doc["benchmark"], doc["protocol"]), []).append(number)
            else:
                others.append(number)
        for (benchmark, protocol), numbers in ours.items():
            docs = [self._doc(requests[n]) for n in numbers]
            for number, text in zip(
                numbers, self._by_protocol(benchmark, protocol, docs), strict=True
            ):
                answers[number] = text
        for number, text in self._by_text([(n, requests[n]) for n in others]):
            answers[number] = text
        for request, text in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("generate_until", request.args[:2], text)
        return answers

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError("sg4v generates; choose a task of type generate_until")

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        raise NotImplementedError("sg4v answers once; choose a task of type generate_until")

    def _doc(self, request: Instance) -> Any:
        *_, doc_id, task, split = request.args
        return self.task_dict[task][split][doc_id]

    def _by_protocol(
        self, benchmark: str, protocol: str, docs: Sequence[Mapping[str, Any]]
    ) -> list[str]:
        """Answers to rows of our own tasks, as `sg4v eval predict` gives them."""
        how = get_protocol(benchmark, protocol)
        shown = self._engine.showing(**engine_inputs(how, **self._given))
        # Whole videos in groups, so that few pictures are held at once.
        groups = in_groups([tasks.question_of(doc) for doc in docs], size=_GROUP)
        answerer = Answerer(
            shown,
            [question for group in groups for question in group],
            protocol=how,
            data=tasks.data_folder(benchmark),
            pace=Pace(batch=self._batch),
        )
        found = {}
        try:
            for group in track(groups, benchmark, disable=self.rank != 0):
                found |= {row["id"]: row for row in answerer.answer([q.id for q in group])}
        finally:
            answerer.close()
        said = [found[doc["id"]] for doc in docs]
        return [
            tasks.no_answer(row["error"]) if row["prediction"] is None else row["prediction"]
            for row in said
        ]

    def _by_text(self, numbered: Sequence[tuple[int, Instance]]) -> Iterator[tuple[int, str]]:
        """(number, answer) of other tasks; requests of one kind of generation share batches."""
        kinds: dict[Generation, list[tuple[int, Instance]]] = {}
        for number, request in numbered:
            kinds.setdefault(generation(self._kwargs(request)), []).append((number, request))
        for how, members in kinds.items():
            starts = range(0, len(members), self._batch)
            for start in track(starts, "answers", disable=self.rank != 0):
                part = members[start : start + self._batch]
                new, placed = how.max_new_tokens, {}
                for number, request in part:
                    try:
                        asked = self._request(request)
                        placed[number] = self._engine.lay_out(asked, max_new_tokens=new)
                    except (VideoError, RecordError) as e:
                        yield number, tasks.no_answer(e.message)
                if not placed:
                    continue
                batch = self._engine.collate(
                    list(placed.values()), max_new_tokens=new, rows=self._batch
                )
                said = self._engine.generate(batch, sampling=how.sampling)
                yield from zip(placed, map(how.cut, said), strict=True)

    def _kwargs(self, request: Instance) -> Mapping[str, Any]:
        return request.args[1]

    def _request(self, request: Instance) -> Request:
        text, _, doc_to_visual, *_ = request.args
        visuals = doc_to_visual(self._doc(request)) if doc_to_visual else None
        return simple_request(text, visuals, self._engine, style=self._prompt)


class Sg4vChat(Sg4v):
    """The same for tasks that give chats: (context, doc_to_messages, kwargs, doc, task, split)."""

    is_simple = False

    def _kwargs(self, request: Instance) -> Mapping[str, Any]:
        return request.args[2]

    def _request(self, request: Instance) -> Request:
        messages = request.args[1](self._doc(request))
        return chat_request(messages, self._engine, style=self._prompt)
