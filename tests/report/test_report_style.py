"""Contrast (WCAG 2.1) and colour-blind safety of the palette, in both modes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sg4v_jax.report import style

# Machado, Oliveira & Fernandes, IEEE TVCG 15 (2009), severity 1.0, on linear RGB.
VISION = {
    "full": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}


def _linear(color: str) -> np.ndarray:
    c = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _contrast(a: str, b: str) -> float:
    dark, light = sorted(float(_linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b))
    return (light + 0.05) / (dark + 0.05)


def _lab(linear: np.ndarray) -> np.ndarray:
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ np.clip(linear, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("colors", [style.LIGHT, style.DARK], ids=["light", "dark"])
def test_contrast(colors):
    for name in ("ink", "muted", "right", "wrong"):
        for ground in ("paper", "panel"):
            assert _contrast(colors[name], colors[ground]) >= 4.5, (name, ground)
    for i in range(style.SERIES):
        assert _contrast(colors[f"series-{i + 1}"], colors["paper"]) >= 3, i


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("colors", [style.LIGHT, style.DARK], ids=["light", "dark"])
def test_series_colours_can_be_told_apart(colors, vision):
    seen = [_lab(VISION[vision] @ _linear(colors[f"series-{i + 1}"])) for i in range(style.SERIES)]
    for (i, a), (j, b) in itertools.combinations(enumerate(seen, 1), 2):
        assert np.linalg.norm(a - b) > 20, (i, j)


def test_both_modes_name_the_same_colours_and_the_sheet_uses_no_other():
    assert style.LIGHT.keys() == style.DARK.keys()
    used = {part.split(")")[0] for part in style.CSS.split("var(--")[1:]}
    assert used and used <= style.LIGHT.keys()
    for value in [*style.LIGHT.values(), *style.DARK.values()]:
        assert value in style.CSS
    assert style.CSS.count("{") == style.CSS.count("}")
