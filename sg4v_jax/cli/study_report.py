"""sg4v study report --out=DIR [--pilots=FILE,...]

Reads what `sg4v study run --out=DIR` has left so far and writes DIR/report.html, report.md and
report.json: the verdict, the five rows beside the paper's, paired differences with intervals, gates,
controls, dose curves, examples, compute and pilots. Works on a study that is not finished.
"""

from absl import flags
from rich.console import Console

from sg4v_jax.errors import ConfigError

_OUT = flags.DEFINE_string("out", None, "the study's folder")
_PILOTS = flags.DEFINE_list("pilots", [], "files of pilot runs, beside pilots.jsonl of the folder")


def main(argv: list[str]) -> int:
    if not _OUT.value or argv:
        raise ConfigError("study report needs --out alone", mend="write it like --out=runs/study")
    from sg4v_jax import files
    from sg4v_jax.study import report
    from sg4v_jax.study.verdict import verdict

    found = report.write(_OUT.value, pilots=_PILOTS.value)
    console = Console()
    for paragraph in verdict(found):
        console.print(paragraph, markup=False, highlight=False)
    console.print(f"report: {files.path(_OUT.value) / report.NAMES[0]}", markup=False)
    return 0
