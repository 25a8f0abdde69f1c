"""The paper's first experiment: the caption samples of a conversation mix, and they alone, give
way to other captions, one for one; every other byte of the file stays (section 6.5 of the original
system's specification: the 28K caption samples in VideoChatGPT-100K).

    OUT/ARM.json        the mix with new captions, an arm each
    OUT/captions/       the captions as built before they went in (`build`)
    OUT/build.json      the rule, counts and checksums; written last

Where there are more captions than samples, as many as there are samples are drawn by the seed,
the same in every arm, and keep their order. The videos of the samples go with their captions.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import random
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import sg4v_jax
from sg4v_jax import files
from sg4v_jax.caption.bridge import recognise, slices, spans, styles
from sg4v_jax.caption.bridge.assembly import Limits
from sg4v_jax.caption.bridge.build import build, done_before
from sg4v_jax.caption.bridge.output import Output
from sg4v_jax.caption.bridge.work import Making
from sg4v_jax.data.readers.source import parse_json
from sg4v_jax.errors import RecordError

_SHOWN = 3
_BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Mix:
    """A conversation mix: its open file, its records' stretches, and which are caption samples."""

    name: str
    file: BinaryIO
    size: int
    records: tuple[tuple[int, int], ...]
    samples: tuple[int, ...]
    format: str

    def bytes(self, start: int, end: int) -> bytes:
        """Some bytes of the file."""
        self.file.seek(start)
        return self.file.read(end - start)

    def raw(self, number: int) -> bytes:
        """The bytes of a record."""
        return self.bytes(*self.records[number])


@contextlib.contextmanager
def open_mix(name: str | os.PathLike, rule: recognise.Rule) -> Iterator[Mix]:
    """A mix, its caption samples told by `rule`.

    Raises:
      RecordError: it cannot be read, a record is no JSON object, or records of two formats.
    """
    if slices.layout_of(name) == "csv":
        raise RecordError(f"{name}: no conversation mix", mend="give a JSON or JSONL file")
    with _opened(name) as mix:
        samples, kinds = [], set()
        for number in range(len(mix.records)):
            where = f"{name}: record {number + 1}"
            record = parse_json(_text(mix.raw(number), where), where=where)
            if not isinstance(record, dict):
                raise RecordError(f"{where}: expected an object", mend="give each as { }")
            kinds.add("videochatgpt_json" if "q" in record else "llava_json")
            if rule(record):
                samples.append(number)
        if len(kinds) > 1:
            raise RecordError(f"{name}: records of two formats", mend="swap one format at a time")
        form = kinds.pop() if kinds else "llava_json"
        yield dataclasses.replace(mix, samples=tuple(samples), format=form)


@contextlib.contextmanager
def _opened(name: str | os.PathLike) -> Iterator[Mix]:
    layout, size = slices.layout_of(name), slices.cut(name).size  # says what is wrong as a whole
    with files.path(name).open("rb") as f:
        f.seek(len(spans.BOM) if f.read(len(spans.BOM)) == spans.BOM else 0)
        found = spans.elements(f, where=str(name)) if layout == "list" else spans.lines(f)
        yield Mix(str(name), f, size, tuple(found), (), "")


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as e:
        raise RecordError(f"{where}: not UTF-8 ({e})", mend="save the file as UTF-8") from e


