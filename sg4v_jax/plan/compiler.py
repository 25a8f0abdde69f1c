"""Compiling for a slice that is not there: what came out, or why it does not fit."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping
from typing import Any

import jax

from sg4v_jax.chips import GIB
from sg4v_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A compiled program, as text and numbers. Bytes are of one chip.

    Attributes:
      arguments: state and batch; `temporaries`: all else at the worst moment; `outputs`: what does
        not take the place of an argument; `code`: the program.
      peak: what the compiler itself calls the peak (not the sum, and not always above it).
      seconds: processor time of the compilation.
      shardings: where each output lies.
    """

    text: str
    arguments: int
    temporaries: int
    outputs: int
    code: int
    peak: int
    seconds: float
    shardings: Any

    @property
    def total(self) -> int:
        """The cautious sum, by which we judge."""
        return self.arguments + self.temporaries + self.outputs + self.code


@dataclasses.dataclass(frozen=True)
class NoRoom:
    """The compiler gave up: it needs more memory than a chip has. Bytes; None where it did not say."""

    needed: float | None
    available: float | None
    message: str
    seconds: float


def compile_(lowered: jax.stages.Lowered, *, flags: Mapping[str, str]) -> Compiled | NoRoom:
    """Compiles; the options are those that the function was jitted with, `flags` for messages.

    Raises:
      ConfigError: the compiler refuses a flag, and names it.
    """
    start = time.process_time()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as e:
        message = str(e)
        if message.startswith("RESOURCE_EXHAUSTED"):
            needed, available = sizes_of(message)
            return NoRoom(needed, available, message, time.process_time() - start)
        refused = [name for name in flags if name in message]
        if refused or flags and message.startswith(("INVALID_ARGUMENT", "UNIMPLEMENTED")):
            named = refused[0] if refused else ", ".join(f"{k}={v}" for k, v in flags.items())
            value = f"={flags[refused[0]]}" if refused else ""
            raise ConfigError(
                f"the compiler refuses {named}{value}: {' '.join(message.split())[:300]}",
                mend="leave the flag out, or give it another value (--flags)",
            ) from e
        raise
    memory = compiled.memory_analysis()
    return Compiled(
        text=compiled.as_text(),
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        peak=getattr(memory, "peak_memory_in_bytes", 0),
        seconds=time.process_time() - start,
        shardings=compiled.output_shardings,
    )


def verdict(
    done: Compiled, *, hbm: float, advice: str, memory: Mapping[str, Any]
) -> dict[str, Any]:
    """The part of a report about memory: its plan, and whether it fits."""
    plan = {
        "arguments": done.arguments,
        "temporaries": done.temporaries,
        "outputs": done.outputs,
        "code": done.code,
        "compiler_peak": done.peak,
        "total": done.total,
    }
    over = max(0.0, done.total - hbm)
    told = {"advice": advice} if over else {}
    return {"memory": {**memory, **plan}, "fits": not over, "over": over, **told}


def refusal(done: NoRoom, *, hbm: float, advice: str) -> dict[str, Any]:
    """The part of a report about a program that the compiler could not place."""
    available = done.available or hbm
    return {
        "fits": False,
        "refused": {"needed": done.needed, "available": available},
        "over": done.needed - available if done.needed else None,
        "said": " ".join(done.message.split())[:400],
        "advice": advice,
    }


_SIZE = r"([\d.]+)([KMGT])"
_UNIT = {"K": GIB / 2**20, "M": GIB / 2**10, "G": GIB, "T": GIB * 2**10}


def sizes_of(message: str) -> tuple[float | None, float | None]:
    """Bytes needed and available, of a message about memory; None for what it does not say.

    >>> sizes_of("... HLO temporaries (58.60G) exceeds available HBM (15.75G).")[1] / 2**30
    15.75
    """
    needed = re.search(rf"(?:required[^(]*\({_SIZE}|Used {_SIZE})", message)
    available = re.search(rf"(?:available HBM \({_SIZE}|of {_SIZE} hbm)", message)

    def size(match):
        if not match:
            return None
        number, unit = [g for g in match.groups() if g]
        return float(number) * _UNIT[unit]

    return size(needed), size(available)
