"""Scene -> questions by aspect and form. The answer is always an option's text, never a letter.

Aspects: action, direction, speed, order, attribute (TempCompass' five), and camera.
Forms: `choice` (the text lists the options), `yesno`, `matching` (two sentences, one is true) and
`captioning` (describe; a reader then answers the choice from the caption).

Against guessing from the text: truths are drawn evenly, a yes/no claim is true half of the time,
and wrong options are as likely to be right elsewhere. So they come in sets that are closed under
what could be swapped: a direction with its opposite, "first A, then B" with "first B, then A", and
likewise for two things that do not happen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from sg4v_jax.errors import ConfigError
from sg4v_jax.world.aspects import captions
from sg4v_jax.world.aspects.facts import EventFact, Facts, truth
from sg4v_jax.world.aspects.scene import (
    CAMERAS,
    COLOURS,
    DIRECTIONS,
    KINDS,
    Scene,
    WorldSettings,
)
from sg4v_jax.world.scene import OPPOSITE

ASPECTS = ("action", "direction", "speed", "order", "attribute", "camera")
FORMS = ("choice", "yesno", "matching", "captioning")
CAPTION_PROMPT = "Describe this video in detail."
_BASE = {
    "move": "move",
    "grow": "grow",
    "shrink": "shrink",
    "blink": "blink",
    "recolour": "change color",
}
_YES_NO = ("yes", "no")


@dataclasses.dataclass(frozen=True)
class Claim:
    """Something that is so or not, said in three ways.

    Attributes:
      option: as an option of a choice, "moves" or "from red to blue".
      question: as a yes/no question, "Does the circle move?".
      sentence: as a caption, "here it moves".
      tells: what it says, for a reader to compare: (field, value) pairs.
    """

    option: str
    question: str
    sentence: str
    tells: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Question:
    """One question about one clip.

    Attributes:
      id: "{split}-{seed}-{aspect}-{form}".
      aspect, form: of `ASPECTS`, `FORMS`.
      text: the whole prompt text.
      options: the possible answers.
      answer: the right one of `options`.
      claims: what each option says (for yes/no: what the claim says), for a reader.
    """

    id: str
    aspect: str
    form: str
    text: str
    options: tuple[str, ...]
    answer: str
    claims: tuple[Claim, ...]

    @property
    def chance(self) -> float:
        """The probability that a blind guess is right."""
        return 1 / len(self.options)


def applicable(scene: Scene, aspect: str, *, settings: WorldSettings) -> bool:
    """Whether `aspect` can be asked of `scene`.

    The camera is asked about in so many still clips that every answer is as frequent.
    """
    if aspect in ("direction", "speed"):
        return scene.event("move") is not None
    if aspect == "attribute":
        sizes = [kind for kind in ("grow", "shrink") if scene.event(kind)]
        return scene.event("recolour") is not None or len(sizes) == 1
    if aspect == "camera" and scene.camera == "still":
        share = settings.camera / (len(CAMERAS) - 1) / max(1 - settings.camera, 1e-9)
        return np.random.default_rng([59, scene.seed]).random() < share
    return True


def ask(
    scene: Scene, rng: np.random.Generator, *, aspect: str, form: str, settings: WorldSettings
) -> Question | None:
    """A question of this aspect and form, None where it cannot be asked.

    Raises:
      ConfigError: unknown aspect or form.
    """
    if aspect not in ASPECTS or form not in FORMS:
        raise ConfigError(
            f"question {aspect!r}, {form!r}", mend=f"use one of {ASPECTS} and one of {FORMS}"
        )
    if not applicable(scene, aspect, settings=settings):
        return None
    right, hard, others = _CLAIMS[aspect](truth(scene), rng)
    name = f"{scene.split}-{scene.seed}-{aspect}-{form}"
    if form == "yesno":
        answer = _pick(rng, _YES_NO)
        claim = right if answer == "yes" else hard
        text = _pick(rng, ("{q}", "Is this so? {q}")).format(q=claim.question)
        return Question(name, aspect, form, text, _YES_NO, answer, (claim,))
    claims = [right, hard] if form == "matching" else [right, hard, *others]
    claims = tuple(claims[int(i)] for i in rng.permutation(len(claims)))
    if form == "matching":
        options = tuple(claim.sentence for claim in claims)
        text = f'Which is true: "{options[0]}" or "{options[1]}"?'
        return Question(name, aspect, form, text, options, right.sentence, claims)
    options = tuple(claim.option for claim in claims)
    text = (
        CAPTION_PROMPT if form == "captioning" else _choice_text(aspect, scene.thing.shape, options)
    )
    return Question(name, aspect, form, text, options, right.option, claims)


def _choice_text(aspect: str, thing: str, options: Sequence[str]) -> str:
    asked = {
        "action": f"What does the {thing} do",
        "direction": f"Which way does the {thing} move",
        "speed": f"How does the {thing} move",
        "order": f"What does the {thing} do",
        "attribute": f"How does the {thing} change",
        "camera": "What does the camera do",
    }[aspect]
    return f"{asked}: {', '.join(options[:-1])} or {options[-1]}?"


def _pick(rng: np.random.Generator, options: Sequence):
    return options[int(rng.integers(len(options)))]


def _draw(rng: np.random.Generator, options: Sequence[str], count: int) -> list[str]:
    return [options[int(i)] for i in rng.permutation(len(options))[:count]]


_Claims = Callable[[Facts, np.random.Generator], tuple[Claim, Claim, list[Claim]]]
"""Facts -> (what is so, the wrong claim that is hardest to tell from it, other wrong claims)."""


def _action(facts: Facts, rng: np.random.Generator):
    happens = [e.kind for e in facts.events]
    wrong = _draw(rng, [kind for kind in KINDS if kind not in happens], 2)
    right, hard, other = (_does(kind, facts) for kind in (_pick(rng, happens), *wrong))
    return right, hard, [other]


def _does(kind: str, facts: Facts) -> Claim:
    verb = captions.VERBS[kind]
    question = f"Does the {facts.first.shape} {_BASE[kind]}?"
    return Claim(verb, question, f"here it {verb}", (("kind", kind),))


def _move(facts: Facts) -> EventFact:
    return next(e for e in facts.events if e.kind == "move")


def _direction(facts: Facts, rng: np.random.Generator):
    way = _move(facts).direction
    rest = [d for d in DIRECTIONS if d not in (way, OPPOSITE[way])]
    right, hard, *others = (_goes(d, facts) for d in (way, OPPOSITE[way], *rest))
    return right, hard, others


def _goes(direction: str, facts: Facts) -> Claim:
    question = f"Does the {facts.first.shape} move {direction}?"
    return Claim(direction, question, f"here it moves {direction}", (("direction", direction),))


def _speed(facts: Facts, rng: np.random.Generator):
    speed = _move(facts).speed
    other = "fast" if speed == "slow" else "slow"
    return _runs(speed, facts), _runs(other, facts), []


def _runs(speed: str, facts: Facts) -> Claim:
    adverb = captions.ADVERBS[speed]
    question = f"Does the {facts.first.shape} move {adverb}?"
    return Claim(adverb, question, f"here it moves {adverb}", (("speed", speed),))


def _order(facts: Facts, rng: np.random.Generator):
    first, second = (e.kind for e in facts.events)
    c, d = _draw(rng, [kind for kind in KINDS if kind not in (first, second)], 2)
    pairs = ((first, second), (second, first), (c, d), (d, c))
    right, hard, *others = (_follows(a, b, facts) for a, b in pairs)
    return right, hard, others


def _follows(first: str, second: str, facts: Facts) -> Claim:
    a, b = captions.VERBS[first], captions.VERBS[second]
    question = f"Does the {facts.first.shape} {_BASE[first]} before it {b}?"
    sentence = f"it {a} to begin with. later on it {b}"
    return Claim(f"{a} then {b}", question, sentence, (("first", first), ("second", second)))


def _attribute(facts: Facts, rng: np.random.Generator):
    recolour = next((e for e in facts.events if e.kind == "recolour"), None)
    size = [e.kind for e in facts.events if e.kind in ("grow", "shrink")]
    if recolour is None or (len(size) == 1 and rng.integers(2)):
        other = "shrink" if size[0] == "grow" else "grow"
        return _becomes(size[0], facts), _becomes(other, facts), []
    c, d = _draw(rng, [x for x in COLOURS if x not in (recolour.old, recolour.new)], 2)
    old, new = recolour.old, recolour.new
    pairs = ((old, new), (new, old), (c, d), (d, c))
    right, hard, *others = (_turns(a, b, facts) for a, b in pairs)
    return right, hard, others


def _turns(old: str, new: str, facts: Facts) -> Claim:
    question = f"Does the {facts.first.shape} turn from {old} to {new}?"
    option = f"from {old} to {new}"
    return Claim(option, question, f"here it turns {option}", (("old", old), ("new", new)))


def _becomes(kind: str, facts: Facts) -> Claim:
    word = "larger" if kind == "grow" else "smaller"
    question = f"Does the {facts.first.shape} become {word}?"
    return Claim(word, question, f"here it becomes {word}", (("kind", kind),))


def _camera(facts: Facts, rng: np.random.Generator):
    rest = _draw(rng, [c for c in CAMERAS if c != facts.camera], len(CAMERAS) - 1)
    right, hard, *others = (_films(c) for c in (facts.camera, *rest))
    return right, hard, others


def _films(camera: str) -> Claim:
    words = captions.camera_words(camera)
    base = words.replace("stays", "stay").replace("pans", "pan").replace("zooms", "zoom")
    question = f"Does the camera {base}?"
    return Claim(words, question, f"here the camera {words}", (("camera", camera),))


_CLAIMS: dict[str, _Claims] = {
    "action": _action,
    "direction": _direction,
    "speed": _speed,
    "order": _order,
    "attribute": _attribute,
    "camera": _camera,
}
