"""sg4v world benchmark --out=DIR --shape=tempcompass|videobench|mvbench|videochatgpt [--videos=8]

Renders held-out scenes and writes questions about them in the files of a real benchmark, to try
`sg4v eval` on. The same arguments give the same files.
"""

from absl import flags
from rich.console import Console
from rich.progress import Progress

from sg4v_jax.errors import ConfigError

_OUT = flags.DEFINE_string("out", None, "folder to make")
_SHAPE = flags.DEFINE_enum(
    "shape",
    None,
    ["tempcompass", "videobench", "mvbench", "videochatgpt"],
    "whose files to write",
)
_VIDEOS = flags.DEFINE_integer("videos", 8, "how many videos", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "seed of the scenes", lower_bound=0)


def main(argv: list[str]) -> int:
    if not _OUT.value or not _SHAPE.value:
        raise ConfigError("world benchmark needs --out and --shape", mend="see its --help")
    from sg4v_jax.world.benchmark import make_benchmark

    console = Console()
    with Progress(console=console) as bar:
        task = bar.add_task("render", total=_VIDEOS.value)
        summary = make_benchmark(
            _OUT.value,
            shape=_SHAPE.value,
            videos=_VIDEOS.value,
            seed=_SEED.value,
            progress=lambda done, _: bar.update(task, completed=done),
        )
        bar.update(task, completed=_VIDEOS.value)
    console.print(
        f"{_OUT.value}: {_VIDEOS.value} videos, {summary['questions']} questions", markup=False
    )
    return 0
