"""sg4v convert verify --a=DIR_OR_HUB_ID --b=DIR_OR_HUB_ID

Compares two checkpoints of any layouts tensor by tensor, number by number. Exit code 1 when they
differ. An adapter is merged into --base first.
"""

import dataclasses

from absl import flags
from rich.console import Console

from sg4v_jax.cli import convert_flags
from sg4v_jax.errors import ConfigError

_A = flags.DEFINE_string("a", None, "model directory, checkpoint folder or file, or hub id")
_B = flags.DEFINE_string("b", None, "the other one")
_MOST = flags.DEFINE_integer("most", 20, "differences to name", lower_bound=1)

convert_flags.define()


def main(argv: list[str]) -> int:
    if not _A.value or not _B.value:
        raise ConfigError(
            "convert verify needs --a and --b", mend="see `sg4v convert verify --help`"
        )
    from sg4v_jax.cli.runtime import start_jax

    start_jax()
    from sg4v_jax.weights import verify_model

    request = convert_flags.request(_A.value)
    with convert_flags.bytes_bar("reading", total=None) as progress:
        found = verify_model.compare(
            request, dataclasses.replace(request, source=_B.value), progress=progress
        )
    console = Console()
    for difference in found.differences[: _MOST.value]:
        console.print(f"{difference.name}: {difference.what}", markup=False, soft_wrap=True)
    if len(found.differences) > _MOST.value:
        console.print(f"... and {len(found.differences) - _MOST.value} more")
    recast = f" ({found.recast} of them in another dtype)" if found.recast else ""
    console.print(f"compared: {', '.join(found.parts)}")
    console.print(f"{found.same} tensors are the same{recast}, {len(found.differences)} differ")
    return convert_flags.DIFFERS if found.differences else 0
