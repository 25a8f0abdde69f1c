"""sg4v eval score --benchmark=NAME --data=DIR --predictions=FILE_OR_DIR --out=DIR [--judge=...]

Scores predictions on tempcompass, videobench, mvbench or videochatgpt: those of `sg4v eval predict`,
or the benchmark's own prediction files. Needs no model and no accelerator. Writes OUT/scores.json,
OUT/rows.jsonl, and the benchmark's own result files in OUT/official.

Answers that no rule can read go to a judge: none (they count as the official scripts count them
without one), replay:PATH (stored replies), or openai:URL,MODEL with the key in OPENAI_API_KEY.
"""

from absl import flags
from rich.console import Console
from rich.table import Table

from sg4v_jax.errors import ConfigError

_BENCHMARK = flags.DEFINE_string("benchmark", None, "tempcompass|videobench|mvbench|videochatgpt")
_DATA = flags.DEFINE_string("data", None, "the benchmark's folder, as downloaded")
_PREDICTIONS = flags.DEFINE_string("predictions", None, "a run's folder, or prediction files")
_OUT = flags.DEFINE_string("out", None, "folder for the scores")
_PROTOCOL = flags.DEFINE_enum(
    "protocol", None, ["sg4v", "official"], "whose rules (the run's, else official)"
)
_TASKS = flags.DEFINE_list("tasks", [], "score only these (what the run asked)")
_LIMIT = flags.DEFINE_integer("limit", None, "questions of each task (the run's)", lower_bound=1)
_JUDGE = flags.DEFINE_string("judge", "none", "none, replay:PATH or openai:URL,MODEL")
_BUDGET = flags.DEFINE_integer("budget", None, "most requests to the judge", lower_bound=1)
_SKIP = flags.DEFINE_bool("skip_missing", False, "leave out what has no answer, instead of wrong")
_STRICT = flags.DEFINE_bool("strict", False, "stop if a question has no answer")
_ANSWERS = flags.DEFINE_string("answers", None, "videobench: folder of question files with answers")
_Q1 = flags.DEFINE_bool("q1_twice", False, "videochatgpt: show the judge question 1 twice")
_MODEL = flags.DEFINE_string("model_name", "", "of the model, where the predictions do not tell")


def main(argv: list[str]) -> int:
    if not (_BENCHMARK.value and _DATA.value and _PREDICTIONS.value and _OUT.value):
        raise ConfigError(
            "eval score needs --benchmark, --data, --predictions and --out", mend="see its --help"
        )
    from sg4v_jax.evals.score import Options, score

    found = score(
        _BENCHMARK.value,
        data=_DATA.value,
        predictions=_PREDICTIONS.value,
        out=_OUT.value,
        options=Options(
            protocol=_PROTOCOL.value,
            tasks=tuple(_TASKS.value),
            limit=_LIMIT.value,
            judge=_JUDGE.value,
            budget=_BUDGET.value,
            strict=_STRICT.value,
            skip_missing=_SKIP.value,
            answers=_ANSWERS.value,
            q1_twice=_Q1.value,
            model=_MODEL.value,
        ),
    )
    _show(found, Console())
    return 0


def _show(found: dict, console: Console) -> None:
    table = Table("task", "group", "sum", "rows", "score")
    for c in found["cells"]:
        group, score = c["group"] or "", _number(c["score"])
        table.add_row(
            c["task"] if c["group"] is None else "",
            group,
            str(c["correct"]),
            str(c["total"]),
            score,
        )
    console.print(table)
    for name, value in found["averages"].items():
        console.print(f"{name}: {_number(value)}", highlight=False, markup=False)
    headline, judge = found["headline"], found["judge"]
    for warning in found["counts"]["warnings"]:
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    if found["missing"]:
        console.print(
            f"{len(found['missing'])} rows have no answer; scores.json lists them", style="yellow"
        )
    console.print(
        f"{found['benchmark']} ({found['protocol']}): {headline['name']}: "
        f"{_number(headline['value'])}; judge {judge['name']}, {judge['unjudged']} unjudged",
        style="bold",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"
