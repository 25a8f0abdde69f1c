"""The statistics of training arms as a table, and as a page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from sg4v_jax.report.html import Page
from sg4v_jax.report.plot import Bar, bar_chart

_INTRO = (
    "Words and sentences are counted as the Penn Treebank splits them; tokens by the run's own "
    "tokenizer. A type-token ratio of a whole arm falls as the arm grows: compare the one of 1,000 "
    "words."
)


def rows(report: Mapping[str, Any]) -> list[list[str]]:
    """A name and each arm's value, as text, for every statistic."""
    arms = report["arms"]
    table = [["texts", *(f"{a['texts']}" for a in arms)]]
    if any(a["left_out"] for a in arms):
        table.append(["rows left out", *(f"{a['left_out']}" for a in arms)])
    for field in ("words", "tokens", "sentences"):
        for part, name in (
            ("mean", "mean"),
            ("median", "median"),
            ("p95", "95 %"),
            ("max", "most"),
        ):
            if field == "sentences" and part != "mean":
                continue
            values = [f"{a[field][part]:.1f}" for a in arms]
            table.append([f"{field}, {name}", *values])
    table.append(["words a sentence", *(f"{a['sentence_words']:.1f}" for a in arms)])
    table.append(["different words", *(f"{a['vocabulary']}" for a in arms)])
    for field, name in (("type_token", "whole"), ("type_token_1000", "1,000 words")):
        table.append([f"type-token ratio, {name}", *(_ratio(a[field]) for a in arms)])
    table.append(["words of time", *(f"{a['temporal']:.1%}" for a in arms)])
    for name in next((a["classes"] for a in arms if a["classes"]), {}):
        table.append([f"{name}s", *(f"{a['classes'][name]:.1%}" for a in arms)])
    for name in arms[0]["limits"]:
        table.append([f"cut at {name}", *(_cut(a["limits"][name]) for a in arms)])
    return table


def as_table(report: Mapping[str, Any]) -> Table:
    """For the terminal, an arm a column."""
    table = Table("", *(a["name"] for a in report["arms"]), title=_title(report))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows(report):
        table.add_row(*row)
    return table


def notes(report: Mapping[str, Any], *, missing: Sequence[str]) -> list[str]:
    """What a reader should know besides: texts in common, what was not counted and why."""
    arms, said = report["arms"], []
    if len(arms) > 1:
        shared, same = report["shared_ids"], report["equal_texts"]
        said.append(f"{shared} ids are in all arms; {same} of them have one text in all")
    if arms[0]["tagger"]:
        most = max(a["tagged"] for a in arms)
        said.append(f"parts of speech by {arms[0]['tagger']}, of at most {most} texts an arm")
    else:
        said.append("no parts of speech: pip install 'sg4v_jax[captions]'")
    return said + [f"not counted: {name} (no tokenizer given)" for name in missing]


def write_page(
    path: str | os.PathLike, report: Mapping[str, Any], *, remarks: Sequence[str]
) -> None:
    """Writes the page, one HTML file."""
    arms = report["arms"]
    page = Page("Texts of training arms", subtitle=", ".join(a["name"] for a in arms))
    page.section("Side by side", intro=_INTRO)
    names, align = ["statistic", *(a["name"] for a in arms)], "l" + "r" * len(arms)
    page.table(names, rows(report), caption=_title(report), align=align)
    for remark in remarks:
        page.note(remark)
    page.section("How long")
    for field in ("words", "tokens"):
        bars = [Bar(a["name"], a[field]["mean"]) for a in arms]
        chart = bar_chart(bars, title=f"{field} a text, mean", x_label=field, value_format=".1f")
        alt = "; ".join(f"{bar.name}: {bar.value:.1f}" for bar in bars)
        page.figure(chart, caption=f"Mean {field} of a text.", alt=alt)
    cut = [(n, a) for n in arms[0]["limits"] for a in arms if a["limits"][n]["over"]]
    if cut:
        page.section("What models cut off")
        bars = [Bar(f"{a['name']}, {n}", a["limits"][n]["share"]) for n, a in cut]
        chart = bar_chart(bars, title="texts longer than", x_label="of texts", value_format=".0%")
        alt = "; ".join(f"{bar.name}: {bar.value:.1%}" for bar in bars)
        page.figure(chart, caption="Share of texts that a model does not see whole.", alt=alt)
    page.section("Files")
    page.facts({a["name"]: a["source"] for a in arms})
    page.save(path)


def _title(report: Mapping[str, Any]) -> str:
    return f"{len(report['arms'])} arms" if len(report["arms"]) > 1 else "one arm"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _cut(found: Mapping[str, float]) -> str:
    return f"{found['share']:.1%} ({found['over']})"
