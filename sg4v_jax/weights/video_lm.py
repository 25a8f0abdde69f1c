"""Names of the whole video model in the layouts that its checkpoints have.

Legend as in `table.py`. The layouts differ in what stands before the names of the parts, and in
which parts they have: decoder, tower, projector, newline.
Sources: the released ShareGPT4Video-8B (687 tensors) for `llava`; for the others,
`LlavaNextForConditionalGeneration` of transformers 4 and 5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable

from sg4v_jax.errors import CheckpointError
from sg4v_jax.models.params import Skeleton
from sg4v_jax.models.video_lm import VideoLMConfig
from sg4v_jax.weights import clip, llama
from sg4v_jax.weights.table import FLAT, LINEAR, VECTOR, Table, join

PARTS = {  # of the model -> what stands before its parameters
    "llm": "llm.",
    "tower": "tower.",
    "projector": "projector.",
    "newline": "separators",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Prefixes and names of the parts that it has; `projector` are its two linear layers."""

    decoder: str | None = None
    head: str = ""
    tower: str | None = None
    projector: tuple[str, str] | None = None
    newline: str | None = None

    @property
    def signs(self) -> dict[str, str]:
        """For each part, a name that shows that it is there."""
        signs = {
            "llm": self.decoder is not None and f"{self.decoder}embed_tokens.weight",
            "tower": self.tower is not None and f"{self.tower}embeddings.class_embedding",
            "projector": self.projector and f"{self.projector[0]}.weight",
            "newline": self.newline,
        }
        return {part: name for part, name in signs.items() if name}


def _hf_file(tower: str) -> Layout:
    """Hugging Face's files, written by every version of transformers."""
    return Layout(
        decoder="language_model.model.",
        head="language_model.lm_head.weight",
        tower=f"vision_tower.{tower}",
        projector=("multi_modal_projector.linear_1", "multi_modal_projector.linear_2"),
        newline="image_newline",
    )


def _hf_memory(tower: str) -> Layout:
    """`state_dict()` since transformers 4.52, where the parts moved into `model`."""
    return Layout(
        decoder="model.language_model.",
        head="lm_head.weight",
        tower=f"model.vision_tower.{tower}",
        projector=("model.multi_modal_projector.linear_1", "model.multi_modal_projector.linear_2"),
        newline="model.image_newline",
    )


# Layouts of single parts come first: a file that has no more is one of them.
LAYOUTS = {
    "llama": Layout(decoder="model.", head="lm_head.weight"),
    "clip": Layout(tower=clip.HUB),
    "clip-v5": Layout(tower=clip.TRANSFORMERS_5),
    "projector": Layout(
        projector=("model.mm_projector.0", "model.mm_projector.2"), newline="model.image_newline"
    ),
    "projector-bare": Layout(projector=("mm_projector.0", "mm_projector.2")),
    "llava": Layout(
        decoder="model.",
        head="lm_head.weight",
        tower=f"model.vision_tower.vision_tower.{clip.HUB}",
        projector=("model.mm_projector.0", "model.mm_projector.2"),
        newline="model.image_newline",
    ),
    "hf": _hf_file(clip.HUB),
    "hf-v5": _hf_file(clip.TRANSFORMERS_5),
    "hf-state-dict": _hf_memory(clip.HUB),
    "hf-v5-state-dict": _hf_memory(clip.TRANSFORMERS_5),
}
WHOLE = tuple(name for name, x in LAYOUTS.items() if len(x.signs) == len(PARTS))


def table(config: VideoLMConfig, *, layout: str, parts: Collection[str] = tuple(PARTS)) -> Table:
    """The table of a model with `config`, or of some parts of it; see `part_table`."""
    return part_table(layout, parts=parts, tied=config.llm.tie_word_embeddings)


