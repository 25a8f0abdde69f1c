"""sg4v world slides --out=DIR --videos=N --seed=S --frames=4|16

Renders clips of unrelated frames with records that tell what each shows: they teach a model to
see, and to find a frame in the grid, before it watches anything move (configs/world_base.py).
"""

from absl import flags
from rich.console import Console
from rich.progress import Progress

from sg4v_jax.errors import ConfigError

_OUT = flags.DEFINE_string("out", None, "folder to make")
_VIDEOS = flags.DEFINE_integer("videos", None, "how many clips", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "seed of the data set", lower_bound=0)
_FRAMES = flags.DEFINE_integer("frames", 16, "frames a clip", lower_bound=1, upper_bound=16)


def main(argv: list[str]) -> int:
    if not _OUT.value or not _VIDEOS.value:
        raise ConfigError("world slides needs --out and --videos", mend="see its --help")
    from sg4v_jax.world.slides import make_slides

    with Progress(console=Console()) as bar:
        task = bar.add_task("render", total=_VIDEOS.value)
        make_slides(
            _OUT.value,
            videos=_VIDEOS.value,
            seed=_SEED.value,
            frames=_FRAMES.value,
            progress=lambda done, _: bar.update(task, completed=done),
        )
        bar.update(task, completed=_VIDEOS.value)
    return 0
