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
from collections.abc import Iterator
from typing import Any

import sg4v_jax
from sg4v_jax import files
from sg4v_jax.caption.bridge import recognise, slices, spans, styles
from sg4v_jax.caption.bridge.assembly import Limits
from sg4v_jax.caption.bridge.build import build
from sg4v_jax.caption.bridge.output import Output
from sg4v_jax.caption.bridge.work import Making
from sg4v_jax.data.readers.source import parse_json
from sg4v_jax.errors import RecordError

_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Mix:
    """A conversation mix as bytes: its records' stretches, and which are caption samples."""

    name: str
    content: Any
    records: tuple[tuple[int, int], ...]
    samples: tuple[int, ...]
    format: str

    def raw(self, number: int) -> bytes:
        """The bytes of a record."""
        start, end = self.records[number]
        return bytes(self.content[start:end])


@contextlib.contextmanager
def open_mix(name: str | os.PathLike, rule: recognise.Rule) -> Iterator[Mix]:
    """A mix, its caption samples told by `rule`.

    Raises:
      RecordError: it cannot be read, a record is no JSON object, or records of two formats.
    """
    layout = slices.layout_of(name)
    if layout == "csv":
        raise RecordError(f"{name}: no conversation mix", mend="give a JSON or JSONL file")
    slices.cut(name)  # says what is wrong with the file as a whole
    with files.path(name).open("rb") as f, slices.mapped(f) as content:
        records = tuple(_spans_of(content, layout, str(name)))
        samples, kinds = [], set()
        for number, (start, end) in enumerate(records):
            where = f"{name}: record {number + 1}"
            record = parse_json(_text(content[start:end], where), where=where)
            if not isinstance(record, dict):
                raise RecordError(f"{where}: expected an object", mend="give each as {{ }}")
            kinds.add("videochatgpt_json" if "q" in record else "llava_json")
            if rule(record):
                samples.append(number)
        if len(kinds) > 1:
            raise RecordError(f"{name}: records of two formats", mend="swap one format at a time")
        yield Mix(str(name), content, records, tuple(samples), *kinds or {"llava_json"})


def _text(data, where: str) -> str:
    try:
        return bytes(data).decode()
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
        wanted = len(opened.samples)
        if built["records"] < wanted:
            raise RecordError(
                f"{captions}: {built['records']} captions for {wanted} caption samples of {mix}",
                mend="give at least as many captions as the mix has caption samples",
            )
        drawn = random.Random(f"{making.seed}/swap").sample(range(built["records"]), wanted)
        chosen, arms = sorted(drawn), {}
        ending = files.path(mix).suffix
        for name, told in built["arms"].items():
            file = styles.slug(name) + ending
            new = functools.partial(_records, f"{out}/captions/{told['file']}", chosen)
            with Output(out, [file]) as output:
                for piece in _swapped(opened, new()):
                    output.write(file, piece)
            sha256 = check(opened, f"{out}/{file}", captions=new())
            arms[name] = {k: v for k, v in told.items() if k != "file"} | {
                "file": file,
                "sha256": sha256,
            }
        report = {
            "settings": {
                "mix": {"file": files.path(mix).name, "sha256": slices.cut(mix).sha256},
                "caption_samples": rule.text,
                "version": sg4v_jax.__version__,
            },
            "records": len(opened.records),
            "replaced": wanted,
            "untouched": len(opened.records) - wanted,
            "captions_left": built["records"] - wanted,
            "left_out": built["left_out"],
            "arms": arms,
        }
    files.write_json(f"{out}/build.json", report)
    return report


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
        yield bytes(mix.content[at:start])
        yield laid_out(next(new), like=mix.raw(number))
        at = end
    yield bytes(mix.content[at:])


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
    with files.path(name).open("rb") as f, slices.mapped(f) as content:
        new = tuple(_spans_of(content, slices.layout_of(name), str(name)))
        if len(new) != len(mix.records):
            return [f"the count ({len(new)} records, {len(mix.records)} before)"]
        found, samples = [], set(mix.samples)
        at_mix = at_new = 0
        for number, (old, now) in enumerate(zip(mix.records, new, strict=True)):
            same = bytes(mix.content[at_mix : old[0]]) == bytes(content[at_new : now[0]])
            if number not in samples:
                same &= mix.raw(number) == bytes(content[slice(*now)])
            elif captions is not None:
                same &= json.loads(bytes(content[slice(*now)])) == json.loads(next(captions))
            if not same:
                found.append(f"record {number + 1}")
            at_mix, at_new = old[1], now[1]
        if bytes(mix.content[at_mix:]) != bytes(content[at_new:]):
            found.append("the end")
        return found


def _spans_of(content, layout: str, name: str) -> Iterator[tuple[int, int]]:
    skip = len(slices.BOM) if bytes(content[:3]) == slices.BOM else 0
    if layout == "list":
        return spans.elements(content, start=skip, where=name)
    return spans.lines(content, start=skip)
