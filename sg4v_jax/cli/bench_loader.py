"""sg4v bench loader [--videos=DIR] [--workers=1,2] [--rounds=3] [--seconds=2.5] [--json=FILE]

Measures how many grids (16-frame videos as tiles) a second the loader gives, from videos, from
grids rendered before and from a store (ArrayRecord), next to a plain transcription of the original's way (decord and Pillow),
which needs the extra `[bench]`. Tells CPU time, where the time goes, the cost of moving grids, and
the cores that keep up with a training step (--step_seconds, --step_grids). Without --videos it reads
the four clips of the test suite, in a checkout. About three minutes.
"""

from absl import flags
from rich.console import Console

_VIDEOS = flags.DEFINE_string("videos", None, "folder of video files")
_LIMIT = flags.DEFINE_integer("limit", 16, "at most so many of them", lower_bound=1)
_WORKERS = flags.DEFINE_list(
    "workers", ["1", "2"], "numbers of worker processes; 0 reads in this one"
)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "timings of each method", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 2.5, "length of one timing, about")
_STEP_SECONDS = flags.DEFINE_float(
    "step_seconds", 4.36, "planned time of a training step, by default of 8 v5e chips"
)
_STEP_GRIDS = flags.DEFINE_integer("step_grids", 32, "grids that one host reads a step")
_BY_CLIP = flags.DEFINE_boolean("by_clip", False, "also a line for each clip")
_JSON = flags.DEFINE_string("json", None, "file to write everything measured to")


def main(argv: list[str]) -> int:
    from sg4v_jax.cli.runtime import start_jax

    start_jax()
    from sg4v_jax import files
    from sg4v_jax.bench import loader, show
    from sg4v_jax.errors import ConfigError

    try:
        workers = [int(w) for w in _WORKERS.value]
    except ValueError as e:
        raise ConfigError(f"--workers={','.join(_WORKERS.value)}", mend="use 1,2,4") from e
    console = Console()
    with console.status("start") as status:
        report = loader.measure(
            videos=_VIDEOS.value,
            limit=_LIMIT.value,
            workers=workers,
            rounds=_ROUNDS.value,
            seconds=_SECONDS.value,
            step_seconds=_STEP_SECONDS.value,
            step_grids=_STEP_GRIDS.value,
            progress=status.update,
        )
    if _JSON.value:
        files.write_json(_JSON.value, report)
    show.print_report(report, console=console, by_clip=_BY_CLIP.value)
    return 0
