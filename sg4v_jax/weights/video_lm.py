"""Names of the whole video model in the layouts that its checkpoints have.

Legend as in `table.py`. The layouts differ only in what stands before the names of the parts.
Sources: the released ShareGPT4Video-8B (687 tensors) for `llava`; for the others,
`LlavaNextForConditionalGeneration` of transformers 4 and 5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from sg4v_jax.errors import CheckpointError
from sg4v_jax.models.video_lm import VideoLMConfig
from sg4v_jax.weights import clip, llama
from sg4v_jax.weights.table import FLAT, LINEAR, VECTOR, Table, join


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Prefixes and names of the parts; `projector` are its two linear layers."""

    decoder: str
    head: str
    tower: str
    projector: tuple[str, str]
    newline: str

    @property
    def signs(self) -> tuple[str, ...]:
        """Names that together no other layout has."""
        embeddings = f"{self.decoder}embed_tokens.weight", f"{self.tower}embeddings.class_embedding"
        return (*embeddings, self.newline)


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


LAYOUTS = {
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


def table(config: VideoLMConfig, *, layout: str) -> Table:
    """The table of a model with `config` in one of `LAYOUTS`.

    Raises:
      CheckpointError: `layout` is not known.
    """
    if layout not in LAYOUTS:
        raise CheckpointError(
            f"weight layout {layout!r} is not known", mend=f"use one of {', '.join(LAYOUTS)}"
        )
    x = LAYOUTS[layout]
    bridge = {x.newline: ("separators", FLAT)}
    for name, path in zip(x.projector, ("projector.linear_1", "projector.linear_2"), strict=True):
        bridge[f"{name}.weight"] = (f"{path}.kernel", LINEAR)
        bridge[f"{name}.bias"] = (f"{path}.bias", VECTOR)
    tied = config.llm.tie_word_embeddings
    return join(
        clip.table(prefix=x.tower, at="tower."),
        Table(bridge),
        llama.table(tied=tied, prefix=x.decoder, head=x.head, at="llm."),
    )


def layout_of(names: Iterable[str], *, where: str = "") -> str:
    """The layout that tensors with `names` have; `where` is the file, for the message.

    Raises:
      CheckpointError: none of `LAYOUTS`.
    """
    names = set(names)
    for layout, x in LAYOUTS.items():
        if names.issuperset(x.signs):
            return layout
    some = ", ".join(sorted(names)[:3])
    raise CheckpointError(
        f"{where}: {len(names)} tensors ({some}, ...) in no known layout of a video model",
        mend=f"each layout has three marks; for 'llava': {', '.join(LAYOUTS['llava'].signs)}",
    )
