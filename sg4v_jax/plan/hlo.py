"""Reads the optimized HLO text that XLA prints: computations, instructions, who calls whom.

Only what a plan needs is read: names, opcodes, shapes, called computations, the compiler's own
estimate of cycles, channels and groups of collectives. An instruction may spread over several lines
(the program of a Pallas kernel does, and such a line may begin with a brace); a computation begins
at a line of its own and lasts until the next begins.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Mapping, Sequence

BYTES = {
    "pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "s32": 4, "u32": 4,
    "s64": 8, "u64": 8, "f16": 2, "bf16": 2, "f32": 4, "f64": 8, "c64": 8, "c128": 16,
    "f8e4m3fn": 1, "f8e5m2": 1, "f8e4m3b11fnuz": 1, "token": 0, "opaque": 0,
}  # fmt: skip

ASYNC = ("async-start", "call-start")  # what runs beside its caller, on a SparseCore for example

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*-> .*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$", re.DOTALL)
_OPCODE = re.compile(r"(?:^|[\s)}\]])([a-z][\w\-]*)\(")
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,]*)\]")
_CALLED = re.compile(r"\b(calls|to_apply|body|condition|branch_computations|true_computation|"
                     r"false_computation)=(\{[^}]*\}|%?[\w.\-]+)")  # fmt: skip
_NAME = re.compile(r"%?([\w.\-]+)")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction; `text` is all that stands behind its `=`."""

    name: str
    opcode: str
    shape: str
    text: str

    @property
    def arrays(self) -> list[tuple[str, tuple[int, ...]]]:
        """(dtype, dimensions) of each array of the result."""
        return arrays_of(self.shape)

    @property
    def operands(self) -> list[str]:
        """Names of the operands."""
        start = len(self.shape) + self.text[len(self.shape) :].index("(") + 1
        inside = self.text[start : self.text.find(")", start)]
        return re.findall(r"%([\w.\-]+)", inside)

    @functools.cached_property
    def called(self) -> dict[str, list[str]]:
        """Computations by the attribute that names them: `calls`, `body`, `condition` ..."""
        found = {}
        for key, names in _CALLED.findall(self.text):
            found[key] = _NAME.findall(names)
        return found

    def attribute(self, pattern: str) -> str | None:
        """The first group of `pattern` in the text, None where it is not."""
        match = re.search(pattern, self.text)
        return match[1] if match else None

    @property
    def cycles(self) -> int:
        """What the compiler thinks that it takes; 0 where it says nothing."""
        return int(self.attribute(r'"estimated_cycles":"(\d+)"') or 0)


@dataclasses.dataclass(frozen=True)
class Module:
    """A whole program: instructions by computation, and the one that starts."""

    entry: str
    computations: Mapping[str, Sequence[Instruction]]

    def trips(self, loop: Instruction) -> int:
        """How often a `while` runs its body at most: the largest constant of its condition.

        Loops of `lax.scan` and `fori_loop` count from 0 and compare with a constant; one that may
        stop early (decoding) is counted to its bound.
        """
        found = [
            int(value)
            for name in self._reachable(loop.called["condition"][0])
            for i in self.computations[name]
            if i.opcode == "constant"
            and (value := i.attribute(r"^[su](?:32|64)\[\]\S* constant\((\d+)\)"))
        ]
        return max(found, default=1)

    def _reachable(self, name: str) -> list[str]:
        names = [name]
        for current in names:
            for i in self.computations.get(current, ()):
                for called in i.called.values():
                    names += [c for c in called if c not in names]
        return [n for n in names if n in self.computations]

    def walk(self) -> Iterator[tuple[Instruction, float, Sequence[Instruction]]]:
        """Every instruction that runs, how often, and the fusions or calls that it stands in.

        Of a conditional's branches the costliest is taken. What stands within a fusion is given
        too: its cycles are the fusion's, but a collective may stand there.
        """
        yield from self._walk(self.entry, 1.0, ())

    def _walk(self, name, times, inside):
        for i in self.computations.get(name, ()):
            yield i, times, inside
            called = i.called
            if i.opcode == "while":
                trips = self.trips(i)
                for part in (*called["body"], *called["condition"]):
                    yield from self._walk(part, times * trips, inside)
            elif i.opcode == "conditional":
                branches = [b for key in called for b in called[key]]
                costliest = max(branches, key=self.cycles_of)
                yield from self._walk(costliest, times, inside)
            elif i.opcode in ("fusion", "call", *ASYNC):
                for part in called.get("calls", []) + called.get("to_apply", []):
                    yield from self._walk(part, times, (*inside, i))

    def cycles_of(self, name: str | None = None) -> float:
        """Estimated cycles of a computation (the whole program by default), loops unrolled."""
        walk = self._walk(name or self.entry, 1.0, ())
        return sum(i.cycles * times for i, times, inside in walk if not in_fusion(inside))

    def shapes(self, computation: str) -> dict[str, str]:
        """The result shape of each instruction of a computation."""
        return {i.name: i.shape for i in self.computations[computation]}


def in_fusion(inside: Sequence[Instruction]) -> bool:
    """Whether an instruction's cycles are told by a fusion around it."""
    return any(i.opcode == "fusion" for i in inside)


def parse(text: str) -> Module:
    """Reads HLO text.

    >>> parse("ENTRY %main (p: f32[2]) -> f32[2] {\n  ROOT %c = f32[2]{0} copy(%p)\n}").entry
    'main'
    """
    computations: dict[str, list[Instruction]] = {}
    entry, current, waiting = "", None, []

    def finish():
        if waiting and current is not None:
            current.append(_instruction("\n".join(waiting)))
        waiting.clear()

    for line in text.splitlines():
        if not line.startswith(" ") and (header := _HEADER.match(line)):
            finish()
            current = computations.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif _INSTRUCTION.match(line):
            finish()
            waiting.append(line)
        elif waiting and line != "}":
            waiting.append(line)
    finish()
    return Module(entry, computations)


def _instruction(line: str) -> Instruction:
    name, rest = _INSTRUCTION.match(line).groups()
    end = _end_of_shape(rest)
    opcode = _OPCODE.search(rest, end)
    return Instruction(name, opcode[1] if opcode else "", rest[:end], rest)


def _end_of_shape(text: str) -> int:
    """Where the result's shape ends: behind a tuple's closing parenthesis, or at the first space."""
    if not text.startswith("("):
        return max(text.find(" "), 0)
    depth = 0
    for at, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return at + 1
    return len(text)


def arrays_of(shape: str) -> list[tuple[str, tuple[int, ...]]]:
    """(dtype, dimensions) of each array in a shape's text.

    >>> arrays_of("(bf16[2,4]{1,0:T(8,128)}, s32[])")
    [('bf16', (2, 4)), ('s32', ())]
    """
    found = _ARRAY.findall(shape)
    return [(t, tuple(int(n) for n in d.split(",") if n)) for t, d in found if t in BYTES]


def size_of(arrays: Sequence[tuple[str, tuple[int, ...]]]) -> float:
    """Bytes of arrays, without a layout's padding."""
    return sum(BYTES[dtype] * math.prod(dimensions) for dtype, dimensions in arrays)
