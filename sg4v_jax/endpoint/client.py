"""A client of an OpenAI-compatible HTTP endpoint (`POST URL/chat/completions`).

Every answer is kept on disk under the hash of what was asked, so a job that is run again pays for
nothing twice. The key goes into one header and nowhere else: not into names, hashes or messages,
and redirects, which would carry it to another host, are refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any, ClassVar, Self

from sg4v_jax import files
from sg4v_jax.errors import ConfigError, RecordError

KEY_VARIABLE = "OPENAI_API_KEY"
_LONGEST_WAIT = 60.0  # seconds before a repetition
_SHOWN = 300  # characters of a server's message


class NoAnswerError(RecordError):
    """The endpoint gave no usable answer to a request, however often it was asked."""


class _PassingError(Exception):
    def __init__(self, message: str, *, wait: float | None = None):
        super().__init__(message)
        self.wait = wait


@dataclasses.dataclass
class Usage:
    """What a client has asked for so far. `truncated` answers met the token limit."""

    requests: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    truncated: int = 0


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None  # then urllib raises HTTPError with the redirect's code


class Answer(str):
    """A text with what it cost: who knows that answers with these instead of plain str.

    Attributes:
      prompt_tokens, completion_tokens: None where not known.
      truncated: whether the token limit cut it off.
    """

    prompt_tokens: int | None
    completion_tokens: int | None
    truncated: bool

    def __new__(
        cls,
        text: str,
        *,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        truncated: bool = False,
    ):
        self = super().__new__(cls, text)
        self.prompt_tokens, self.completion_tokens = prompt_tokens, completion_tokens
        self.truncated = truncated
        return self


@dataclasses.dataclass(frozen=True)
class Call:
    """One request: who asks (for messages), and the body, made when it is sent."""

    id: str
    body: Callable[[], Mapping[str, Any]]


@dataclasses.dataclass(eq=False)
class Endpoint:
    """Attributes:
    url: the endpoint up to and without "/chat/completions".
    model: the model's name there.
    key: the API key; by default from the environment variable `OPENAI_API_KEY`, if set.
    settings: further fields of the request body, such as temperature.
    concurrency: requests under way at once.
    attempts: tries for each request, when the fault may pass (429, 5xx, timeouts, garbage).
    timeout: seconds for one try.
    budget: the most HTTP requests, tries included; None for no limit.
    cache: folder of answers; None keeps them in memory.
    sleep: waits some seconds; for tests.
    """

    url: str
    model: str
    key: str | None = dataclasses.field(default=None, repr=False)
    settings: dict[str, Any] = dataclasses.field(
        default_factory=lambda: {"temperature": 0.0, "max_tokens": 1024}
    )
    concurrency: int = 8
    attempts: int = 6
    timeout: float = 120.0
    budget: int | None = None
    cache: str | None = None
    sleep: Callable[[float], None] = time.sleep
    usage: Usage = dataclasses.field(default_factory=Usage)

    role: ClassVar[str] = "endpoint"  # what messages call it
    empty_answers: ClassVar[bool] = False  # whether an empty text is an answer

    def __post_init__(self):
        if not self.url.startswith(("http://", "https://")) or "@" in self.url or not self.model:
            raise ConfigError(
                f"{self.role} openai: url {self.url.rsplit('@', 1)[-1]!r}, model {self.model!r}",
                mend="write openai:https://HOST/v1,MODEL; give the key in " + KEY_VARIABLE,
            )
        if self.concurrency < 1 or self.attempts < 1:
            raise ConfigError(f"{self.role} openai: concurrency and attempts must be 1 or more")
        self.url = self.url.rstrip("/")
        self.key = self.key or os.environ.get(KEY_VARIABLE)
        self._lock = threading.Lock()
        self._memory: dict[str, Answer] = {}
        self._under_way: dict[str, futures.Future] = {}
        self._opener = urllib.request.build_opener(_NoRedirects)

    @classmethod
    def parse(cls, text: str, **options: Any) -> Self:
        """From "URL,MODEL"."""
        url, _, model = text.partition(",")
        return cls(url, model, **options)

    @property
    def decode(self) -> dict[str, Any]:
        """What requests say about decoding."""
        return dict(self.settings)

    @property
    def name(self) -> str:
        """Model and settings; no address and no key."""
        return f"openai:{self.model},{json.dumps(self.settings, sort_keys=True)}"

    def complete(self, calls: Mapping[str, Call]) -> dict[str, Answer | NoAnswerError]:
        """The answer to each call by its key, several at once; why not, where there is none.

        Args:
          calls: key -> call; a key stands for all that the answer depends on.

        Raises:
          ConfigError: the endpoint refuses the key or model, or the budget is used up; what the
            others were answered is in the cache.
        """
        with futures.ThreadPoolExecutor(self.concurrency, "endpoint") as pool:
            asked = {key: pool.submit(self._answer, key, call) for key, call in calls.items()}
            try:
                # All end before one may raise, so that what was paid for is kept.
                futures.wait(asked.values())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            return {key: _result(future) for key, future in asked.items()}

    def _answer(self, key: str, call: Call) -> Answer:
        """Asks, unless another thread is asking the same: then its answer is this one's too."""
        with self._lock:
            other = self._under_way.get(key)
            if other is None:
                mine = self._under_way[key] = futures.Future()
        if other is not None:
            text = other.result()
            with self._lock:
                self.usage.cached += 1
            return text
        try:
            text = self._answer_alone(key, call)
        except BaseException as e:
            mine.set_exception(e)
            raise
        finally:
            with self._lock:
                del self._under_way[key]
        mine.set_result(text)
        return text

    def _answer_alone(self, key: str, call: Call) -> str:
        if (text := self._cached(key)) is not None:
            with self._lock:
                self.usage.cached += 1
            return text
        body = json.dumps(call.body()).encode()
        for attempt in range(self.attempts):
            try:
                text = self._ask(body, call.id)
            except _PassingError as e:
                fault = e
                if attempt + 1 < self.attempts:
                    grown = 0.5 * 2**attempt * random.uniform(1, 1.5)
                    self.sleep(min(_LONGEST_WAIT, grown if e.wait is None else e.wait))
            else:
                self._keep(key, text)
                return text
        raise NoAnswerError(
            f"{call.id}: no answer from {self.url} in {self.attempts} tries; last: {fault}",
            mend="see whether the server is well, then run again: answers so far are kept",
        )

    def _ask(self, body: bytes, where: str) -> str:
        self._spend()
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        asked = urllib.request.Request(f"{self.url}/chat/completions", body, headers)
        try:
            with self._opener.open(asked, timeout=self.timeout) as response:
                return self._read(json.loads(response.read()))
        except urllib.error.HTTPError as e:
            raise self._refusal(e, where) from None
        except (OSError, http.client.HTTPException, ValueError) as e:
            # Timeouts, resets, a body cut short, and what is not JSON.
            raise _PassingError(self._clean(f"{type(e).__name__}: {e}")) from None

    def _read(self, value: Any) -> Answer:
        try:
            choice = value["choices"][0]
            text = choice["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise _PassingError(f"not a completion: {self._clean(json.dumps(value))}") from None
        if not isinstance(text, str) or not (text.strip() or self.empty_answers):
            raise _PassingError("an empty completion")
        spent = value.get("usage") or {}
        answer = Answer(
            text,
            prompt_tokens=spent.get("prompt_tokens"),
            completion_tokens=spent.get("completion_tokens"),
            truncated=choice.get("finish_reason") == "length",
        )
        with self._lock:
            self.usage.prompt_tokens += answer.prompt_tokens or 0
            self.usage.completion_tokens += answer.completion_tokens or 0
            self.usage.truncated += answer.truncated
        return answer

    def _refusal(self, e: urllib.error.HTTPError, where: str) -> Exception:
        with contextlib.suppress(OSError, http.client.HTTPException):
            said = self._clean(e.read(10 * _SHOWN).decode(errors="replace"))
        message = f"HTTP {e.code}: {said}"
        if e.code in (408, 409, 425, 429) or e.code >= 500:
            wait = e.headers.get("Retry-After", "")
            return _PassingError(message, wait=float(wait) if wait.isdecimal() else None)
        if e.code in (400, 413, 422):
            return NoAnswerError(
                f"{where}: {self.url} refuses the request: {message}",
                mend="see whether the model takes that many and such large images",
            )
        return ConfigError(
            f"{self.url} refuses model {self.model!r}: {message}",
            mend=f"see url, model and the key in {KEY_VARIABLE}",
        )

    def _clean(self, text: str) -> str:
        """A server's words, short, on one line, and without the key, should they repeat it."""
        if self.key:
            text = text.replace(self.key, "[key]")
        return " ".join(text.split())[:_SHOWN]

    def _spend(self) -> None:
        with self._lock:
            if self.budget is not None and self.usage.requests >= self.budget:
                raise ConfigError(
                    f"{self.role} openai: the budget of {self.budget} requests is used up",
                    mend="run again with more; answers so far are kept in the cache",
                )
            self.usage.requests += 1

    def _cached(self, key: str) -> str | None:
        if self.cache is None:
            return self._memory.get(key)
        try:
            kept = files.read_json(self._file(key))
            return Answer(kept.pop("text"), **kept)
        except (RecordError, KeyError, TypeError, UnicodeDecodeError):
            return None  # not there, or damaged: asked again

    def _keep(self, key: str, answer: Answer) -> None:
        if self.cache is None:
            self._memory[key] = answer
        else:
            files.write_json(self._file(key), {"text": answer} | vars(answer))

    def _file(self, key: str) -> str:
        return str(files.path(self.cache) / key[:2] / f"{key}.json")


def _result(future: futures.Future) -> Answer | NoAnswerError:
    try:
        return future.result()
    except NoAnswerError as e:
        return e
