"""Settings gathered from several places that must agree, and everything wrong said at once."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.errors import CheckpointError, ConfigError
from sg4v_jax.models.clip import CLIPConfig
from sg4v_jax.models.llama import LlamaConfig


def _known() -> dict[str, str]:
    """Every setting that `--set` knows, with its type as it is written in its dataclass."""
    known = {f.name: f.type for f in dataclasses.fields(LlamaConfig)}
    # The fields with a default follow from the kind of tower that a file has.
    told = [f for f in dataclasses.fields(CLIPConfig) if f.default is dataclasses.MISSING]
    known |= {f"tower.{f.name}": f.type for f in told}
    inputs = {f.name: f.type for f in dataclasses.fields(InputSpec) if f.name != "anyres"}
    return known | inputs | {"pinpoints": "pinpoints"}


def parse(settings: Sequence[str]) -> dict[str, Any]:
    """`["rope_theta=500000", "pinpoints=336x672,672x336"]` as typed values.

    Raises:
      ConfigError: an unknown setting (the nearest is offered), or a value of the wrong type.
    """
    known, found = _known(), {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"--set {setting}: not KEY=VALUE with a known key", mend=f"did you mean {near}?"
            )
        try:
            found[key] = _value(text, known[key])
        except ValueError as e:
            raise ConfigError(f"--set {setting}: the value is no {known[key]}") from e
    return found


def _value(text: str, kind: str) -> Any:
    if kind == "pinpoints":
        sizes = [size.split("x") for size in text.split(",")]
        return [[int(width), int(height)] for width, height in sizes]
    if kind.startswith("tuple"):
        return tuple(float(x) for x in text.split(","))
    if kind.startswith("bool"):
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    return {"int": int, "float": float}.get(kind, str)(text)


class Facts:
    """Collects settings; `finish` raises for all that are absent or contradict each other.

    Args:
      where: the source, for messages.
      given: `--set` values; they win over files, but not over the shapes of tensors.
    """

    def __init__(self, *, where: str, given: Mapping[str, Any]):
        self._where, self._given = where, given
        self.absent: list[str] = []
        self.wrong: list[str] = []

    def value(self, key: str, *candidates: Any, shape: Any = None, of: str = "") -> Any:
        """The setting `key`: given, or the first candidate that is there, or what shapes say.

        Args:
          candidates: values from files, best first; None where a file has none.
          shape: what the tensor `of` says, which every other source must agree with.

        Returns:
          The value; None where it is absent, and `finish` will raise.
        """
        stated = [self._given.get(key), *candidates]
        value = next((x for x in stated if x is not None), shape)
        if value is None:
            self.absent.append(key)
        elif shape is not None and value != shape:
            self.wrong.append(f"{key} is {value}, but the shape of {of} says {shape}")
        return value

    def must_be(self, config: Mapping[str, Any], key: str, *allowed: Any) -> None:
        """A setting that this package has one way of; an absent one passes."""
        if config.get(key) is not None and config[key] not in allowed:
            can = " or ".join(map(repr, allowed)) if allowed else "absent"
            self.wrong.append(f"{key} is {config[key]!r}; this package has only {can}")

    def finish(self) -> None:
        """Raises `CheckpointError` if anything was absent or wrong."""
        if self.wrong:
            raise CheckpointError(
                f"{self._where}: settings and tensors do not fit:\n  " + "\n  ".join(self.wrong),
                mend="use the config.json that belongs to these weights",
            )
        if self.absent:
            raise CheckpointError(
                f"{self._where}: no file says {', '.join(self.absent)}, and none is guessed",
                mend="supply " + " ".join(f"--set {key}=..." for key in self.absent),
            )
