"""sg4v data show --config=FILE --out=DIR [--n=3] [--start=ROW] [--config.FIELD=VALUE ...]

Shows training rows as the model gets them. Writes, for each row, DIR/row_0000.txt (its samples in
words, trained ones in [[ ]], where the visual tokens lie, what is scored and how much it weighs)
and PNG files (each sample's picture, and the tiles cut from it); prints a short form.
"""

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from sg4v_jax.errors import ConfigError

_CONFIG = config_flags.DEFINE_config_file("config", None, "the run's config", lock_config=True)
_OUT = flags.DEFINE_string("out", None, "folder for the text and the pictures")
_N = flags.DEFINE_integer("n", 3, "how many rows", lower_bound=1)
_START = flags.DEFINE_integer("start", 0, "first row, counted over all epochs", lower_bound=0)


def main(argv: list[str]) -> int:
    if _CONFIG.value is None or not _OUT.value:
        raise ConfigError("data show needs --config and --out", mend="see `sg4v data show --help`")
    from sg4v_jax.cli.runtime import start_jax

    start_jax()
    from sg4v_jax.data import show
    from sg4v_jax.tasks import run_setup

    console = Console()
    settings = run_setup.model_settings(_CONFIG.value)
    rows = run_setup.build_rows(_CONFIG.value, settings, console=console)
    for view in show.write_rows(rows, start=_START.value, count=_N.value, out=_OUT.value):
        console.print(show.as_panel(view))
    console.print(f"written to {_OUT.value}", markup=False)
    return 0