def part_table(layout: str, *, parts: Collection[str], tied: bool = False) -> Table:
    """The table of `parts` of a model in one of `LAYOUTS`.

    Args:
      layout: one of `LAYOUTS`.
      parts: some of `PARTS`.
      tied: whether the decoder has no head of its own (`LlamaConfig.tie_word_embeddings`).

    Raises:
      CheckpointError: `layout` is not known, or has no such part.
    """
    if layout not in LAYOUTS:
        raise CheckpointError(
            f"weight layout {layout!r} is not known", mend=f"use one of {', '.join(LAYOUTS)}"
        )
    x = LAYOUTS[layout]
    if lacking := [p for p in parts if p not in x.signs]:
        raise CheckpointError(
            f"weight layout {layout!r} has no {', '.join(lacking)}",
            mend=f"it has {', '.join(x.signs)}",
        )
    tables = []
    if "tower" in parts:
        tables.append(clip.table(prefix=x.tower, at="tower."))
        if layout in ("clip", "clip-v5"):
            tables.append(clip.OTHER_HALF)
    if "newline" in parts:
        tables.append(Table({x.newline: ("separators", FLAT)}))
    if "projector" in parts:
        tables.append(_projector(x.projector))
    if "llm" in parts:
        tables.append(llama.table(tied=tied, prefix=x.decoder, head=x.head, at="llm."))
    return join(*tables)


def _projector(names: tuple[str, str]) -> Table:
    bridge = {}
    for name, path in zip(names, ("projector.linear_1", "projector.linear_2"), strict=True):
        bridge[f"{name}.weight"] = (f"{path}.kernel", LINEAR)
        bridge[f"{name}.bias"] = (f"{path}.bias", VECTOR)
    return Table(bridge)


def canonical(layout: str, names: Iterable[str]) -> dict[str, str]:
    """Name as in layout llava -> own name, for tensors in `layout`.

    `language_model.model.norm.weight` of layout hf is `model.norm.weight` there. A name that fits
    no part stays as it is, so that it is seen.
    """
    own, llava = LAYOUTS[layout], LAYOUTS["llava"]
    pairs = list(zip(_prefixes(own), _prefixes(llava), strict=True))
    # The most special prefix first: the decoder's may begin them all.
    pairs = sorted((p for p in pairs if p[0] is not None), key=lambda pair: -len(pair[0]))
    found = {}
    for name in names:
        old, new = next((p for p in pairs if name.startswith(p[0])), ("", ""))
        found[new + name[len(old) :]] = name
    return found


def part_of_name(name: str) -> str | None:
    """The part that a tensor named as in layout llava belongs to; None for none."""
    llava = LAYOUTS["llava"]
    parts = ("llm", "llm", "tower", "projector", "projector", "newline")
    pairs = sorted(zip(_prefixes(llava), parts, strict=True), key=lambda pair: -len(pair[0]))
    return next((part for prefix, part in pairs if name.startswith(prefix)), None)


def _prefixes(x: Layout) -> list[str | None]:
    return [x.decoder, x.head or None, x.tower, *(x.projector or (None, None)), x.newline]


def part_of(path: str) -> str:
    """The part of the model that a parameter path belongs to."""
    return next(part for part, start in PARTS.items() if path.startswith(start))


def only(skeleton: Skeleton, parts: Collection[str]) -> Skeleton:
    """The skeleton of some parts: its `shapes` alone are cut, for use with `table`."""
    shapes = {p: s for p, s in skeleton.shapes.items() if part_of(p) in parts}
    return dataclasses.replace(skeleton, shapes=shapes)


def layout_of(names: Iterable[str], *, where: str = "") -> str:
    """The layout that tensors with `names` have; see `recognise`."""
    return recognise(names, where=where)[0]


def recognise(names: Iterable[str], *, where: str = "") -> tuple[str, tuple[str, ...]]:
    """The layout that tensors with `names` have, and the parts of the model that are there.

    `where` is the file, for the message.

    Raises:
      CheckpointError: none of `LAYOUTS`.
    """
    names = set(names)
    found = {
        layout: tuple(part for part, sign in x.signs.items() if sign in names)
        for layout, x in LAYOUTS.items()
    }
    best = max(found, key=lambda layout: len(found[layout]))
    if not found[best]:
        some = ", ".join(sorted(names)[:3])
        marks = ", ".join(LAYOUTS["llava"].signs.values())
        raise CheckpointError(
            f"{where}: {len(names)} tensors ({some}, ...) in no known layout",
            mend=f"each part has a mark; for 'llava': {marks}",
        )
    return best, found[best]
