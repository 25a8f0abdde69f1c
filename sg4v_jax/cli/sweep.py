"""sg4v sweep --config=FILE --out=DIR [--jobs=N] [--launcher=local|slice|xpk --settings=FILE]

Trains every run that `sweep()` of a config file names, each in DIR/NAME, and writes one table of
results: DIR/table.json, .csv, .md. `--config.FIELD=VALUE` holds for all runs. Run again, the same
command goes on: what is done stays done, what was stopped resumes. A run that fails is a row with
the reason, and the exit code is 1.

--dry_run prints the commands of all runs; --list tells how far each is. For slices and XPK see
launch/README.md.
"""

import shlex

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from sg4v_jax.errors import ConfigError

_CONFIG = config_flags.DEFINE_config_file("config", None, "the runs' config", lock_config=True)
_OUT = flags.DEFINE_string("out", None, "folder of this sweep; gs://... where slices train")
_JOBS = flags.DEFINE_integer("jobs", 1, "runs at a time", lower_bound=1)
_LAUNCHER = flags.DEFINE_enum("launcher", "local", ["local", "slice", "xpk"], "where runs train")
_SETTINGS = flags.DEFINE_string("settings", None, "for slice and xpk: file of launch/tpu.sh")
_KEEP = flags.DEFINE_bool("keep_slices", False, "do not delete the slices when all is done")
_METRICS = flags.DEFINE_list("metrics", [], "numbers of metrics.jsonl in the table (losses, evals)")
_RESTARTS = flags.DEFINE_integer(
    "restarts", 5, "of a run that was stopped and had not saved since", lower_bound=0
)
_LEASE = flags.DEFINE_float(
    "lease", 60.0, "seconds until the run of a machine that died is free", lower_bound=1
)
_RETRY = flags.DEFINE_bool("retry_failed", False, "try what failed in a finished sweep again")
_LIST = flags.DEFINE_bool("list", False, "tell how far each run is; start nothing")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "print each run's command; start nothing")


def main(argv: list[str]) -> int:
    if _CONFIG.value is None or not _OUT.value:
        raise ConfigError("sweep needs --config and --out", mend="see `sg4v sweep --help`")
    from sg4v_jax import sweep
    from sg4v_jax.sweep import table

    console = Console()
    flag = flags.FLAGS["config"]
    file = config_flags.get_config_filename(flag)
    runs = sweep.expand(file, common=config_flags.get_override_values(flag))
    launcher = _launcher(file)
    if _LIST.value:
        for name, state in sweep.states(runs, out=_OUT.value):
            print(f"{name}  {state}")
        return 0
    if _DRY_RUN.value:
        for number, run in enumerate(runs):
            words = dict(config=file, workdir=f"{_OUT.value}/{run.name}", slot=number % _JOBS.value)
            print(shlex.join(launcher.command(run, **words)))
        return 0
    done = sweep.run(
        runs,
        config=file,
        out=_OUT.value,
        launcher=launcher,
        jobs=_JOBS.value,
        metrics=_METRICS.value,
        restarts=_RESTARTS.value,
        lease=_LEASE.value,
        retry_failed=_RETRY.value,
    )
    console.print(table.as_rich(done.rows))
    print(f"{', '.join(done.files)}: {len(done.rows)} runs, {len(done.failed)} failed")
    return 1 if done.failed else 0


def _launcher(file: str):
    from sg4v_jax.sweep import Launch, Local

    if _LAUNCHER.value == "local":
        return Local()
    if not _SETTINGS.value:
        raise ConfigError(
            f"--launcher={_LAUNCHER.value} needs --settings", mend="see launch/README.md"
        )
    if not _OUT.value.startswith("gs://"):
        raise ConfigError(f"--out={_OUT.value}", mend="slices share no disk: use gs://BUCKET/...")
    return Launch(_LAUNCHER.value, _SETTINGS.value, keep=_KEEP.value)
