"""A captioner behind an OpenAI-compatible HTTP endpoint; see `endpoint.client` for its manners."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sg4v_jax.caption.captioners import CaptionRequest
from sg4v_jax.endpoint.client import Call, Endpoint, NoAnswerError

__all__ = ["NoAnswerError", "OpenAICaptioner"]


@dataclasses.dataclass(eq=False)
class OpenAICaptioner(Endpoint):
    """Describes pictures with a model behind an endpoint."""

    role: ClassVar[str] = "captioner"

    @property
    def decode(self) -> dict[str, Any]:
        """What requests say about decoding."""
        return dict(self.settings)

    @property
    def name(self) -> str:
        """Model and settings; no address and no key."""
        return f"openai:{self.model},{json.dumps(self.settings, sort_keys=True)}"

    def describe(self, requests: Sequence[CaptionRequest]) -> list[str]:
        """Asks for all requests, several at once; equal ones once.

        Raises:
          ConfigError: the endpoint refuses the key or model, or the budget is used up.
          NoAnswerError: no usable answer; what the others were answered is in the cache.
        """
        keys = [self._hash(request) for request in requests]
        answers = self.complete(
            {
                key: Call(request.id, lambda request=request: self._body(request))
                for key, request in zip(keys, requests, strict=True)
            }
        )
        for answer in answers.values():
            if isinstance(answer, NoAnswerError):
                raise answer
        return [answers[key] for key in keys]

    def _body(self, request: CaptionRequest) -> dict[str, Any]:
        pictures = [
            {"type": "image_url", "image_url": {"url": _data_url(image)}}
            for image in request.images
        ]
        content = [*pictures, {"type": "text", "text": request.prompt}]
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            **self.settings,
        }

    def _hash(self, request: CaptionRequest) -> str:
        """Of everything that the answer depends on, the pictures by their pixels."""
        asked = [self.url, self.model, self.settings, request.prompt, request.bucket]
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
        for image in request.images:
            digest.update(np.ascontiguousarray(image))
        return digest.hexdigest()


def _data_url(image: np.ndarray) -> str:
    """`image` as a PNG in a data URL; PNG, because key frames are few and text must stay sharp."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
