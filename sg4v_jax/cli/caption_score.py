"""sg4v caption score --captions=FILE [--truth=DIR | --judge=SPEC --references=FILES] [--out=FILE]

How good captions are. With the truth of a world data set: recall, precision, order and
hallucination of events, exactly. Elsewhere a judge (openai:URL,MODEL, or replay:FILE) reads them
against reference captions. With references also CIDEr-D, and METEOR with --meteor. Always: what
the captions are made of. Rows that cannot be used are named and counted; then it exits with 1.
"""

from absl import flags
from rich.console import Console
from rich.table import Table

from sg4v_jax.errors import ConfigError

_CAPTIONS = flags.DEFINE_string("captions", None, "captions.jsonl, or JSON with ids and captions")
_TRUTH = flags.DEFINE_string("truth", None, "folder that `world make` made")
_JUDGE = flags.DEFINE_string("judge", None, "openai:URL,MODEL or replay:FILE")
_JUDGE_LOG = flags.DEFINE_string("judge_log", None, "keep the judge's answers here, for replay:")
_REFERENCES = flags.DEFINE_list("references", [], "files of others' captions of the same videos")
_METEOR = flags.DEFINE_bool("meteor", False, "METEOR 1.5; needs Java and pycocoevalcap")
_TOKENS = flags.DEFINE_enum("tokens", "own", ["own", "ptb"], "how CIDEr-D splits words; ptb: Java")
_FIELD = flags.DEFINE_string("field", None, "the captions' field, if not the usual")
_OUT = flags.DEFINE_string("out", None, "write everything to this JSON file")


def main(argv: list[str]) -> int:
    if not _CAPTIONS.value:
        raise ConfigError("caption score needs --captions", mend="see its --help")
    if _TRUTH.value and _JUDGE.value:
        raise ConfigError("--truth and --judge are both given", mend="use one of them")
    if (_JUDGE.value or _METEOR.value) and not _REFERENCES.value:
        raise ConfigError("--judge and --meteor need --references", mend="name a file of them")
    from sg4v_jax import files
    from sg4v_jax.caption import caption_file, score

    fields = (_FIELD.value,) if _FIELD.value else caption_file.DETAILED
    captions = caption_file.read_captions(_CAPTIONS.value, fields=fields)
    references = score.open_references(_REFERENCES.value)
    events, more = None, {}
    if _TRUTH.value:
        events = score.score_world(captions, truth=_TRUTH.value)
    elif _JUDGE.value:
        judge = _judge()
        events = score.score_judged(captions, references=references[0], judge=judge)
        more["judge"] = judge.name
    if references:
        more["agreement"] = score.score_agreement(
            captions, references, tokens=_TOKENS.value, with_meteor=_METEOR.value
        )
    report = score.full_report(captions, events, **more)
    if _OUT.value:
        files.write_json(_OUT.value, report)
    return _show(report, Console())


def _judge():
    from sg4v_jax.caption.captioners import open_captioner
    from sg4v_jax.caption.judge import ReplayJudge

    kind, _, rest = _JUDGE.value.partition(":")
    if kind == "replay":
        return ReplayJudge(rest)
    if kind != "openai":
        raise ConfigError(f"--judge={_JUDGE.value}", mend="use openai:URL,MODEL or replay:FILE")
    model = open_captioner(_JUDGE.value)
    return ReplayJudge(_JUDGE_LOG.value, behind=model) if _JUDGE_LOG.value else model


def _show(report: dict, console: Console) -> int:
    from sg4v_jax.caption.event_scores import MEANING
    from sg4v_jax.caption.score import UNCAPTIONED

    table = Table("score", "value", "95 % interval", "what it is")
    for name, found in report.get("events", {}).items():
        table.add_row(name, f"{found['value']:.3f}", _interval(found), MEANING[name])
    agreement = report.get("agreement", {})
    for name, title in (("cider_d", "CIDEr-D"), ("meteor", "METEOR")):
        if name in agreement:
            found = agreement[name]
            value = found.get("set", found["value"])
            table.add_row(title, f"{value:.3f}", _interval(found), "agreement with references")
    if table.row_count:
        console.print(table)
    made = report["lexical"]
    console.print(
        f"{report['captions']} captions: {made['words']:.1f} words and {made['sentences']:.1f} "
        f"sentences each, {made['vocabulary']} different words, {made['temporal']:.1%} of time"
    )
    if made["classes"]:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in made["classes"].items())
        console.print(f"{shares} (by {made['tagger']})")
    else:
        console.print("parts of speech are not counted: pip install textblob")
    problems = [report["problems"], report.get("event_problems", {}), agreement.get("problems", {})]
    merged = {kind: found for part in reversed(problems) for kind, found in part.items()}
    for kind, found in merged.items():
        console.print(f"{found['count']} {kind}: {'; '.join(found['first'])}", style="yellow")
    return 1 if set(merged) - {UNCAPTIONED} else 0


def _interval(found: dict) -> str:
    low, high = found["low"], found["high"]
    return "–" if low is None or high is None else f"{low:.3f} to {high:.3f}"
