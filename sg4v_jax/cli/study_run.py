"""sg4v study run --config=FILE --out=DIR [--arms=A,B] [--seeds=1,2] [--jobs=N]

Runs a caption-quality study (configs/study/): data once, a pre-trained base for each seed, then
every arm with every seed, trained and asked. Writes DIR/results.jsonl; `sg4v study report --out=DIR`
shows them. The same command goes on after a kill, on this machine or on several that share DIR;
what is done is not done again. Exit code 1: a run failed, and is named.
"""

import os

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from sg4v_jax.cli.study_flags import chosen_seeds
from sg4v_jax.errors import ConfigError

_CONFIG = config_flags.DEFINE_config_file("config", None, "the study", lock_config=True)
_OUT = flags.DEFINE_string("out", None, "the study's folder")
_ARMS = flags.DEFINE_list("arms", [], "only these arms")
_SEEDS = flags.DEFINE_list("seeds", [], "only these seeds")
_JOBS = flags.DEFINE_integer("jobs", 1, "processes at a time, one CPU core each", lower_bound=1)
_LEASE = flags.DEFINE_float(
    "lease", 60.0, "seconds until the run of a machine that died is free", lower_bound=1
)
_RETRY = flags.DEFINE_bool("retry_failed", False, "try again what failed")


def main(argv: list[str]) -> int:
    if _CONFIG.value is None or not _OUT.value:
        raise ConfigError("study run needs --config and --out", mend="see `sg4v study run --help`")
    seeds = chosen_seeds(_SEEDS.value)
    from sg4v_jax.cli.runtime import compile_cache_folder
    from sg4v_jax.study.run import run

    # In the environment, which worker processes inherit.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", compile_cache_folder())
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

    console = Console()
    file = config_flags.get_config_filename(flags.FLAGS["config"])
    rows = run(
        _CONFIG.value,
        out=_OUT.value,
        arms=_ARMS.value,
        seeds=seeds,
        jobs=_JOBS.value,
        lease=_LEASE.value,
        retry_failed=_RETRY.value,
        command=f"sg4v study run --config={file} --out=DIR --jobs={_JOBS.value}",
        console=console,
    )
    failed = [row for row in rows if row.get("error") is not None]
    console.print(
        f"{len(rows) - len(failed)} runs in {_OUT.value}/results.jsonl; "
        f"try: sg4v study report --out={_OUT.value}",
        markup=False,
    )
    return 1 if failed else 0
