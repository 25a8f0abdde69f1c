"""What stands between a run and a comparison with published numbers, in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sg4v_jax.evals.benchmarks import open_benchmark
from sg4v_jax.evals.report.runs import TITLES, Run

# Parts of `score`'s warnings that the notes tell in their own words.
_TOLD = ("the published file has", "wanted a judge", "have no rating", "is not the published one")
_PROTOCOLS = {
    "sg4v": "as the released scripts of ShareGPT4Video ask and score",
    "official": "as the benchmark's authors ask and score",
}


def of_runs(runs: Sequence[Run]) -> list[str]:
    """The notes of all runs; one that several share is said once, with their names."""
    said: dict[str, list[str]] = {}
    for run in runs:
        for text in of_run(run):
            said.setdefault(text, []).append(run.name)
    return [
        text if len(runs) == 1 else f"{', '.join(names)}: {text}" for text, names in said.items()
    ]


def of_run(run: Run) -> list[str]:
    """Everything about `run` that a reader must know before comparing it; may be empty."""
    found = []
    if foreign := other_files(run):
        found.append(foreign)
    if limit := run.settings.get("limit"):
        found.append(f"Only {limit} questions of each task were asked.")
    if judge := judge_note(run):
        found.append(judge)
    warnings = run.scores["counts"].get("warnings") or []
    found += [f"{w[:1].upper()}{w[1:]}." for w in warnings if not any(k in w for k in _TOLD)]
    missing = run.scores.get("missing") or []
    if missing:
        counted = "left out" if run.scores.get("skip_missing") else "counted as wrong"
        videos = len({m["video"] for m in missing})
        found.append(
            f"{len(missing)} questions about {videos} videos have no answer; they are {counted}."
        )
    return found


def other_files(run: Run) -> str:
    """Whether the question files differ from the published ones; "" if they do not."""
    counts = run.scores["counts"]
    expected, have = counts.get("expected") or {}, counts.get("found") or {}
    differing = [t for t, n in expected.items() if have.get(t, 0) != n]
    if not differing:
        return ""
    want, got = sum(expected.values()), sum(have.get(t, 0) for t in expected)
    title = TITLES.get(run.benchmark, run.benchmark)
    where = "all tasks" if len(differing) == len(expected) else ", ".join(differing)
    return (
        f"These are not the published question files of {title}: {got:,} questions where those "
        f"have {want:,} (they differ in {where}). Nothing here compares with a published number."
    )


def judge_note(run: Run) -> str:
    """Who judged, and whether numbers with that judge compare; "" where no judge was needed."""
    name, unjudged = run.scores["judge"]["name"], run.scores["judge"]["unjudged"]
    judged = sum(r.judged for r in run.rows)
    if not judged and not unjudged:
        return ""
    published = open_benchmark(run.benchmark).JUDGES
    official = " or ".join(published)
    if name == "none":
        unrated = sum(r.rating is None for r in run.rows)
        text = f"No judge: {unjudged} answers that no rule reads"
        if unrated == unjudged:
            text += " have no rating, and their tasks no score"
        elif unrated:
            text += f" count as wrong, but for {unrated} that only a judge can rate (no score)"
        else:
            text += " count as wrong"
        return f"{text}. The published numbers have a judge ({official})."
    text = f"Judged by {name}: {judged} answers; {unjudged} stayed unjudged."
    if name.startswith("replay:"):
        text += f" These are stored replies; they compare if they are those of {official}."
    elif name.removeprefix("openai:") not in published:
        text += f" Published numbers are judged by {official}: not comparable."
    return text


def protocol_words(run: Run) -> str:
    """The protocol's name with what it means."""
    words = _PROTOCOLS.get(run.protocol)
    return f"{run.protocol} ({words})" if words else run.protocol


def facts_of(run: Run) -> Mapping[str, object]:
    """What a run was, for the page."""
    judge = run.scores["judge"]
    facts: dict[str, object] = {
        "model": run.scores["model"],
        "protocol": protocol_words(run),
        "judge": f"{judge['name']}; {judge['unjudged']} answers unjudged",
        "questions": f"{len(run.rows):,} about {len({r.video for r in run.rows}):,} videos",
        "missing": f"{len(run.scores.get('missing') or [])} questions, "
        + ("left out" if run.scores.get("skip_missing") else "counted as wrong"),
    }
    asked = {r.task for r in run.rows}
    if len(asked) < len(open_benchmark(run.benchmark).TASKS):
        facts["tasks"] = ", ".join(dict.fromkeys(r.task for r in run.rows))
    return facts
