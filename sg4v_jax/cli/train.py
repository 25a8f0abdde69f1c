"""sg4v train --config=FILE --workdir=DIR [--config.FIELD=VALUE ...]

Trains by a config file, or goes on with the run that DIR holds: the same command resumes exactly
where the last checkpoint stands. SIGTERM and Ctrl-C save and stop. DIR is then a model directory
for `sg4v chat --model=DIR`.
"""

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from sg4v_jax.cli.exit_codes import STOPPED
from sg4v_jax.errors import ConfigError

_CONFIG = config_flags.DEFINE_config_file("config", None, "the run's config", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "where checkpoints and logs go")


def main(argv: list[str]) -> int:
    if _CONFIG.value is None or not _WORKDIR.value:
        raise ConfigError("train needs --config and --workdir", mend="see `sg4v train --help`")
    from sg4v_jax.cli.runtime import start_jax

    start_jax()
    from sg4v_jax.tasks import video_sft

    console = Console()
    outcome = video_sft.train(_CONFIG.value, folder=_WORKDIR.value, console=console)
    if not outcome.finished:
        console.print(f"saved at step {int(outcome.state.step)}; the same command goes on")
        return STOPPED
    console.print(f"done; try: sg4v chat --model={_WORKDIR.value} --video=FILE", markup=False)
    return 0
