"""What is trained on and asked, as records: LLaVA conversations about the pictures.

One function a use: `reading` and `sheet_row` for pre-training, `questions_of` for the scarce set of
questions that all arms share, `captions_of` for what differs between arms, `asked` for the
development and test questions. Everything is drawn from generators keyed by (use, seed, scene), so
that arms of one seed share videos, order and number, and differ in the text of captions alone.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sg4v_jax.errors import ConfigError
from sg4v_jax.study import pictures
from sg4v_jax.study.accuracy import ASKED
from sg4v_jax.text.chat import IMAGE_PLACEHOLDER
from sg4v_jax.world.aspects import captions, questions
from sg4v_jax.world.aspects.facts import Facts, made_false, truth, without_events
from sg4v_jax.world.aspects.scene import Scene, WorldSettings, held_out

READ_ROUNDS, ASKED_ROUNDS = 1, 1
ROW_NAMES = {1: ("only",), 2: ("upper", "lower"), 4: ("first", "second", "third", "last")}
ACROSS, DOWN = ("far left", "left", "right", "far right"), ("top", "high", "low", "bottom")
SECOND = 0.2  # chance of a second sentence; so `some_sentences` has as many tokens as `short`
_SALTS = {"read": 61, "sheet": 62, "vqa": 63, "caption": 64, "asked": 65, "dev": 66}

Record = dict[str, Any]


def rng_of(use: str, *numbers: int) -> np.random.Generator:
    """The generator of one thing: `use` and what it is about."""
    return np.random.default_rng([_SALTS[use], *numbers])


def conversation(rounds: Sequence[tuple[str, str]], *, images: int) -> list[dict[str, str]]:
    """Question and answer by turns; the pictures stand before the first question."""
    turns = []
    for number, (question, answer) in enumerate(rounds):
        shown = f"{IMAGE_PLACEHOLDER}\n" * images if number == 0 else ""
        turns.append({"from": "human", "value": shown + question})
        turns.append({"from": "gpt", "value": answer})
    return turns


def record(name: str, files: Sequence[str], rounds: Sequence[tuple[str, str]]) -> Record:
    """A LLaVA record over some pictures, or over none."""
    shown = {"image": files[0] if len(files) == 1 else list(files)} if files else {}
    return {"id": name, **shown, "conversations": conversation(rounds, images=len(files))}


def shown_files(picture: str, *, path: str) -> list[str]:
    """What stands for a grid picture by visual path: itself, its cells, or the blank grid.

    Raises:
      ConfigError: an unknown path.
    """
    known = {
        "grid": lambda: [picture],
        "frames": lambda: pictures.cell_files(picture),
        "blank": lambda: [pictures.BLANK_FILE],
    }
    if path not in known:
        raise ConfigError(f"visual path {path!r} is unknown", mend=f"use {', '.join(known)}")
    return known[path]()


def reading(scene: Scene, *, seed: int, settings: WorldSettings) -> Record:
    """A caption as text, and questions about it: teaches the decoder to read and to answer."""
    rng = rng_of("read", seed, scene.seed)
    rounds = drawn_rounds(scene, rng, rounds=READ_ROUNDS, settings=settings)
    caption = captions.detailed(truth(scene), rng, use="pretrain")
    rounds[0] = (f"{caption}\n{rounds[0][0]}", rounds[0][1])
    return record(f"read-{scene.seed}", [], rounds)


def sheet_row(number: int, *, seed: int, settings: WorldSettings, path: str) -> Record:
    """What stands in one row of a contact sheet, thing by thing, with places."""
    rng = rng_of("sheet", seed, number)
    rows = pictures.sheet_scenes(number, settings=settings)
    row = int(rng.integers(len(rows)))
    told = " ".join(still_words(scene) for scene in rows[row])
    question = f"What is in the {ROW_NAMES[len(rows)][row]} row?"
    shown = shown_files(pictures.sheet_file(number), path=path)
    return record(f"sheet-{number}", shown, [(question, told)])


def still_words(scene: Scene) -> str:
    """One still in words: "small red circle, high far left."; four places along each axis."""
    thing = scene.thing
    across = ACROSS[int(thing.x % 1 * len(ACROSS))]
    down = DOWN[int(thing.y % 1 * len(DOWN))]
    return f"{thing.size} {thing.colour} {thing.shape}, {down} {across}."


def drawn_rounds(
    scene: Scene,
    rng: np.random.Generator,
    *,
    rounds: int,
    settings: WorldSettings,
    counts: collections.Counter | None = None,
) -> list[tuple[str, str]]:
    """Question and answer of so many different aspects, the forms drawn evenly.

    Args:
      counts: how often each aspect was asked; the rarest come first, and are counted.
    """
    counts = collections.Counter() if counts is None else counts
    open_ = [a for a in questions.ASPECTS if questions.applicable(scene, a, settings=settings)]
    open_ = [open_[int(i)] for i in rng.permutation(len(open_))]
    chosen = sorted(open_, key=lambda aspect: counts[aspect])[:rounds]
    counts.update(chosen)
    found = []
    for aspect in chosen:
        form = ASKED[int(rng.integers(len(ASKED)))]
        question = questions.ask(scene, rng, aspect=aspect, form=form, settings=settings)
        found.append((question.text, question.answer))
    return found


def questions_of(
    scenes: Iterable[Scene], *, seed: int, settings: WorldSettings, path: str
) -> list[Record]:
    """The questions that all arms of a seed train on: one about each clip."""
    counts: collections.Counter = collections.Counter()
    found = []
    for scene in scenes:
        rng = rng_of("vqa", seed, scene.seed)
        rounds = drawn_rounds(scene, rng, rounds=ASKED_ROUNDS, settings=settings, counts=counts)
        found.append(
            record(f"vqa-{scene.seed}", shown_files(pictures.clip_file(scene), path=path), rounds)
        )
    return found


def captions_of(
    scenes: Iterable[Scene],
    *,
    seed: int,
    style: str,
    path: str,
    dose: float = 0.0,
    made: Mapping[str, str] | None = None,
) -> list[Record]:
    """One caption sample a clip; everything but the caption is the same for all styles.

    Args:
      style, dose: as `caption`.
      made: captions by clip file, for the style `captioner`.
    """
    found = []
    for scene in scenes:
        rng = rng_of("caption", seed, scene.seed)
        if style == "captioner":
            text = made[pictures.clip_file(scene)]
        else:
            text = caption(truth(scene), rng, style=style, dose=dose)
        rounds = [(questions.CAPTION_PROMPT, text)]
        found.append(
            record(
                f"caption-{scene.seed}", shown_files(pictures.clip_file(scene), path=path), rounds
            )
        )
    return found


def caption(facts: Facts, rng: np.random.Generator, *, style: str, dose: float = 0.0) -> str:
    """A caption of one style.

    Args:
      style: `detailed`, `short`, `long_static` (as long as detailed, the first frame alone),
        `shuffled` (detailed, its events in any order and no word about it), `some_sentences`
        (one or two of the detailed caption's, drawn: as long as short on average), `sentences`
        (the first `dose` ones), `omission` and `false` (each event left out, or told wrongly, with chance
        `dose`).

    Raises:
      ConfigError: an unknown style.
    """
    if style == "detailed":
        return captions.detailed(facts, rng)
    if style == "short":
        return captions.short(facts, rng)
    if style == "long_static":
        return captions.static(facts, rng)
    if style == "shuffled":
        return captions.unordered(facts, rng)
    if style == "some_sentences":
        whole = captions.detailed(facts, rng).rstrip(".").split(". ")
        count = 1 + int(rng.random() < SECOND)
        kept = sorted(rng.permutation(len(whole))[:count].tolist())
        return " ".join(f"{whole[n]}." for n in kept)
    if style == "sentences":
        return captions.detailed(facts, rng, sentences=int(dose))
    if style == "omission":
        return captions.detailed(without_events(facts, rng, rate=dose), rng)
    if style == "false":
        return captions.detailed(made_false(facts, rng, rate=dose), rng)
    raise ConfigError(f"caption style {style!r} is unknown", mend="see study.records.caption")


def asked(scenes: Iterable[Scene], *, settings: WorldSettings) -> list[dict[str, Any]]:
    """Every aspect and form that can be asked of each scene, with what each option claims."""
    found = []
    for scene in scenes:
        rng = rng_of("asked", scene.seed)
        for aspect in questions.ASPECTS:
            for form in ASKED:
                q = questions.ask(scene, rng, aspect=aspect, form=form, settings=settings)
                if q is not None:
                    found.append(_asked_row(q, scene))
    return found


def _asked_row(question: questions.Question, scene: Scene) -> dict[str, Any]:
    return {
        "id": question.id,
        "scene": scene.seed,
        "split": scene.split,
        "video": pictures.clip_file(scene),
        "unseen": is_unseen(scene),
        "aspect": question.aspect,
        "form": question.form,
        "text": question.text,
        "options": list(question.options),
        "answer": question.answer,
        "claims": [[list(pair) for pair in claim.tells] for claim in question.claims],
    }


def is_unseen(scene: Scene) -> bool:
    """Whether a scene shows a combination of shape, colour and kind that training never shows."""
    thing = scene.thing
    return any(held_out(thing.shape, thing.colour, e.kind) for e in scene.events)


def dev_captions(scenes: Iterable[Scene]) -> list[dict[str, str]]:
    """True detailed captions in the arms' wording, for slot accuracy."""
    return [
        {
            "id": f"{scene.split}-{scene.seed}",
            "video": pictures.clip_file(scene),
            "caption": captions.detailed(truth(scene), rng_of("dev", scene.seed)),
        }
        for scene in scenes
    ]
