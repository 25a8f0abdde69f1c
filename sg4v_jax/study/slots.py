"""What captions taught: the words of true captions that only the video can give, each predicted.

Up to each such word (a slot) the model is given the true caption. It is right if of all words that may
stand there it finds the true one likeliest; words that begin the same kind of event count together.

    first it | moves left slowly. then it turns from red to | blue. the camera | pans | left.
      verb: moves, slowly, quickly (move) or grows or ...   new colour: any but red

`order` asks for both verbs of a caption, and `camera` for both words. The end size follows from the
words before it: that slot says whether the model reads, not whether it sees.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sg4v_jax import chips
from sg4v_jax.batch import Batch
from sg4v_jax.data.layout import Placed, place
from sg4v_jax.data.packing import Budget
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.models.video_lm import VideoLM
from sg4v_jax.study.likelihood import Request, Scorer
from sg4v_jax.study.videos import Videos, read_captions, user_turn
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.world.aspects import captions
from sg4v_jax.world.aspects.questions import CAPTION_PROMPT
from sg4v_jax.world.aspects.scene import (
    CAMERAS,
    COLOURS,
    DIRECTIONS,
    KINDS,
    SIZES,
    SPEEDS,
    WorldSettings,
)

SLOTS = ("verb", "direction", "speed", "colour", "size", "camera", "order")
ROWS = 16  # captions a batch
STEP = 32  # lengths of rows are multiples of it


class Slot(NamedTuple):
    """A place in a caption.

    Attributes:
      name: of `SLOTS`, but never "order".
      at: where the word begins in the caption.
      words: what may stand there, and the answer that each word begins.
      answer: the true one.
    """

    name: str
    at: int
    words: Mapping[str, str]
    answer: str


def slot_accuracy(
    scorer: Scorer, *, data: str | os.PathLike, videos: Videos
) -> dict[str, list[int]]:
    """[right, asked] of each slot over the captions of the development split.

    Raises:
      RecordError: a caption that is not worded as the arms' are.
      ConfigError: a tokenizer in which two words of a slot begin with the same token.
    """
    lines = read_captions(data)
    found = [slots_of(line["caption"], where=line["id"]) for line in lines]
    right = predicted(scorer, lines, found, videos=videos)
    counts = {name: [0, 0] for name in SLOTS}
    for slots, hits in zip(found, right, strict=True):
        by_name: dict[str, list[bool]] = {}
        for slot, hit in zip(slots, hits, strict=True):
            by_name.setdefault(slot.name, []).append(hit)
        by_name["camera"] = [all(by_name["camera"])]
        by_name["order"] = [all(by_name["verb"])]
        for name, each in by_name.items():
            counts[name][0] += sum(each)
            counts[name][1] += len(each)
    return counts


def chance(world: WorldSettings) -> dict[str, float]:
    """How often the best guess is right that knows the world and the words before, not the video."""
    kinds, still = len(KINDS), 1 - world.camera
    return {
        "verb": (1 / kinds + 1 / (kinds - 1)) / 2,
        "direction": 1 / len(DIRECTIONS),
        "speed": 1 / len(SPEEDS),
        "colour": 1 / (len(COLOURS) - 1),
        "size": 1.0,
        "camera": max(still, world.camera / (len(CAMERAS) - 1)),
        "order": 1 / (kinds * (kinds - 1)),
    }


def slots_of(caption: str, *, where: str = "") -> list[Slot]:
    """The slots of a detailed caption in the arms' wording, in their order.

    Raises:
      RecordError: it does not tell two events, an end and a camera so.
    """
    found = []
    for name, pattern, answers in _patterns():
        for match in pattern.finditer(caption):
            words = dict(answers)
            words.pop(match.groupdict().get("old"), None)
            word = match["word"]
            found.append(Slot(name, match.start("word"), words, words[word]))
    names = [slot.name for slot in found]
    if (names.count("verb"), names.count("size")) != (2, 1) or "camera" not in names:
        raise RecordError(
            f"captions: {where}: {caption!r:.120} is not in the arms' wording",
            mend="make the data again",
        )
    return sorted(found, key=lambda slot: slot.at)


@functools.cache
def _patterns() -> tuple[tuple[str, re.Pattern, Mapping[str, str]], ...]:
    """(slot, where its word stands, answer by word) of every slot."""
    first = {captions.VERBS[kind].split()[0]: kind for kind in KINDS}
    templates = captions.wording("train")
    first |= {template.split()[0]: "recolour" for template in templates.recolour}
    adverbs = {word: speed for speed, word in captions.ADVERBS.items()}
    same = lambda words: {word: word for word in words}
    cameras = [captions.camera_words(camera).split() for camera in CAMERAS]
    verb = same(first) | first | dict.fromkeys(adverbs, "move")
    word = lambda answers: rf"(?P<word>{'|'.join(answers)})\b"
    pans, zooms = (
        same(second for one, second in cameras if one == start) for start in ("pans", "zooms")
    )
    either = lambda answers, before: re.compile(rf"\b{before} {word(answers)}")
    return (
        ("verb", either(verb, "it"), verb),
        ("direction", either(DIRECTIONS, "moves"), same(DIRECTIONS)),
        ("speed", either(adverbs, rf"(?:it|{'|'.join(DIRECTIONS)})"), adverbs),
        ("colour", either(COLOURS, rf"from (?P<old>{'|'.join(COLOURS)}) to"), same(COLOURS)),
        ("size", either(SIZES, "it (?:is|ends as) a"), same(SIZES)),
        ("camera", either(dict(cameras), "the camera"), same(dict(cameras))),
        ("camera", either(pans, "camera pans"), pans),
        ("camera", either(zooms, "camera zooms"), zooms),
    )


class Asked(NamedTuple):
    """A caption laid out, and what is looked at in it.

    Attributes:
      placed: the sample; its scored positions are those before the slots.
      tokens: for each slot, the first tokens of its words.
      slots: its slots.
    """

    placed: Placed
    tokens: list[np.ndarray]
    slots: Sequence[Slot]

    def right(self, logits: np.ndarray) -> list[bool]:
        """For each slot, whether its answer is the likeliest: f32[slots or more, words or more]."""
        return [
            _likeliest(row[: len(tokens)], list(slot.words.values())) == slot.answer
            for row, tokens, slot in zip(logits, self.tokens, self.slots, strict=False)
        ]


def predicted(
    scorer: Scorer,
    lines: Sequence[Mapping[str, Any]],
    found: Sequence[Sequence[Slot]],
    *,
    videos: Videos,
) -> list[list[bool]]:
    """For each caption, whether each of its slots is predicted."""
    asked = [
        _ask(scorer, line, slots, videos=videos) for line, slots in zip(lines, found, strict=True)
    ]
    if not asked:
        return []
    longest = max(len(a.placed.sequence.tokens) for a in asked)
    budget = Budget(
        positions=-(-longest // STEP) * STEP,
        tiles=max(a.placed.sequence.tiles for a in asked),
        scored=max(len(a.slots) for a in asked),
    )
    width = max(len(tokens) for a in asked for tokens in a.tokens)
    run = compiled(tuple(chips.flags(jax.devices()[0].device_kind).items()))
    right = []
    for start in range(0, len(asked), ROWS):
        chosen = asked[start : start + ROWS]
        batch, tokens = _collate(scorer, chosen, budget=budget, width=width)
        logits = np.asarray(run(scorer.model, batch, tokens, dtype=scorer.dtype))
        right += [one.right(row) for one, row in zip(chosen, logits, strict=False)]
    return right


def _ask(
    scorer: Scorer, line: Mapping[str, Any], slots: Sequence[Slot], *, videos: Videos
) -> Asked:
    shown = videos.shown(line["video"])
    request = Request([user_turn(CAPTION_PROMPT, images=len(shown))], [line["caption"]], shown)
    sample, tokenizer = scorer.lay_out(request, line["caption"]), scorer.settings.tokenizer
    places, tokens = [], []
    for slot in slots:
        places.append(len(tokenizer.encode(line["caption"][: slot.at - 1], special=False)))
        tokens.append(_first_tokens(tuple(slot.words), tokenizer, name=slot.name))
        if sample.targets[places[-1]] not in tokens[-1]:
            raise ConfigError(
                f"captions: {line['id']}: the tokenizer joins the words at {slot.at}",
                mend="use one that begins a token at each word",
            )
    sample = sample._replace(loss_index=sample.loss_index[places], targets=sample.targets[places])
    return Asked(Placed(sample, np.concatenate([p.tiles for p in shown]), 1.0), tokens, slots)


def _first_tokens(words: Sequence[str], tokenizer: Tokenizer, *, name: str) -> np.ndarray:
    """i32[words]: the token that each begins with.

    Raises:
      ConfigError: two begin alike, so that one position does not tell them apart.
    """
    tokens = [tokenizer.encode(f" {word}", special=False)[0] for word in words]
    for number, token in enumerate(tokens):
        if tokens.index(token) != number:
            raise ConfigError(
                f"slot {name!r}: {words[tokens.index(token)]!r} and {words[number]!r} begin with the "
                f"same token {tokenizer.token_of(token)!r}",
                mend="train the tokenizer with a larger vocabulary",
            )
    return np.array(tokens, np.int32)


def _collate(
    scorer: Scorer, chosen: Sequence[Asked], *, budget: Budget, width: int
) -> tuple[Batch, np.ndarray]:
    """`ROWS` rows, the last of `chosen` again at the end, and i32[ROWS,slots,words]."""
    anyres = scorer.settings.inputs.anyres
    filled = [*chosen, *[chosen[-1]] * (ROWS - len(chosen))]
    placed = [
        place([one.placed], budget=budget, side=anyres.side, patches=anyres.patches)
        for one in filled
    ]
    tokens = np.zeros((ROWS, budget.scored, width), np.int32)
    for row, one in enumerate(filled):
        for number, ids in enumerate(one.tokens):
            tokens[row, number, : len(ids)] = ids
    return Batch(*(np.stack(field) for field in zip(*placed, strict=True))), tokens


@functools.cache
def compiled(flags: tuple[tuple[str, str], ...]) -> Callable[..., jax.Array]:
    """`logits_of`, jitted: compiled once a process and shape; `flags` of XLA."""
    return jax.jit(logits_of, static_argnames="dtype", compiler_options=dict(flags))


def logits_of(model: VideoLM, batch: Batch, tokens: jax.Array, *, dtype: jnp.dtype) -> jax.Array:
    """Tokens i32[B,L,W] -> their logits f32[B,L,W] at the scored positions."""
    hidden = model.hidden(batch, dtype=dtype)
    at = jnp.maximum(batch.loss_index, 0)
    logits = model.llm.logits(jnp.take_along_axis(hidden, at[..., None], axis=1))
    return jnp.take_along_axis(logits, tokens, axis=-1)


def _likeliest(logits: np.ndarray, answers: Sequence[str]) -> str:
    """The answer whose words together are the likeliest."""
    weight = np.exp(logits.astype(np.float64) - logits.max())
    total: dict[str, float] = {}
    for answer, one in zip(answers, weight, strict=True):
        total[answer] = total.get(answer, 0.0) + float(one)
    return max(total, key=total.get)
