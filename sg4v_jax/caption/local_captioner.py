"""A captioner on this machine's devices: any model that `infer.engine` runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sg4v_jax.caption.captioners import CaptionRequest
from sg4v_jax.errors import ConfigError
from sg4v_jax.infer.engine import Engine, Request
from sg4v_jax.text.chat import IMAGE_PLACEHOLDER, Turn
from sg4v_jax.weights.load import load_model

NOTICE = (
    "the text is worth what the model is: one that was not trained to caption videos, such as the "
    "shipped asset:world or random weights, gives no meaningful text"
)


class LocalCaptioner:
    """Answers with an `Engine`, each image as its own any-resolution input before the prompt.

    Args:
      engine: the model.
      name: of the model.
      max_new_tokens: the longest answer.
      weights_hash: of its parameters (`hash_of`).

    Raises:
      ConfigError: `max_new_tokens` is below 1.
    """

    notice = NOTICE

    def __init__(
        self, engine: Engine, *, name: str, max_new_tokens: int = 512, weights_hash: str = ""
    ):
        if max_new_tokens < 1:
            raise ConfigError(f"captioner local: max_new_tokens={max_new_tokens} is below 1")
        self._engine, self._model, self._most = engine, name, max_new_tokens
        self.weights_hash = weights_hash

    @classmethod
    def parse(
        cls, text: str, *, dtype: str = "float32", max_new_tokens: int = 512
    ) -> LocalCaptioner:
        """From a model directory, checkpoint or hub id.

        Raises:
          CheckpointError: it is not there or cannot be read.
          ConfigError: no model is named.
        """
        if not text:
            raise ConfigError("captioner local: no model", mend="write local:MODEL")
        settings, params = load_model(text, dtype=dtype)
        engine = Engine(settings, params, dtype=dtype)
        return cls(engine, name=text, max_new_tokens=max_new_tokens, weights_hash=hash_of(params))

    @property
    def name(self) -> str:
        return f"local:{self._model}"

    @property
    def decode(self) -> dict[str, Any]:
        """How answers are drawn: always the likeliest token."""
        return {"temperature": 0.0, "max_new_tokens": self._most}

    def describe(self, requests: Sequence[CaptionRequest]) -> list[str]:
        """Raises BudgetError: a request with its answer is longer than the model's positions."""
        asked = [Request([Turn("user", _prompt(r))], r.images) for r in requests]
        return self._engine.answer(asked, max_new_tokens=self._most)


def hash_of(params: Mapping[str, Any]) -> str:
    """16 hex digits of names, shapes, dtypes and numbers of all parameters."""
    digest = hashlib.sha256()
    for path in sorted(params):
        value = np.ascontiguousarray(params[path])
        digest.update(f"{path}{value.shape}{value.dtype}".encode())
        digest.update(value.view(np.uint8))
    return digest.hexdigest()[:16]


def _prompt(request: CaptionRequest) -> str:
    # A model may have said "<image>" itself; in the next prompt it would ask for a picture.
    text = request.prompt
    while IMAGE_PLACEHOLDER in text:
        text = text.replace(IMAGE_PLACEHOLDER, "")
    return f"{IMAGE_PLACEHOLDER}\n" * len(request.images) + text
