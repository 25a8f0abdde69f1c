"""A conversation about one video or picture: remembers its turns."""

from __future__ import annotations

from sg4v_jax.data.record import Visual
from sg4v_jax.infer.engine import Engine, Request
from sg4v_jax.infer.generate import Sampling
from sg4v_jax.text.chat import IMAGE_PLACEHOLDER, Turn


class Chat:
    """Asks `engine` about one video or picture, each question with all turns before it.

    The video stands in the first turn only. (The original's demo adds an image place every turn,
    which then shows the model a single tile.)

    Args:
      visual: a video, or an image file (a grid made before, say).

    Attributes:
      picture: u8[H,W,3], what the model is shown.
      substituted: frames of it that stand for lost ones (`video.decode.Decoded`).

    Raises:
      VideoError: the video or image cannot be read.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        visual: Visual,
        max_new_tokens: int,
        sampling: Sampling = Sampling(),
    ):
        self._engine, self._sampling, self._max = engine, sampling, max_new_tokens
        self.picture, self.substituted = engine.settings.inputs.load(visual)
        self.turns: list[Turn] = []

    def ask(self, query: str) -> str:
        """The answer to `query`, given the turns so far.

        Raises:
          RecordError: the query spells a control token, or nothing is left of it.
          BudgetError: the conversation is longer than the model's positions.
        """
        query = _without_places(query)
        preamble = self._engine.settings.inputs.preamble
        first = f"{IMAGE_PLACEHOLDER}\n{preamble}{query}"
        turns = [*self.turns, Turn("user", query if self.turns else first)]
        [answer] = self._engine.answer(
            [Request(turns, [self.picture])], max_new_tokens=self._max, sampling=self._sampling
        )
        # An empty answer would be a turn without an end; the template then has none to close.
        if said := _without_places(answer):
            self.turns = [*turns, Turn("assistant", said)]
        return answer


def _without_places(text: str) -> str:
    """`text` with no `<image>` left, not even one that closes up around another taken out."""
    while IMAGE_PLACEHOLDER in text:
        text = text.replace(IMAGE_PLACEHOLDER, "")
    return text
