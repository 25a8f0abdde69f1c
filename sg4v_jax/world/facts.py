"""Scene -> facts in the terms of TempCompass: a question, its options, and a claim for each option.

    aspect            asks about                        options
    action            what happens                      an event that happens, the one that does not,
                                                        and one that no scene has
    direction         where the object moves            left, right, up, down
    speed             how fast it moves                 slowly, quickly
    order             which of two events comes first   the two
    attribute_change  from what to what it changes      both ways, and another pair both ways

A scene has two events, so it has three or four facts. Wrong options come in pairs that are closed
under reversal ("red to blue", "blue to red"), so that the options do not tell the answer.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sg4v_jax.world.scene import COLOURS, DIRECTIONS, SIZES, Scene

ASPECTS = ("action", "direction", "speed", "order", "attribute_change")
NOUNS = {"move": "movement", "resize": "size change", "recolour": "color change"}
_ADVERBS = {"slow": "slowly", "fast": "quickly"}
_HAPPENS = {"move": "moves", "resize": "changes its size", "recolour": "changes its color"}
_NEVER = "splits in two"


@dataclasses.dataclass(frozen=True)
class Fact:
    """One thing that can be asked about a scene.

    Attributes:
      aspect: one of `ASPECTS`.
      fine: the finer aspect, in the words of TempCompass' `meta_info.json`.
      question: the bare question, without options.
      options: in the order shown.
      claims: for each option, a clause that is true just if the option is right.
      number: index of the right option.
    """

    aspect: str
    fine: str
    question: str
    options: tuple[str, ...]
    claims: tuple[str, ...]
    number: int

    @property
    def answer(self) -> str:
        """The right option."""
        return self.options[self.number]


def facts_of(scene: Scene, rng: np.random.Generator) -> list[Fact]:
    """The facts of a scene, in the order of `ASPECTS`; the same seed gives the same order of options.

    A red circle that moves left slowly and then turns blue has, for example, the fact
    ("direction", "Which way does the circle move?", ("up", "left", "right", "down"), number 1).
    """
    thing = f"the {scene.shape}"
    move = scene.event("move")
    found = [_action(scene, thing, rng)]
    if move is not None:
        found.append(
            _fact(
                ("direction", "object motion", f"Which way does {thing} move?"),
                {way: f"{thing} moves {way}" for way in DIRECTIONS},
                move.direction,
                rng,
            )
        )
        speeds = {word: f"{thing} moves {word}" for word in _ADVERBS.values()}
        question = ("speed", "absolute speed", f"How fast does {thing} move?")
        found.append(_fact(question, speeds, _ADVERBS[move.speed], rng))
    found.append(_order(scene, rng))
    if change := _change(scene, thing, rng):
        found.append(change)
    return found


def _fact(
    about: tuple[str, str, str], claims: dict[str, str], answer: str, rng: np.random.Generator
) -> Fact:
    """A fact with its options shuffled; `about` is aspect, fine aspect and question."""
    options = list(claims)
    shown = tuple(options[int(i)] for i in rng.permutation(len(options)))
    return Fact(*about, shown, tuple(claims[o] for o in shown), shown.index(answer))


def _action(scene: Scene, thing: str, rng: np.random.Generator) -> Fact:
    event = scene.events[int(rng.integers(2))]
    absent = next(f for f in _HAPPENS if scene.event(f) is None)
    words = (_HAPPENS[event.family], _HAPPENS[absent], _NEVER)
    about = ("action", "coarse-grained action", f"What does {thing} do at some time in the video?")
    return _fact(about, {w: f"{thing} {w}" for w in words}, words[0], rng)


def _order(scene: Scene, rng: np.random.Generator) -> Fact:
    first, second = (NOUNS[e.family] for e in scene.events)
    claims = {a: f"the {a} comes before the {b}" for a, b in ((first, second), (second, first))}
    return _fact(("order", "order", "What happens first?"), claims, first, rng)


def _change(scene: Scene, thing: str, rng: np.random.Generator) -> Fact | None:
    """The change of color, or else of size."""
    if event := scene.event("recolour"):
        others = [c for c in COLOURS if c not in (scene.colour, event.target)]
        c, d = (others[int(i)] for i in rng.permutation(len(others))[:2])
        pairs = [(scene.colour, event.target), (event.target, scene.colour), (c, d), (d, c)]
        about = (
            "attribute_change",
            "color & light change",
            f"How does the color of {thing} change?",
        )
    elif event := scene.event("resize"):
        pairs = [(scene.size, event.target), (event.target, scene.size)]
        about = ("attribute_change", "size & shape change", f"How does the size of {thing} change?")
    else:
        return None
    assert set(pairs[0]) <= {*COLOURS, *SIZES}
    claims = {f"from {a} to {b}": f"{thing} turns from {a} to {b}" for a, b in pairs}
    return _fact(about, claims, next(iter(claims)), rng)
