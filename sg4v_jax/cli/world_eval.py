"""sg4v world eval --model=DIR --data=DIR --out=DIR [--clip=FILE]

Asks a model every question of a data set made by `sg4v world make`: as filmed, with the videos
shuffled among the questions, and with the frames shuffled inside the grid. Writes OUT/report.html,
scores.json and answers.json.
"""

from absl import flags
from rich.console import Console

from sg4v_jax.errors import ConfigError

_MODEL = flags.DEFINE_string("model", None, "model directory, or asset:world for the shipped one")
_DATA = flags.DEFINE_string("data", None, "folder made by `sg4v world make`")
_OUT = flags.DEFINE_string("out", None, "folder for the report")
_CLIP = flags.DEFINE_string("clip", "", "a real video for the path check")


def main(argv: list[str]) -> int:
    if not (_MODEL.value and _DATA.value and _OUT.value):
        raise ConfigError("world eval needs --model, --data and --out", mend="see its --help")
    from sg4v_jax.cli.runtime import start_jax

    start_jax()
    from sg4v_jax.tasks import world_eval

    console = Console()
    world_eval.evaluate(
        _MODEL.value,
        data=_DATA.value,
        out=_OUT.value,
        clip=_CLIP.value,
        facts={"model": f"{_MODEL.value}: {world_eval.parameters(_MODEL.value)}"},
        console=console,
    )
    console.print(f"report: {_OUT.value}/{world_eval.REPORT}", markup=False)
    return 0
