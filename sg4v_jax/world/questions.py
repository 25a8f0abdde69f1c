"""Scene -> questions with their answers. The answer is always an option's text, never a letter.

    group     kinds                                       what it takes
    temporal  direction, direction_yesno, order,          several frames in their order: no single
              order_yesno                                 frame and no unordered set of them helps
    static    shape, start_color, end_color, start_size,  one frame
              end_size
    frame     frame_color, frame_size, frame_place        one given frame, counted 1..16 in the
                                                          order of the grid; for training

Against guessing from the text alone: a wrong direction is always the opposite one; the truth of
a yes/no claim, the order of the options and the wrong options are drawn evenly; temporal texts
name no colour and no kind of size change; texts about colours and shapes say "object", because
in a split not every shape comes in every colour. Other texts say the shape's name or "object", but
only "object" where the shape is asked too: they may become turns of one conversation.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from sg4v_jax.errors import ConfigError
from sg4v_jax.world.scene import (
    COLOURS,
    OPPOSITE,
    PLACES,
    SAMPLED,
    SHAPES,
    SIZES,
    Scene,
    in_view,
    place,
    state,
)

GROUPS = {
    "temporal": ("direction", "direction_yesno", "order", "order_yesno"),
    "static": ("shape", "start_color", "end_color", "start_size", "end_size"),
    "frame": ("frame_color", "frame_size", "frame_place"),
}
KINDS = tuple(kind for kinds in GROUPS.values() for kind in kinds)
TOPICS = {kind: kind.removesuffix("_yesno").rpartition("_")[2] for kind in KINDS}
"""What a kind asks about; the answer to one question of a topic may give away another's."""

_EVENT_NOUNS = {"move": "movement", "resize": "size change", "recolour": "color change"}
_YES_NO = ("yes", "no")


@dataclasses.dataclass(frozen=True)
class Question:
    """One question about one clip.

    Attributes:
      id: "{scene seed}-{kind}-{number}".
      group: a key of `GROUPS`.
      kind: one of `KINDS`.
      form: "choice" (the text lists the options), "yesno", or "open" (it does not list them).
      text: the whole prompt text.
      options: the possible answers.
      answer: the right one of `options`.
      reasons: what to look at before answering an order question: the object at the start, in
        the middle and at the end. Each is easy to see; which came first then follows.
    """

    id: str
    group: str
    kind: str
    form: str
    text: str
    options: tuple[str, ...]
    answer: str
    reasons: str = ""

    @property
    def told(self) -> str:
        """The answer as training tells it: "small red, large red, large blue: size change"."""
        return f"{self.reasons}: {self.answer}" if self.reasons else self.answer

    @property
    def chance(self) -> float:
        """The probability that a blind guess is right."""
        return 1 / len(self.options)


@dataclasses.dataclass(frozen=True)
class _Draft:
    form: str
    text: str
    options: tuple[str, ...]
    answer: str


_Ask = Callable[[Scene, np.random.Generator, str], _Draft]  # the last argument names the object


def applicable(scene: Scene, kind: str) -> bool:
    """Whether `kind` can be asked: direction needs a move; a look needs an object in view."""
    if kind.startswith("direction"):
        return scene.event("move") is not None
    if kind.startswith(("start_", "end_")):
        return in_view(state(scene, _edge_frame(kind)), canvas=scene.canvas)
    if kind in ("frame_color", "frame_size"):
        return bool(_frames_in_view(scene))
    return True


def make_questions(
    scene: Scene, rng: np.random.Generator, *, kinds: Sequence[str] | None = None
) -> list[Question]:
    """One question for each entry of `kinds` (all kinds if None), in that order.

    A kind that is not `applicable` to the scene gives none. A kind may be repeated; questions
    about single frames then ask about different frames as long as there are any left.

    Raises:
      ConfigError: an unknown kind.
    """
    kinds = KINDS if kinds is None else kinds
    names = ("object",) if "shape" in kinds else (scene.shape, "object")
    counts: Counter[str] = Counter()
    questions = []
    asked: set[int] = set()
    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError(f"kinds: unknown kind {kind!r}", mend=f"use some of {KINDS}")
        if not applicable(scene, kind):
            continue
        group = next(g for g, members in GROUPS.items() if kind in members)
        thing = _pick(rng, names)
        if group == "frame":
            draft = _ask_frame(scene, rng, thing, kind=kind, asked=asked)
        else:
            draft = _ASK[kind](scene, rng, thing)
        name = f"{scene.seed}-{kind}-{counts[kind]}"
        counts[kind] += 1
        questions.append(
            Question(
                name,
                group,
                kind,
                draft.form,
                draft.text,
                draft.options,
                draft.answer,
                _seen(scene) if kind.startswith("order") else "",
            )
        )
    return questions


