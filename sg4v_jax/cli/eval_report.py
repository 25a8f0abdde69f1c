"""sg4v eval report --runs=DIR,DIR,... --out=FILE.html|.md [--data=DIR,...]

Puts scored runs beside the published numbers on one page: averages by name with intervals over
videos, tables by task, runs against each other, what is missing, and examples with their frames.
Folders are those that `sg4v eval score` wrote; several benchmarks may be mixed.
"""

from absl import flags
from rich.console import Console

from sg4v_jax.errors import ConfigError

_RUNS = flags.DEFINE_list("runs", [], "folders that `sg4v eval score` wrote")
_OUT = flags.DEFINE_string("out", None, "the page to write, .html or .md")
_DATA = flags.DEFINE_list("data", [], "folders of the examples' videos, if the runs do not say")


def main(argv: list[str]) -> int:
    folders = [*_RUNS.value, *argv]
    if not folders or not _OUT.value:
        raise ConfigError("eval report needs --runs and --out", mend="see its --help")
    if not _OUT.value.endswith((".html", ".md")):
        raise ConfigError(f"--out={_OUT.value}", mend="write it like --out=report.html or .md")
    from sg4v_jax.evals.report.page import write
    from sg4v_jax.evals.report.runs import read_runs

    console = Console()
    runs = read_runs(folders)
    problems = write(_OUT.value, runs, data=_DATA.value)
    for line in problems:
        console.print(f"no example picture: {line}", style="yellow", markup=False)
    console.print(f"report: {_OUT.value}", markup=False)
    return 0
