"""The proof that arms differ in text alone, beside what was built: diff.json and diff.html."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.caption.bridge.diff import CHECKS, Diff, compare
from sg4v_jax.errors import RecordError
from sg4v_jax.report.html import Page

_LONGEST = 600  # characters of a text that the page shows


def write(out: str | os.PathLike, report: Mapping[str, Any]) -> list[Diff]:
    """Compares the first arm of a build with each other one; nothing where there is one alone.

    Raises:
      RecordError: more than text differs.
    """
    first, *others = [(name, arm["file"]) for name, arm in report["arms"].items()]
    diffs = [
        dataclasses.replace(compare(f"{out}/{first[1]}", f"{out}/{file}"), a=first[1], b=file)
        for _, file in others
    ]
    if not diffs:
        return []
    files.write_json(f"{out}/diff.json", [diff.as_json() for diff in diffs])
    page(diffs).save(f"{out}/diff.html")
    if bad := [diff for diff in diffs if not diff.text_alone]:
        raise RecordError(f"the arms differ in more than text:\n{bad[0]}", mend="report this")
    return diffs


def page(diffs: Sequence[Diff]) -> Page:
    """The comparisons as one page."""
    alone = all(diff.text_alone for diff in diffs)
    title = "Only text differs" if alone else "More than text differs"
    made = Page(title, subtitle="files of training data compared record by record")
    for diff in diffs:
        made.section(f"{os.path.basename(diff.a)} and {os.path.basename(diff.b)}")
        rows = [[name, *_verdict(diff, name)] for name in CHECKS]
        header = ["what", "in both files", "where it differs first"]
        if diff.text_alone:  # then the third column is empty
            header, rows = header[:2], [row[:2] for row in rows]
        made.table(header, rows, caption="All but the learnt text")
        means = [w / max(1, n) for w, n in zip(diff.words, diff.records, strict=True)]
        made.facts(
            {
                "texts that differ": diff.texts,
                "words a text": f"{means[0]:.1f} and {means[1]:.1f}",
            }
        )
        if diff.examples:
            told = [[name, *(_cut(t) for t in texts)] for name, *texts in diff.examples]
            made.table(
                ["record", "first file", "second file"], told, caption="The first texts that differ"
            )
    return made


def _verdict(diff: Diff, name: str) -> tuple[str, str]:
    n = diff.differ[name]
    if name == "records":
        counts = " and ".join(map(str, diff.records)) if n else str(diff.records[0])
        return counts, "; ".join(diff.first.get(name, ())[:1])
    if not n:
        return "the same", ""
    order = " (another order)" if name == "order and ids" and diff.other_order else ""
    return f"{n} differ{order}", diff.first[name][0]


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."
