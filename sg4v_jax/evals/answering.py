"""Questions in, answers out: the work of a benchmark's job.

    threads: decode, grid, tiles of the next videos ──► one thread: chats and batches ──► device

One video's picture is made once for its many questions, and the next shard's are begun before
this one is done.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from sg4v_jax import files
from sg4v_jax.data.layout import Placed
from sg4v_jax.data.record import Visual
from sg4v_jax.errors import ConfigError, Sg4vError, StorageError
from sg4v_jax.evals.busy import BusyClock
from sg4v_jax.evals.pictures import Ahead
from sg4v_jax.evals.protocol import Protocol
from sg4v_jax.evals.questions import Question
from sg4v_jax.evals.run_files import prediction_row
from sg4v_jax.infer.engine import Engine, Prepared, Request, Shown
from sg4v_jax.infer.generate import Sampling


class View(NamedTuple):
    """What is shown of a video: questions with the same share a picture."""

    video: str
    bounds: tuple[float, float] | None
    fps: float | None


def view_of(question: Question) -> View:
    return View(question.video, question.bounds, question.fps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pace:
    """How the work is cut: rows a batch, videos made ready ahead, threads, seconds a video.

    With `ahead` 0 nothing overlaps: videos and batches are made when they are needed.
    """

    batch: int = 16
    ahead: int = 64
    workers: int | None = None
    decode_seconds: float = 60.0
    max_new_tokens: int | None = None  # in place of the protocol's


class Answerer:
    """Answers questions by id; the work of a benchmark's job (`predict`).

    Args:
      engine: shows and answers as the protocol says (`predict.engine_inputs`).
      questions: all of the run, in the order in which shards hold them.
      protocol: how they are asked.
      data: the folder that videos are below.
      pace: how the work is cut.
      keep: called with the rows of each batch as soon as they are there.
      known: rows of an earlier run by id; their questions are not asked again.
    """

    def __init__(
        self,
        engine: Engine,
        questions: Sequence[Question],
        *,
        protocol: Protocol,
        data: str,
        pace: Pace = Pace(),
        keep: Callable[[Sequence[Mapping[str, Any]]], None] = lambda rows: None,
        known: Mapping[str, Mapping[str, Any]] | None = None,
    ):
        self.engine, self.protocol, self.pace = engine, protocol, pace
        self.clock = BusyClock()
        self._data, self._keep, self._known = data, keep, known or {}
        self._finished = set(self._known)
        self._questions = list(questions)
        self._place = {q.id: n for n, q in enumerate(self._questions)}
        self._pictures = Ahead(self._show, ahead=pace.ahead, workers=pace.workers)
        self._host = concurrent.futures.ThreadPoolExecutor(1, "batches")
        self._new = pace.max_new_tokens or protocol.max_new_tokens

    def close(self) -> None:
        """Ends the threads."""
        self._host.shutdown(wait=False, cancel_futures=True)
        self._pictures.__exit__()

    @property
    def pictures_made(self) -> int:
        return self._pictures.count

    def answer(self, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        """A row of `predictions.jsonl` for each id, in any order; with an error if it cannot be asked.

        Raises:
          ConfigError: the device fails (out of memory): no question is to blame.
        """
        chosen = [self._questions[self._place[name]] for name in ids]
        yield from (dict(self._known[q.id]) for q in chosen if q.id in self._known)
        todo = [q for q in chosen if q.id not in self._known]
        if not todo:
            return
        self._pictures.want(self._views_from(todo))
        self._finished.update(ids)
        rows, samples = self._lay_out(todo)
        if rows:
            self._keep(rows)
        yield from rows
        parts = [samples[i : i + self.pace.batch] for i in range(0, len(samples), self.pace.batch)]
        for part, prepared in zip(parts, self._batches(parts), strict=True):
            texts = self._generate(prepared)
            rows = [
                self._row(question, text=self.protocol.answer(text))
                for (question, _), text in zip(part, texts, strict=True)
            ]
            self._keep(rows)
            yield from rows

    def _batches(self, parts: Sequence[Sequence[tuple[Question, Placed]]]) -> Iterator[Prepared]:
        """A batch of each part, put together while the device works on the one before."""
        if not self.pace.ahead:
            yield from map(self._collate, parts)
            return
        waiting: collections.deque = collections.deque()
        for part in parts:
            waiting.append(self._host.submit(self._collate, part))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        yield from (future.result() for future in waiting)

    def _views_from(self, todo: Sequence[Question]) -> Iterator[View]:
        """The views of `todo` and, behind them, of the questions that follow the last."""
        yield from map(view_of, todo)
        after = max(self._place[q.id] for q in todo) + 1
        for question in self._questions[after : after + 4 * len(todo)]:
            if question.id not in self._finished:
                yield view_of(question)

    def _lay_out(
        self, todo: Sequence[Question]
    ) -> tuple[list[dict[str, Any]], list[tuple[Question, Placed]]]:
        """Rows of those that cannot be asked; the others laid out, shortest first."""
        last = {view_of(question): question.id for question in todo}
        failed, samples = [], []
        for question in todo:
            view = view_of(question)
            try:
                request = Request(
                    self.protocol.turns(question),
                    [self._pictures.get(view)],
                    system=self.protocol.system,
                )
                placed = self.engine.lay_out(request, max_new_tokens=self._new)
                samples.append((question, placed))
            except (StorageError, MemoryError):
                raise
            except Exception as e:  # noqa: BLE001 - whatever a video does, it spoils no other
                said = e.message if isinstance(e, Sg4vError) else str(e)
                failed.append(self._row(question, error=f"{type(e).__name__}: {said}"))
            if last[view] == question.id:
                self._pictures.done(view)
        return failed, sorted(samples, key=lambda pair: len(pair[1].sequence.tokens))

    def _show(self, view: View) -> Shown:
        where = f"video {view.video!r}"
        path = files.safe_join(self._data, view.video, where=where)
        visual = Visual("video", path, view.bounds, view.fps)
        inputs = self.engine.settings.inputs
        return self.engine.show(inputs.load(visual, seconds=self.pace.decode_seconds).pixels)

    def _collate(self, part: Sequence[tuple[Question, Placed]]) -> Prepared:
        return self.engine.collate(
            [placed for _, placed in part], max_new_tokens=self._new, rows=self.pace.batch
        )

    def _generate(self, prepared: Prepared) -> list[str]:
        sampling = Sampling(temperature=self.protocol.temperature, top_p=self.protocol.top_p)
        shape = (prepared.batch.tokens.shape, prepared.batch.tiles.shape)
        try:
            with self.clock.batch(shape):
                return self.engine.generate(prepared, sampling=sampling)
        except jax.errors.JaxRuntimeError as e:
            raise ConfigError(
                f"the device failed on a batch of {shape[0][0]} prompts of {shape[0][1]}: "
                f"{str(e).splitlines()[0]:.200}",
                mend="lower --batch, or use more devices (--mesh)",
            ) from e

    def _row(
        self, question: Question, *, text: str | None = None, error: str | None = None
    ) -> dict[str, Any]:
        prompt = self.protocol.turns(question)[0].content
        return prediction_row(question, prompt=prompt, prediction=text, error=error)
