"""What a build or a swap made, in words for the terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def told(report: Mapping[str, Any], *, out: str | os.PathLike) -> str:
    """A line an arm, then what was left out and how to mend it."""
    lines = []
    if "replaced" in report:
        lines.append(
            f"{report['replaced']} of {report['records']} records replaced (caption samples by "
            f"the rule {report['settings']['caption_samples']!r}), {report['untouched']} "
            "untouched to the byte"
        )
    for name, arm in report["arms"].items():
        line = f"{out}/{arm['file']}: {report['records']} records"
        line += f", {arm['words']:.1f} words a caption"
        if limit := report["settings"].get("limit"):
            line += f", {arm['tokens']:.1f} tokens, {arm['over_limit']} above {limit}"
        if list(arm["styles"]) != [name]:
            line += " (" + ", ".join(f"{k}: {n}" for k, n in arm["styles"].items()) + ")"
        lines.append(line)
    if report["settings"].get("videos_checked") is False:
        lines.append("videos were not looked for (--videos)")
    if passed := report.get("passed_over"):
        lines.append(f"{passed} passed over by --only")
    if decoded := report.get("decoded_as_fallback"):
        lines.append(f"{decoded} rows were not UTF-8 and read by the fallback encoding")
    if report["left_out"]:
        count = sum(kind["count"] for kind in report["left_out"].values())
        lines.append(f"{count} rows left out of all arms, named in problems.jsonl:")
        for kind, said in report["left_out"].items():
            lines.append(f"  {kind}: {said['count']}, first {said['first'][0]}; {said['mend']}")
    for kind, count in report.get("short_from_left_out", {}).items():
        lines.append(f"  rows of --short_from, {kind}: {count}")
    if len(report["arms"]) > 1:
        lines.append(f"only text differs between the arms: {out}/diff.html")
    return "\n".join(lines)
