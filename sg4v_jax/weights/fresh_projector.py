"""A projector that joins a tower and a decoder which never met: random, for training to shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from sg4v_jax.weights.source import Source
from sg4v_jax.weights.video_lm import LAYOUTS

LAYOUT = "projector"


class RandomTensors(Mapping[str, np.ndarray]):
    """f32 tensors by name, of normal numbers of some deviation (0: zeros).

    Args:
      shapes: by name; deviations: by name. One seed gives the same numbers in any order of reading.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        *,
        deviations: Mapping[str, float],
        seed: int,
    ):
        self.shapes, self._deviations, self._seed = dict(shapes), deviations, seed
        self.dtypes = dict.fromkeys(shapes, np.dtype(np.float32))
        self.files: dict[str, str] = dict.fromkeys(shapes, "a fresh projector")

    def __getitem__(self, name: str) -> np.ndarray:
        rng = np.random.default_rng([self._seed, list(self.shapes).index(name)])
        numbers = rng.standard_normal(self.shapes[name], np.float32)
        return np.float32(self._deviations[name]) * numbers

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def source(*, llm: Source, tower: Source, seed: int) -> Source:
    """A source of a random projector and image newline for the widths of `llm` and `tower`.

    Deviations are those of `models.projector` and `models.video_lm`: 1/sqrt(inputs), biases zero.
    Widths 384 and 576 give matrices (576, 384) and (576, 576), as torch has them.
    """
    out = llm.tensors.shapes[f"{LAYOUTS[llm.layout].decoder}embed_tokens.weight"][1]
    inner = tower.tensors.shapes[f"{LAYOUTS[tower.layout].tower}embeddings.patch_embedding.weight"]
    first, second = LAYOUTS[LAYOUT].projector
    newline = LAYOUTS[LAYOUT].newline
    shapes = {
        f"{first}.weight": (out, inner[0]),
        f"{first}.bias": (out,),
        f"{second}.weight": (out, out),
        f"{second}.bias": (out,),
        newline: (out,),
    }
    deviations = {name: shape[-1] ** -0.5 for name, shape in shapes.items()}
    deviations |= {name: 0.0 for name in shapes if name.endswith("bias")}
    tensors = RandomTensors(shapes, deviations=deviations, seed=seed)
    name = f"a fresh projector of seed {seed}"
    return Source(name, tower.folder, tensors, LAYOUT, ("projector", "newline"), {}, {})
