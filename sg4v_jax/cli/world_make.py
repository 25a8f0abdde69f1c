"""sg4v world make --out=DIR --videos=N --seed=S [--split=train|heldout]

Renders N short mp4 videos of a moving, changing shape into DIR, with the truth, captions,
questions and training records beside them. The same arguments give the same files.
"""

from absl import flags
from rich.console import Console
from rich.progress import Progress

from sg4v_jax.errors import ConfigError

_OUT = flags.DEFINE_string("out", None, "folder to make")
_VIDEOS = flags.DEFINE_integer("videos", None, "how many", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "seed of the data set", lower_bound=0)
_SPLIT = flags.DEFINE_enum(
    "split", "train", ["train", "heldout"], "heldout shows shape-color pairs that train never does"
)
_QUESTIONS = flags.DEFINE_integer("questions", 4, "questions a video", lower_bound=0)
_MIX = flags.DEFINE_string("mix", "", "shares of question groups or kinds: temporal:2,static:1")
_CAPTIONS = flags.DEFINE_enum(
    "captions", "detailed", ["detailed", "short", "static", "none"], "captions to train on"
)


def main(argv: list[str]) -> int:
    if not _OUT.value or not _VIDEOS.value:
        raise ConfigError("world make needs --out and --videos", mend="see its --help")
    from sg4v_jax.world.dataset import make_dataset

    console = Console()
    with Progress(console=console) as bar:
        task = bar.add_task("render", total=_VIDEOS.value)
        summary = make_dataset(
            _OUT.value,
            videos=_VIDEOS.value,
            seed=_SEED.value,
            split=_SPLIT.value,
            questions_per_video=_QUESTIONS.value,
            mix=_shares(_MIX.value),
            captions=_CAPTIONS.value,
            progress=lambda done, _: bar.update(task, completed=done),
        )
        bar.update(task, completed=_VIDEOS.value)
    asked = sum(summary["questions"].values())
    console.print(
        f"{_OUT.value}: {_VIDEOS.value} videos, {asked} questions, "
        f"{summary['train_records']} training records"
    )
    return 0


def _shares(text: str) -> dict[str, float] | None:
    if not text:
        return None
    try:
        return {k: float(v) for k, v in (part.split(":") for part in text.split(","))}
    except ValueError as e:
        raise ConfigError(
            f"--mix={text}: expected name:share,name:share",
            mend="write it like --mix=temporal:2,static:1",
        ) from e
