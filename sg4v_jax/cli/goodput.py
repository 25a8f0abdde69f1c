"""sg4v goodput --workdir=DIR

Where the seconds of a training run went, over all its starts: steps that count (the goodput),
waiting for data, saving, evaluating, compiling, starting, steps done again after a loss (lost), and
the time in which nothing ran (down).
"""

from absl import flags
from rich.console import Console

from sg4v_jax.errors import ConfigError

_WORKDIR = flags.DEFINE_string("workdir", None, "of `sg4v train`")


def main(argv: list[str]) -> int:
    if not _WORKDIR.value:
        raise ConfigError("goodput needs --workdir", mend="see `sg4v goodput --help`")
    from sg4v_jax.train import goodput

    goodput.show(_WORKDIR.value, console=Console())
    return 0
