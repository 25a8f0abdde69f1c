"""sg4v quickstart --out=DIR [--answer_only] [--clip=FILE] [--config=FILE]

Renders small videos, trains a small model on them from the base that the package ships, asks it
about held-out videos and one real clip, and writes DIR/report.html. Run again, it goes on where it
stopped. With --answer_only the shipped base answers a few questions and nothing is trained.
"""

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from sg4v_jax.cli import config_flag
from sg4v_jax.cli.exit_codes import STOPPED

_CONFIG = config_flags.DEFINE_config_file(
    "config", str(config_flag.shipped_folder() / "quickstart.py"), "the training config"
)
_OUT = flags.DEFINE_string("out", "runs/quickstart", "folder for data, model and report")
_VIDEOS = flags.DEFINE_integer("videos", 1500, "clips to train on", lower_bound=1)
_TEST_VIDEOS = flags.DEFINE_integer("test_videos", 240, "clips to ask about", lower_bound=2)
_CLIP = flags.DEFINE_string("clip", "", "a real video for the path check")
_ANSWER_ONLY = flags.DEFINE_bool("answer_only", False, "answer with the shipped base; no training")


def main(argv: list[str]) -> int:
    from sg4v_jax.cli.runtime import start_jax

    start_jax()
    from sg4v_jax.tasks import quickstart

    console = Console()
    if _ANSWER_ONLY.value:
        quickstart.answer_only(_OUT.value, clip=_CLIP.value, console=console)
        _next(console, f"sg4v quickstart --out={_OUT.value}")
        return 0
    outcome = quickstart.run(
        _OUT.value,
        config=_CONFIG.value,
        videos=_VIDEOS.value,
        test_videos=_TEST_VIDEOS.value,
        clip=_CLIP.value,
        console=console,
    )
    if not outcome.finished:
        console.print("stopped and saved; the same command goes on")
        return STOPPED
    console.print(f"\nreport: {_OUT.value}/report.html", style="bold", markup=False)
    _next(console, f"sg4v chat --model={_OUT.value}/model --video={_CLIP.value or 'FILE.mp4'}")
    return 0


def _next(console: Console, command: str) -> None:
    console.print(f"try next: {command}", markup=False, soft_wrap=True)