def _seen(scene: Scene) -> str:
    """Size and colour at the first, a middle and the last sampled frame.

    In the middle the first event is over and the second has not begun, so these three tell the
    order: every pair of events has one that changes size or colour.
    """
    looks = [state(scene, frame) for frame in (0, SAMPLED // 2, SAMPLED - 1)]
    return ", ".join(f"{look.size} {look.colour}" for look in looks)


def _pick(rng: np.random.Generator, options: Sequence):
    return options[int(rng.integers(len(options)))]


def _shuffled(rng: np.random.Generator, options: Sequence[str]) -> tuple[str, ...]:
    return tuple(options[int(i)] for i in rng.permutation(len(options)))


def _direction(scene: Scene, rng: np.random.Generator, thing: str) -> _Draft:
    answer = scene.event("move").direction
    options = _shuffled(rng, (answer, OPPOSITE[answer]))
    text = _pick(
        rng,
        (
            "Does the {t} move {a} or {b}?",
            "Which way does the {t} move, {a} or {b}?",
            "Is the {t} moving {a} or {b}?",
        ),
    ).format(t=thing, a=options[0], b=options[1])
    return _Draft("choice", text, options, answer)


def _direction_yesno(scene: Scene, rng: np.random.Generator, thing: str) -> _Draft:
    truth = scene.event("move").direction
    answer = _pick(rng, _YES_NO)
    claim = truth if answer == "yes" else OPPOSITE[truth]
    text = _pick(
        rng,
        (
            "Does the {t} move {d}?",
            "Is the {t} moving {d}?",
            "Is it true that the {t} moves {d}?",
        ),
    ).format(t=thing, d=claim)
    return _Draft("yesno", text, _YES_NO, answer)


def _order(scene: Scene, rng: np.random.Generator, thing: str) -> _Draft:
    nouns = tuple(_EVENT_NOUNS[event.family] for event in scene.events)
    options = _shuffled(rng, nouns)
    text = _pick(
        rng,
        (
            "What happens first, the {a} or the {b}?",
            "Which comes first, the {a} or the {b}?",
            "What does the {t} show first, the {a} or the {b}?",
        ),
    ).format(t=thing, a=options[0], b=options[1])
    return _Draft("choice", text, options, nouns[0])


def _order_yesno(scene: Scene, rng: np.random.Generator, thing: str) -> _Draft:
    nouns = tuple(_EVENT_NOUNS[event.family] for event in scene.events)
    answer = _pick(rng, _YES_NO)
    first, second = nouns if answer == "yes" else nouns[::-1]
    text = _pick(
        rng,
        (
            "Does the {a} come before the {b}?",
            "Does the {a} of the {t} happen before the {b}?",
            "Is it true that the {a} comes before the {b}?",
        ),
    ).format(t=thing, a=first, b=second)
    return _Draft("yesno", text, _YES_NO, answer)


def _edge_frame(kind: str) -> int:
    return 0 if kind.startswith("start_") else SAMPLED - 1


def _listed(options: Sequence[str]) -> str:
    return ", ".join(options[:-1]) + f" or {options[-1]}"


def _choice(
    rng: np.random.Generator, answer: str, values: Sequence[str], templates: Sequence[str]
) -> _Draft:
    """A question with 2 to 4 of `values` as options; templates hold {o} for the list."""
    others = _shuffled(rng, [v for v in values if v != answer])
    wrong = int(rng.integers(1, min(len(others), 3) + 1))
    options = _shuffled(rng, (answer, *others[:wrong]))
    return _Draft("choice", _pick(rng, templates).format(o=_listed(options)), options, answer)


def _shape(scene: Scene, rng: np.random.Generator, thing: str) -> _Draft:
    templates = (
        "What shape is the object: {o}?",
        "Is the object a {o}?",
        "Which shape does the video show: {o}?",
    )
    return _choice(rng, scene.shape, SHAPES, templates)


def _edge_color(kind: str) -> _Ask:
    edge = kind.partition("_")[0]
    templates = (
        f"What color is the object at the {edge}: {{o}}?",
        f"Which color does the object have at the {edge}: {{o}}?",
        f"At the {edge}, is the object {{o}}?",
    )
    return lambda scene, rng, thing: _choice(
        rng, state(scene, _edge_frame(kind)).colour, COLOURS, templates
    )


def _edge_size(kind: str) -> _Ask:
    edge = kind.partition("_")[0]

    def ask(scene: Scene, rng: np.random.Generator, thing: str) -> _Draft:
        templates = (
            f"What size is the {thing} at the {edge}: {{o}}?",
            f"Is the {thing} {{o}} at the {edge}?",
            f"At the {edge}, is the {thing} {{o}}?",
        )
        return _choice(rng, state(scene, _edge_frame(kind)).size, SIZES, templates)

    return ask


def _frames_in_view(scene: Scene) -> list[int]:
    return [t for t in range(SAMPLED) if in_view(state(scene, t), canvas=scene.canvas)]


def _ask_frame(
    scene: Scene, rng: np.random.Generator, thing: str, *, kind: str, asked: set[int]
) -> _Draft:
    """A question about one frame, if possible none of `asked` (which grows by it)."""
    frames = list(range(SAMPLED)) if kind == "frame_place" else _frames_in_view(scene)
    frame = int(_pick(rng, [t for t in frames if t not in asked] or frames))
    asked.add(frame)
    obj = state(scene, frame)
    number = frame + 1
    if kind == "frame_color":
        texts = (
            f"What color is the object in frame {number}?",
            f"In frame {number}, what color does the object have?",
        )
        return _Draft("open", _pick(rng, texts), COLOURS, obj.colour)
    if kind == "frame_size":
        options = _shuffled(rng, SIZES)
        texts = (
            f"Is the {thing} {_listed(options)} in frame {number}?",
            f"In frame {number}, is the {thing} {_listed(options)}?",
        )
        return _Draft("choice", _pick(rng, texts), options, obj.size)
    texts = (
        f"Where is the {thing} in frame {number}?",
        f"In frame {number}, where is the {thing}?",
    )
    return _Draft("open", _pick(rng, texts), PLACES, place(obj, canvas=scene.canvas))


_ASK: dict[str, _Ask] = {
    "direction": _direction,
    "direction_yesno": _direction_yesno,
    "order": _order,
    "order_yesno": _order_yesno,
    "shape": _shape,
    "start_color": _edge_color("start_color"),
    "end_color": _edge_color("end_color"),
    "start_size": _edge_size("start_size"),
    "end_size": _edge_size("end_size"),
}
