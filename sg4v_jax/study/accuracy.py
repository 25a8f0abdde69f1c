"""Right and asked by aspect and form, and their means: the numbers that a result row holds.

The average is over the forms of an aspect and then over the five aspects of TempCompass; the
camera stands apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from sg4v_jax.world.aspects.questions import ASPECTS, FORMS

FIVE = tuple(aspect for aspect in ASPECTS if aspect != "camera")
ASKED = tuple(form for form in FORMS if form != "captioning")  # captions are read, not asked for


def form_name(form: str) -> str:
    """A form of question as readers know it: `yes/no` for `yesno`."""
    return form.replace("yesno", "yes/no")


def summary(answered: Iterable[tuple[str, str, bool]]) -> dict[str, Any]:
    """(aspect, form, whether right) of each question -> cells and means.

    A mean is over what was asked, and None where nothing was.

    >>> summary([("speed", "choice", True), ("speed", "choice", False), ("speed", "yesno", True)])
    {"average": 0.75, "aspects": {"speed": 0.75}, "forms": {"choice": 0.5, "yesno": 1.0},
     "cells": {"speed": {"choice": [1, 2], "yesno": [1, 1]}}}
    """
    cells: dict[str, dict[str, list[int]]] = {}
    for aspect, form, right in answered:
        cell = cells.setdefault(aspect, {}).setdefault(form, [0, 0])
        cell[0] += bool(right)
        cell[1] += 1
    cells = {
        aspect: dict(sorted(cells[aspect].items(), key=lambda cell: FORMS.index(cell[0])))
        for aspect in ASPECTS
        if aspect in cells
    }
    return means(cells)


def means(cells: Mapping[str, Mapping[str, list[int]]]) -> dict[str, Any]:
    """What `summary` makes of its cells."""
    share = {a: {f: right / asked for f, (right, asked) in c.items()} for a, c in cells.items()}
    aspects = {aspect: mean(forms.values()) for aspect, forms in share.items()}
    forms = {
        form: mean(share[aspect][form] for aspect in FIVE if form in share.get(aspect, {}))
        for form in FORMS
    }
    return {
        "average": mean(aspects[aspect] for aspect in FIVE if aspect in aspects),
        "aspects": aspects,
        "forms": {form: value for form, value in forms.items() if value is not None},
        "cells": cells,
    }


def mean(values: Iterable[float]) -> float | None:
    """Rounded to 6 places, so that a row is the same on every machine; None of nothing."""
    values = list(values)
    return round(float(np.mean(values)), 6) if values else None
