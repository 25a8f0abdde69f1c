"""What a recipe trains, in words: each part in full, by LoRA, or not at all.

| recipe | llm | tower | projector | separators |
|---|---|---|---|---|
| the original's 153K | lora | frozen | full | frozen |
| the original's 181K | lora | full | full | frozen |
| everything | full | full | full | full |
| projector alone | frozen | frozen | full | frozen |

Each part is a group of `optim.Group` of its own name. With the original's accidental branches on
CLIP (targets `clip_qkv`) the tower is `lora` in the first recipe and `full+lora` in the second.
"""

from __future__ import annotations

from sg4v_jax.errors import ConfigError
from sg4v_jax.train.optim import FROZEN

_WAYS = {
    "llm": ("full", "lora", FROZEN),
    "tower": ("full", "lora", "full+lora", FROZEN),
    "projector": ("full", FROZEN),
    "separators": ("full", FROZEN),
}


def mode_rules(
    *, llm: str, tower: str, projector: str, separators: str = ""
) -> tuple[tuple[str, str], ...]:
    r"""Ordered (pattern, group) pairs for `optim.assign` on a `VideoLM`.

    `lora` trains the low-rank branches alone: embeddings, vocabulary head and norms stay. The
    tower's tail and last norm never run and are frozen in every mode. Separators left out train
    with a `full` llm and are frozen else: peft freezes LLaVA's image newline.

    A mode that does not fit the model is an error of `optim.assign`: `lora` without branches is a
    rule that matches nothing, branches under another mode are parameters that no rule covers.

    >>> mode_rules(llm="lora", tower="frozen", projector="full")[:3]
    (('llm.*\.lora_[ab]$', 'llm'), ('llm(?!.*\.lora_[ab]$)', 'frozen'),
     ('tower(?!.*\.lora_[ab]$)', 'frozen'))

    Raises:
      ConfigError: a way that a part does not have, or nothing to train.
    """
    separators = separators or ("full" if llm == "full" else FROZEN)
    parts = {"llm": llm, "tower": tower, "projector": projector, "separators": separators}
    for part, way in parts.items():
        if way not in _WAYS[part]:
            raise ConfigError(
                f"optim.parts.{part} is {way!r}", mend=f"use one of {', '.join(_WAYS[part])}"
            )
    if all(way == FROZEN for way in parts.values()):
        raise ConfigError("optim.parts: every part is frozen", mend="train at least one part")
    return tuple(rule for part, way in parts.items() for rule in _rules(part, way=way))


def _rules(part: str, *, way: str) -> tuple[tuple[str, str], ...]:
    branch, rest = rf"{part}.*\.lora_[ab]$", rf"{part}(?!.*\.lora_[ab]$)"
    never_run = ()
    if part == "tower" and way.startswith("full"):
        never_run = ((r"tower\.(tail|post_layernorm)\.", FROZEN),)
    branches = ((branch, part),) if "lora" in way else ()
    return (*branches, *never_run, (rest, part if way.startswith("full") else FROZEN))
