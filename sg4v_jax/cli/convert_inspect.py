"""sg4v convert inspect --source=DIR_OR_HUB_ID

Says what a checkpoint is, from its headers alone: layout, parameters by part, dtypes, adapter or
merged, tokenizer, settings, and what is missing or unexpected. Exit code 1 when something is.
"""

from absl import flags
from rich.console import Console
from rich.table import Table

from sg4v_jax.cli.convert_flags import DIFFERS
from sg4v_jax.errors import ConfigError

_SOURCE = flags.DEFINE_string("source", None, "folder, file or hub id")
_REVISION = flags.DEFINE_string("revision", None, "commit, tag or branch of a hub id")


def main(argv: list[str]) -> int:
    if not _SOURCE.value:
        raise ConfigError(
            "convert inspect needs --source", mend="see `sg4v convert inspect --help`"
        )
    from sg4v_jax.weights import inspect_model

    report = inspect_model.inspect(_SOURCE.value, revision=_REVISION.value)
    table = Table(show_header=False, box=None, pad_edge=False)
    for subject, text in report.as_rows():
        table.add_row(subject, text)
    Console().print(table, markup=False)
    return DIFFERS if report.missing or report.unexpected or report.problems else 0