def swap(
    mix: str | os.PathLike,
    captions: str | os.PathLike,
    making: Making,
    *,
    out: str | os.PathLike,
    rule: recognise.Rule,
    expected: int | None = None,
    short_from: str | os.PathLike | None = None,
    limits: Limits | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Writes the mix once for each arm, its caption samples replaced.

    Args:
      mix: LLaVA JSON or JSONL, or VideoChatGPT's q and a.
      captions: as for `build`.
      making: what captions become; its target is set to the mix's format.
      out: the folder.
      rule: tells caption samples.
      expected: how many there should be; a multiple of 1000 is taken as rounded.
      short_from, limits, workers: as for `build`.

    Returns:
      What OUT/build.json says.

    Raises:
      RecordError: no caption samples or another number than expected, or fewer captions.
      WorkdirError: `out` holds another swap.
      What `build` raises.
    """
    with open_mix(mix, rule) as opened:
        _check_count(opened, rule, expected)
        making = dataclasses.replace(making, target=opened.format)
        built = build(
            captions,
            making,
            out=f"{out}/captions",
            short_from=short_from,
            limits=limits,
            workers=workers,
        )
        settings = {
            "mix": {"file": files.path(mix).name, "sha256": slices.cut(mix).sha256},
            "caption_samples": rule.text,
            "captions": built["settings"],
            "version": sg4v_jax.__version__,
        }
        if (done := done_before(files.path(out), settings)) is not None:
            return done
        wanted = len(opened.samples)
        if built["records"] < wanted:
            raise RecordError(
                f"{captions}: {built['records']} captions for {wanted} caption samples of {mix}",
                mend="give at least as many captions as the mix has caption samples",
            )
        drawn = random.Random(f"{making.seed}/swap").sample(range(built["records"]), wanted)
        arms = {
            name: _arm(opened, arm, name, chosen=sorted(drawn), out=str(out))
            for name, arm in built["arms"].items()
        }
    report = {
        "settings": settings,
        "records": len(opened.records),
        "replaced": wanted,
        "untouched": len(opened.records) - wanted,
        "captions_left": built["records"] - wanted,
        "left_out": built["left_out"],
        "arms": arms,
    }
    files.write_json(f"{out}/build.json", report)
    return report


def _arm(mix: Mix, arm: Mapping[str, Any], name: str, *, chosen: list[int], out: str) -> dict:
    """Writes one arm and proves it; gives what build.json says of it."""
    file = styles.slug(name) + files.path(mix.name).suffix
    new = functools.partial(_records, f"{out}/captions/{arm['file']}", chosen)
    with Output(out, [file]) as output:
        for piece in _swapped(mix, new()):
            output.write(file, piece)
    return dict(arm) | {"file": file, "sha256": check(mix, f"{out}/{file}", captions=new())}


def _check_count(mix: Mix, rule: recognise.Rule, expected: int | None) -> None:
    found = len(mix.samples)
    rounding = 500 if expected and expected % 1000 == 0 else 0
    if found and (expected is None or abs(found - expected) <= rounding):
        return
    shown = [f"\n    {mix.raw(n)[:100]!r}" for n in mix.samples[:_SHOWN]]
    raise RecordError(
        f"{mix.name}: {found} of {len(mix.records)} records are caption samples by the rule "
        f"{rule.text!r}" + (f", {expected} expected" if expected else "") + "".join(shown),
        mend="tell them by another rule (--caption_samples), or mend --expected",
    )


def _records(name: str, chosen: list[int]) -> Iterator[bytes]:
    """The chosen records of a built arm, in order, a line each."""
    with files.path(name).open("rb") as f:
        lines = (line.rstrip(b",\n") for line in f if line.strip() not in (b"[", b"]"))
        wanted = iter(chosen)
        at = next(wanted, None)
        for number, line in enumerate(lines):
            if number == at:
                yield line
                at = next(wanted, None)


def _swapped(mix: Mix, new: Iterator[bytes]) -> Iterator[bytes]:
    """The mix's bytes with new records in the places of its samples."""
    at = 0
    for number in mix.samples:
        start, end = mix.records[number]
        yield from _blocks(mix, at, start)
        yield laid_out(next(new), like=mix.raw(number))
        at = end
    yield from _blocks(mix, at, mix.size)


def _blocks(mix: Mix, start: int, end: int) -> Iterator[bytes]:
    for at in range(start, end, _BLOCK):
        yield mix.bytes(at, min(end, at + _BLOCK))


def laid_out(record: bytes, *, like: bytes) -> bytes:
    """A record of one line, indented as another is; with `\\r\\n` where that has it."""
    lines = like.split(b"\n")
    if len(lines) < 2:
        return record
    closing = len(lines[-1]) - len(lines[-1].lstrip())
    step = len(lines[1]) - len(lines[1].lstrip()) - closing
    text = json.dumps(json.loads(record), ensure_ascii=False, indent=max(step, 0))
    end = "\r\n" if lines[0].endswith(b"\r") else "\n"
    return text.replace("\n", end + " " * closing).encode()


def check(mix: Mix, name: str, *, captions: Iterator[bytes]) -> str:
    """Proves that file `name` is `mix` with `captions` in place of its samples; gives its sha256.

    Raises:
      RecordError: it is not.
    """
    if found := differences(mix, name, captions=captions):
        raise RecordError(f"{name}: {found[0]} differs from {mix.name}", mend="report this")
    return slices.cut(name).sha256


def differences(
    mix: Mix, name: str | os.PathLike, *, captions: Iterator[bytes] | None = None
) -> list[str]:
    """Where file `name` is not `mix` to the byte, but for the caption samples' records.

    Args:
      mix: the mix as it was.
      name: the new file.
      captions: what the samples' records should now hold, in order; None: anything.

    Raises:
      RecordError: the new file cannot be read.
    """
    with _opened(name) as new:
        if len(new.records) != len(mix.records):
            return [f"the count ({len(new.records)} records, {len(mix.records)} before)"]
        found, samples = [], set(mix.samples)
        at_mix = at_new = 0
        for number, (old, now) in enumerate(zip(mix.records, new.records, strict=True)):
            same = mix.bytes(at_mix, old[0]) == new.bytes(at_new, now[0])
            if number not in samples:
                same &= mix.raw(number) == new.raw(number)
            elif captions is not None:
                same &= json.loads(new.raw(number)) == json.loads(next(captions))
            if not same:
                found.append(f"record {number + 1}")
            at_mix, at_new = old[1], now[1]
        if mix.bytes(at_mix, mix.size) != new.bytes(at_new, new.size):
            found.append("the end")
        return found
