"""sg4v study probe --out=DIR [--arms=A,B] [--seeds=1,2] [--clips=N]

What a linear map reads in the features of a study's vision towers, trained so far: colour, place and
direction of motion, on clips that no model of the seed has seen. Writes DIR/probe.jsonl, which
`sg4v study report --out=DIR` then shows.
"""

from absl import flags
from rich.console import Console

from sg4v_jax.cli.study_flags import chosen_seeds
from sg4v_jax.errors import ConfigError

_OUT = flags.DEFINE_string("out", None, "the study's folder")
_ARMS = flags.DEFINE_list("arms", [], "only towers of these arms, and of their bases")
_SEEDS = flags.DEFINE_list("seeds", [], "only these seeds")
_CLIPS = flags.DEFINE_integer("clips", 2000, "clips a tower; a quarter is held out", lower_bound=40)


def main(argv: list[str]) -> int:
    if not _OUT.value or argv:
        raise ConfigError("study probe needs --out", mend="write it like --out=runs/study")
    from sg4v_jax.study.probing import FILE, probe_study

    console = Console()
    lines = probe_study(
        _OUT.value,
        arms=_ARMS.value,
        seeds=chosen_seeds(_SEEDS.value),
        clips=_CLIPS.value,
        console=console,
    )
    console.print(f"{len(lines)} towers in {_OUT.value}/{FILE}", markup=False)
    return 0
