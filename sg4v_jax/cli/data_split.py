"""sg4v data split MIX --out=DIR [--mix=181k]

Takes the published mix of one file apart into its named parts: OUT/NAME.json, records in their
order and to the byte. Tells how many each part has and should have; exits with 1 if one has
another number.
"""

from absl import flags
from rich.console import Console
from rich.table import Table

from sg4v_jax.errors import ConfigError

_OUT = flags.DEFINE_string("out", None, "folder to write to")
_MIX = flags.DEFINE_string("mix", "181k", "which mix it is")


def main(argv: list[str]) -> int:
    from sg4v_jax.caption.bridge import split

    if len(argv) != 1 or not _OUT.value:
        raise ConfigError("data split needs a file and --out", mend="see its --help")
    found = split.split(argv[0], split.named(_MIX.value), out=_OUT.value)
    table = Table("part", "records", "expected", "file")
    for part in found:
        table.add_row(part["name"], *(str(part[k]) for k in ("records", "expected", "file")))
    Console().print(table)
    return 0 if all(abs(part["records"] - part["expected"]) <= 500 for part in found) else 1
