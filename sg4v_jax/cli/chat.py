"""sg4v chat --model=DIR (--video=FILE | --image=FILE) [--query=TEXT] [--visual=anyres|overview]

Asks a model about a video (a file, or a folder of numbered frames) or a picture. Without --query it asks you, turn by turn until end of input (Ctrl-D),
and remembers the turns.
"""

import sys

from absl import flags
from rich.console import Console

from sg4v_jax.errors import ConfigError

_MODEL = flags.DEFINE_string("model", None, "model directory, or asset:world for the shipped one")
_STEP = flags.DEFINE_string("step", None, "checkpoint of a workdir: a number or best (newest)")
_VIDEO = flags.DEFINE_string("video", None, "video file, or folder of numbered frames")
_IMAGE = flags.DEFINE_string("image", None, "picture, instead of a video; a grid made before, say")
_QUERY = flags.DEFINE_string("query", None, "one question; answer it and end")
_VISUAL = flags.DEFINE_enum(
    "visual", None, ["anyres", "overview"], "tiles and overview, or overview alone (as trained)"
)
_WEIGHTS = flags.DEFINE_enum(
    "weights_dtype", None, ["float32", "bfloat16", "int8"], "of the weights in memory (float32)"
)
_KV = flags.DEFINE_enum(
    "kv_dtype", None, ["float32", "bfloat16", "int8"], "of the keys and values kept (float32)"
)
_SAMPLING = flags.DEFINE_enum(
    "sampling", None, ["run", "mvbench", "tempcompass"], "rule that picks frames (as trained)"
)
_LONGEST = flags.DEFINE_integer(
    "longest_side", None, "cap on the grid's longer side, 0 = none (as trained)", lower_bound=0
)
_NEW = flags.DEFINE_integer("max_new_tokens", 512, "longest answer", lower_bound=1)
_TEMPERATURE = flags.DEFINE_float("temperature", 0.0, "0 = the likeliest token", lower_bound=0)
_TOP_P = flags.DEFINE_float("top_p", 0.9, "sample from this mass", lower_bound=0, upper_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "of sampling")


def main(argv: list[str]) -> int:
    if not _MODEL.value or bool(_VIDEO.value) == bool(_IMAGE.value):
        raise ConfigError(
            "chat needs --model, and --video or --image", mend="see `sg4v chat --help`"
        )
    from sg4v_jax.cli.runtime import checkpoint_step, start_jax

    start_jax()
    from sg4v_jax.data.record import Visual
    from sg4v_jax.infer.chat import Chat
    from sg4v_jax.infer.engine import Engine
    from sg4v_jax.infer.generate import Sampling

    sampling = Sampling(temperature=_TEMPERATURE.value, top_p=_TOP_P.value, seed=_SEED.value)
    console = Console(stderr=True)
    with console.status("loading"):
        given = dict(visual=_VISUAL.value, sampling=_SAMPLING.value, longest_side=_LONGEST.value)
        inputs = {name: value for name, value in given.items() if value is not None}
        types = dict(weights_dtype=_WEIGHTS.value, kv_dtype=_KV.value)
        engine = Engine.load(_MODEL.value, step=checkpoint_step(_STEP.value), **types, **inputs)
        shown = Visual("video", _VIDEO.value) if _VIDEO.value else Visual("image", _IMAGE.value)
        chat = Chat(engine, visual=shown, max_new_tokens=_NEW.value, sampling=sampling)
    if chat.substituted:
        console.print(f"{chat.substituted} frames are damaged; others stand for them")
    if _QUERY.value is not None:
        print(chat.ask(_QUERY.value))
        return 0
    for query in _queries():
        print(chat.ask(query), flush=True)
    return 0


def _queries():
    """Lines from the user until end of input; blank ones are passed over."""
    while True:
        if sys.stdin.isatty():
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()
