"""Numbers for axes: ticks, labels, smoothing, and thinning that keeps extremes."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

import numpy as np

from sg4v_jax.errors import ConfigError

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def ticks(low: float, high: float, *, count: int = 5, whole: bool = False) -> np.ndarray:
    """Round numbers inside `[low, high]`, about `count` of them, as f64[k].

    Steps are 1, 2 or 5 times a power of ten (Heckbert, "Nice Numbers for Graph Labels", Graphics
    Gems, 1990). `whole` allows integers only, for steps and counts.
    `ticks(0.13, 0.94)` is `[0.2, 0.4, 0.6, 0.8]`.
    """
    if not high > low:
        return np.array([low], np.float64)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    # the factor nearest in ratio: limits at the geometric means of neighbours
    step = power * (1, 2, 5, 10)[sum(rough / power >= math.sqrt(m) for m in (2, 10, 50))]
    if whole:
        step = max(step, 1.0)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # integer multiples: adding a step again and again would give 0.30000000000000004
    places = max(0, -math.floor(math.log10(step)))
    return np.array([round(k * step, places) for k in range(first, last + 1)], np.float64)


def log_ticks(low: float, high: float, *, count: int = 6) -> np.ndarray:
    """Round numbers inside `[low, high]` for a logarithmic axis; both ends above zero.

    Powers of ten where the range spans three or more, else also their multiples by 2 and 5, and
    `ticks` for ranges too short for those. `log_ticks(0.02, 3)` is `[.02, .05, .1, .2, .5, 1, 2]`.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    tens = np.array([10.0**e for e in range(first, last + 1)])
    decades = tens[(tens >= low * (1 - 1e-9)) & (tens <= high * (1 + 1e-9))]
    if len(decades) >= 3:
        return decades[:: max(1, math.ceil(len(decades) / count))]
    fine = (tens[:, None] * np.array([1.0, 2.0, 5.0])).ravel()
    fine = fine[(fine >= low * (1 - 1e-9)) & (fine <= high * (1 + 1e-9))]
    return fine if len(fine) >= 3 else ticks(low, high)


def labels(values: np.ndarray, *, log: bool = False) -> list[str]:
    """The tick values as text, all with the same number of decimals.

    `[0, 0.5, 1]` gives `0.0 0.5 1.0`, but with `log` each has what it needs, `0.01 0.1 1`. Numbers
    that are very small or very large are written as `2×10⁻⁵`; thousands are grouped by commas.
    """
    values = np.asarray(values, np.float64)
    if log:
        return [number(v) for v in values]
    largest = float(np.max(np.abs(values), initial=0.0))
    if largest >= 1e6 or 0 < largest < 1e-3:
        return [scientific(v) for v in values]
    gaps = np.diff(values)
    step = float(np.min(gaps)) if len(gaps) else largest
    places = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return [_minus(f"{v:,.{places}f}") for v in values]


def scientific(value: float) -> str:
    """`value` in powers of ten, at most three digits: 2e-5 gives `2×10⁻⁵`, 1e6 gives `10⁶`."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    power = "10" + str(int(exponent)).translate(_SUPERSCRIPT)
    if mantissa in ("1", "-1"):
        return _minus(mantissa[:-1] + power)
    return _minus(f"{mantissa}×{power}")


def number(value: float) -> str:
    """One number for a table or a sentence: four digits, commas in whole numbers, `n/a` for nan.

    12345 gives `12,345`, 0.123456 gives `0.1235`, 1.5e-7 gives `1.5×10⁻⁷`.
    """
    if not math.isfinite(value):
        return "n/a" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if isinstance(value, (int, np.integer)):
        return _minus(f"{value:,}")
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return scientific(value)
    places = 0 if value == 0 else max(0, 3 - math.floor(math.log10(abs(value))))
    shown = f"{value:,.{places}f}"
    return _minus(shown.rstrip("0").rstrip(".") if "." in shown else shown)


def numbers(values: Sequence[float]) -> list[str]:
    """A column of numbers as text: as `number`, but with the same decimals where sizes are alike.

    `[0.347, 0.2406]` gives `0.3470 0.2406`; `[12, 3]` gives `12 3`; `[12345.6, 0.1]` is left as
    `number` writes it.
    """
    shown = [number(v) for v in values]
    places = max((len(s.partition(".")[2]) for s in shown), default=0)
    plain = all(re.fullmatch(r"−?[\d,]+(\.\d+)?", s) for s in shown)
    if not plain or not places or max(abs(v) for v in values) * 10**places >= 1e6:
        return shown
    return [_minus(f"{v:,.{places}f}") for v in values]


def thin(y: np.ndarray, *, limit: int = 400) -> np.ndarray:
    """Indices i64[k], k <= `limit`, that draw `y` f64[n] with its extremes.

    The inner points are cut into equal stretches and each gives its lowest and its highest point;
    the first and the last point always stay. `thin([0, 9, 1, 1, -5, 2, 0], limit=4)` is
    `[0, 1, 4, 6]`.
    """
    n = len(y)
    if n <= limit:
        return np.arange(n)
    edges = np.linspace(1, n - 1, (limit - 2) // 2 + 1).astype(np.int64)
    keep = [0, n - 1]
    for start, stop in itertools.pairwise(edges):
        stretch = y[start:stop]
        keep += [start + int(np.argmin(stretch)), start + int(np.argmax(stretch))]
    return np.unique(np.array(keep, np.int64))


def ema(y: np.ndarray, *, decay: float) -> np.ndarray:
    """The exponential moving average of `y` f64[n], without pull towards zero at the start.

    `m[i] = decay * m[i-1] + (1 - decay) * y[i]`, divided by `1 - decay**(i+1)` (the bias correction
    of Kingma & Ba, "Adam", 2015, section 3). `ema([4, 0], decay=0.5)` is `[4, 1.333]`.

    Raises:
      ConfigError: `decay` is not in [0, 1).
    """
    if not 0 <= decay < 1:
        raise ConfigError(f"smooth={decay!r} is not in [0, 1)", mend="use 0.9, or None for no line")
    average, weight = 0.0, 0.0
    smoothed = np.empty(len(y))
    for i, value in enumerate(np.asarray(y, np.float64).tolist()):
        average = decay * average + (1 - decay) * value
        weight = decay * weight + (1 - decay)
        smoothed[i] = average / weight
    return smoothed


def _minus(shown: str) -> str:
    return shown.replace("-", "−")
