"""CIDEr-D: how much a caption agrees with what people wrote about the same video.

Source: Vedantam, Zitnick, Parikh, "CIDEr: Consensus-based Image Description Evaluation", CVPR
2015, sections 4 and 6 (the -D form: clipped counts, Gaussian penalty on length, times 10), with
the two habits of its released scorer, so that numbers compare: length is counted in pairs of
words, and document frequency over the references at hand.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence

from sg4v_jax.errors import RecordError

ORDERS = 4
SIGMA = 6.0

Grams = collections.Counter[tuple[str, ...]]
Weights = dict[tuple[str, ...], float]


def cider_d(
    captions: Mapping[str, Sequence[str]], references: Mapping[str, Sequence[Sequence[str]]]
) -> dict[str, float]:
    """The score of each caption, 0 to 10; a set's score is their mean.

    Rare words count more: an n-gram weighs its count times log(videos / videos whose references
    have it). So the score of a caption depends on the other references of the set, and with one
    video all are 0. Two videos, each caption as its reference, without a word in common, and at
    least four words long: both 10.

    Args:
      captions: id -> words.
      references: id -> one or more lists of words; the same ids.

    Raises:
      RecordError: other ids, or an id without references.
    """
    if set(captions) != set(references) or not all(references.values()):
        odd = sorted(set(captions) ^ set(references)) or [k for k, v in references.items() if not v]
        raise RecordError(f"CIDEr-D: caption or references of {odd[0]!r} are missing")
    grams = {name: [_grams(words) for words in texts] for name, texts in references.items()}
    frequency: Grams = collections.Counter()
    for texts in grams.values():
        frequency.update(set().union(*texts))
    videos = math.log(len(references)) if references else 0.0
    scores = {}
    for name, words in captions.items():
        own = _grams(words)
        agreed = [_agreement(own, other, frequency, videos) for other in grams[name]]
        scores[name] = 10.0 * math.fsum(agreed) / len(agreed)
    return scores


def _grams(words: Sequence[str]) -> Grams:
    return collections.Counter(
        tuple(words[i : i + n]) for n in range(1, ORDERS + 1) for i in range(len(words) - n + 1)
    )


def _agreement(own: Grams, other: Grams, frequency: Grams, videos: float) -> float:
    """The mean over orders of the clipped cosine, times the length penalty."""
    pairs = [sum(count for gram, count in g.items() if len(gram) == 2) for g in (own, other)]
    penalty = math.exp(-((pairs[0] - pairs[1]) ** 2) / (2 * SIGMA**2))
    weighed = [
        {gram: count * (videos - math.log(max(1, frequency[gram]))) for gram, count in g.items()}
        for g in (own, other)
    ]
    return penalty * sum(_cosine(*weighed, order=n) for n in range(1, ORDERS + 1)) / ORDERS


def _cosine(own: Weights, other: Weights, *, order: int) -> float:
    a, b = ({g: w for g, w in weights.items() if len(g) == order} for weights in (own, other))
    lengths = math.sqrt(sum(w * w for w in a.values()) * sum(w * w for w in b.values()))
    product = sum(min(w, b.get(gram, 0.0)) * b.get(gram, 0.0) for gram, w in a.items())
    return product / lengths if lengths else 0.0
