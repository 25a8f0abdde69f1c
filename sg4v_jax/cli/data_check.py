"""sg4v data check --config=FILE [--quick] [--json=FILE] [--threads=8] [--config.FIELD=VALUE ...]

Looks for all the data that a config trains and evaluates on. Tells, for each part: annotations found and
expected, videos and images missing or broken, licence, source and the next step to take. Every
file is looked into; --quick looks only whether it is there. Exits with 0 if all is there, 1 if
something is missing or broken, 2 if an annotation file cannot be used.
"""

import dataclasses

from absl import flags
from ml_collections import config_flags
from rich.console import Console
from rich.progress import track

from sg4v_jax import files
from sg4v_jax.data import check, mixture
from sg4v_jax.errors import ConfigError

_CONFIG = config_flags.DEFINE_config_file("config", None, "the run's config", lock_config=True)
_QUICK = flags.DEFINE_bool("quick", False, "look only whether videos and images are there")
_JSON = flags.DEFINE_string("json", None, "also write everything found to this file")
_THREADS = flags.DEFINE_integer("threads", 8, "files read at a time", lower_bound=1)


def main(argv: list[str]) -> int:
    if _CONFIG.value is None:
        raise ConfigError("data check needs --config", mend="see `sg4v data check --help`")
    console = Console()
    data = _CONFIG.value.data
    parts = mixture.parts_of(data)
    if "eval" in _CONFIG.value:
        held_out = mixture.parts_of(_CONFIG.value.eval)
        parts += tuple(dataclasses.replace(p, name=f"eval: {p.name}") for p in held_out)
    if not parts:
        raise ConfigError(
            "the config names no training data", mend="set data.annotations or data.parts"
        )
    reports = check.check_mix(
        parts,
        quick=_QUICK.value,
        threads=_THREADS.value,
        seconds=data.get("decode_seconds", check.TIME_LIMIT),
        progress=lambda items, total: track(items, "check", total=total, console=console),
    )
    console.print(check.as_table(reports))
    if _JSON.value:
        files.write_json(_JSON.value, check.as_json(reports))
    return check.exit_code(reports)
