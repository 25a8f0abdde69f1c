"""Many caption programs at once: while each waits for its own next text, others fill the batches.

The requests of one video follow each other, so batches go across videos. A pool of K programs is
kept under way; their requests wait in buckets by number and shapes of images (a batch has static
shapes on the device), and the bucket that has waited longest among the full ones goes next. One
batch runs and two are ready, so that the host's work (decoding, composing, text) is hidden.

K = 4 batches keeps the device busy over 95 % where the host takes less time for a batch than the
device. Give videos of one size next to each other, and long ones first: then buckets fill, and
the end drains evenly.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent import futures

from sg4v_jax.caption.captioners import Captioner, CaptionRequest
from sg4v_jax.caption.sliding import Program, VideoCaption
from sg4v_jax.endpoint.client import Answer
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.jobs.items import FATAL

_IN_FLIGHT = 3  # batches: one running, two ready, so that a slow batch on the host does no harm


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a program ended: `caption`, or the `error` that ended it.

    `tokens` are the sums over its answers, as far as the captioner tells (`endpoint.client.Answer`).
    """

    id: str
    caption: VideoCaption | None = None
    error: Exception | None = None
    tokens: Mapping[str, int | bool] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class _Ticket:
    number: int  # in the order in which requests came up
    id: str
    program: Program
    request: CaptionRequest


class Wavefront:
    """The pool and its buckets, without any running of models; `run_wavefront` drives it.

    Args:
      programs: (id, program) pairs; each program is started when it enters the pool.
      batch: the most requests in a batch.
      pool: how many programs are under way at most.
    """

    def __init__(self, programs: Iterable[tuple[str, Program]], *, batch: int, pool: int):
        if batch < 1 or pool < batch:
            raise ConfigError(
                f"wavefront: batch={batch}, pool={pool} cannot be used",
                mend="use a batch of 1 or more and a pool of at least that, best four times it",
            )
        self.batch, self.pool = batch, pool
        self._programs = iter(programs)
        self._buckets: dict[tuple, collections.deque[_Ticket]] = {}
        self._outcomes: list[Outcome] = []
        self._tokens: dict[str, dict[str, int | bool]] = {}
        self._numbers = itertools.count()
        self._live = 0

    def next_batch(self, *, full_only: bool) -> list[_Ticket]:
        """The tickets to answer next, of one bucket; none if there is nothing (full) to do."""
        self._fill()
        full = [b for b in self._buckets.values() if len(b) >= self.batch]
        if full:
            bucket = min(full, key=lambda b: b[0].number)
        elif full_only or not self._buckets:
            return []
        else:
            bucket = max(self._buckets.values(), key=len)
        tickets = [bucket.popleft() for _ in range(min(self.batch, len(bucket)))]
        if not bucket:
            del self._buckets[tickets[0].request.bucket]
        return tickets

    def answer(self, ticket: _Ticket, text: str | Exception) -> None:
        """Sends the text on, or raises the exception in the program."""
        if isinstance(text, Answer):
            self._count(ticket.id, text)
        self._step(ticket.id, ticket.program, text)

    def take_outcomes(self) -> list[Outcome]:
        """The programs that have ended since the last call."""
        taken, self._outcomes = self._outcomes, []
        return taken

    def _fill(self) -> None:
        while self._live < self.pool and (entry := next(self._programs, None)):
            self._live += 1
            self._step(*entry, None)

    def _step(self, name: str, program: Program, text: str | Exception | None) -> None:
        try:
            if isinstance(text, Exception):
                request = program.throw(text)
            else:
                request = program.send(text)
        except StopIteration as e:
            self._end(Outcome(name, caption=e.value))
        except FATAL:
            raise
        except Exception as e:  # noqa: BLE001 - one video's fault is its own outcome
            self._end(Outcome(name, error=e))
        else:
            ticket = _Ticket(next(self._numbers), name, program, request)
            self._buckets.setdefault(request.bucket, collections.deque()).append(ticket)

    def _count(self, name: str, answer: Answer) -> None:
        spent = self._tokens.setdefault(name, {"truncated": False})
        spent["truncated"] |= answer.truncated
        for kind in ("prompt_tokens", "completion_tokens"):
            if (number := getattr(answer, kind)) is not None:
                spent[kind] = spent.get(kind, 0) + number

    def _end(self, outcome: Outcome) -> None:
        self._live -= 1
        tokens = self._tokens.pop(outcome.id, {})
        self._outcomes.append(dataclasses.replace(outcome, tokens=tokens))


def run_wavefront(
    programs: Iterable[tuple[str, Program]],
    captioner: Captioner,
    *,
    batch: int,
    pool: int | None = None,
    device: futures.Executor | None = None,
) -> Iterator[Outcome]:
    """Runs all programs; yields each one's outcome as it ends, so not in order.

    A batch that fails is asked again one request at a time, so that only the guilty video gets
    the error.

    Args:
      programs: (id, program) pairs, for example `((v.id, sliding(v, preset=p)) for v in videos)`.
      captioner: answers.
      batch: the most requests in a call of `describe`.
      pool: programs under way at once; 4 batches by default.
      device: where `describe` runs; a thread of its own by default.

    Raises:
      ConfigError: a bad `batch` or `pool`.
      Any of `jobs.items.FATAL` that the captioner raises.
    """
    front = Wavefront(programs, batch=batch, pool=4 * batch if pool is None else pool)
    with contextlib.ExitStack() as stack:
        if device is None:
            device = stack.enter_context(futures.ThreadPoolExecutor(1, "captioner"))
        flight: collections.deque = collections.deque()
        while True:
            # With a batch running, a half-empty one had better wait for the answers to come.
            while len(flight) < _IN_FLIGHT and (
                tickets := front.next_batch(full_only=bool(flight))
            ):
                requests = [ticket.request for ticket in tickets]
                flight.append((device.submit(_describe, captioner, requests), tickets))
            yield from front.take_outcomes()
            if not flight:
                return
            future, tickets = flight.popleft()
            for ticket, text in zip(tickets, future.result(), strict=True):
                front.answer(ticket, text)


def _describe(captioner: Captioner, requests: Sequence[CaptionRequest]) -> list[str | Exception]:
    try:
        texts = list(captioner.describe(requests))
        if len(texts) != len(requests):
            raise RecordError(
                f"captioner {captioner.name}: {len(texts)} texts for {len(requests)} requests"
            )
        return texts
    except FATAL:
        raise
    except Exception as e:  # noqa: BLE001 - goes to the program that asked
        if len(requests) == 1:
            return [e]
        return [answer for request in requests for answer in _describe(captioner, [request])]
