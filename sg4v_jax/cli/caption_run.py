"""sg4v caption run --mode=MODE --captioner=WHO --out=DIR (--videos=DIR_OR_LIST | --keyframes=DIR)

Captions videos and writes OUT/captions.jsonl, a row each. Run again, it goes on where it stopped.

MODE sliding    the first key frame, then what changed from each to the next, then a summary
     fast       all key frames in one request
     clip       the seconds --start to --end of videos that --captions=FILE has in sliding mode,
                without the videos
     recaption  a detailed caption for each short prompt of --prompts=FILE
WHO  local:MODEL              a model on this machine
     openai:URL,MODEL         an OpenAI-compatible server; the key is read from OPENAI_API_KEY
     world:omit=0.1,false=0   the oracle of `sg4v world make`, with errors at these rates

--keyframes is what `sg4v caption keyframes` wrote; without it a frame every --interval seconds is
taken. Exit code 1 when something failed; its row tells why.
"""

from absl import flags
from rich.console import Console

from sg4v_jax.errors import ConfigError

_MODE = flags.DEFINE_enum("mode", "sliding", ["sliding", "fast", "clip", "recaption"], "what to do")
_CAPTIONER = flags.DEFINE_string("captioner", None, "who answers: local:, openai: or world:")
_PRESET = flags.DEFINE_enum(
    "preset", "paper", ["paper", "model", "demo", "batch"], "prompts and layout of frames"
)
_VIDEOS = flags.DEFINE_string("videos", None, "folder of videos, or a list of them")
_KEYFRAMES = flags.DEFINE_string("keyframes", None, "folder of `sg4v caption keyframes`")
_CAPTIONS = flags.DEFINE_string("captions", None, "for clip: rows of sliding mode")
_PROMPTS = flags.DEFINE_string("prompts", None, "for recaption: .txt, a line each, or .jsonl")
_OUT = flags.DEFINE_string("out", None, "folder to write to")
_INTERVAL = flags.DEFINE_float(
    "interval", 2.0, "seconds between frames, without key frames", lower_bound=1e-3
)
_START = flags.DEFINE_float("start", 0.0, "of a clip, seconds", lower_bound=0)
_END = flags.DEFINE_float("end", None, "of a clip, seconds (the video's end)", lower_bound=0)
_WORKERS = flags.DEFINE_integer("workers", 1, "shards worked on at a time", lower_bound=1)
_SHARD = flags.DEFINE_integer("shard", 64, "videos that are done together", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch", 8, "requests at a time", lower_bound=1)
_NEW = flags.DEFINE_integer("max_new_tokens", 1024, "longest answer", lower_bound=1)
_BUDGET = flags.DEFINE_integer("budget", None, "for openai: most requests", lower_bound=1)
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "for local: of weights")
_SECONDS = flags.DEFINE_float("decode_seconds", 60.0, "for one reading of a video", lower_bound=1)
_LEASE = flags.DEFINE_float(
    "lease", 120.0, "seconds until a killed worker's videos are taken up again", lower_bound=1
)
_RETRY = flags.DEFINE_bool("retry_failed", False, "try what failed in a finished job again")

_SOURCES = {"sliding": "videos", "fast": "videos", "clip": "captions", "recaption": "prompts"}


def main(argv: list[str]) -> int:
    from sg4v_jax.caption.job import run_job

    console = Console()
    say = lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)
    work, items = plan()
    if notice := getattr(work.open(), "notice", ""):
        say(f"note: {notice}")
    # The oracle computes, so it wants processes; the others wait for a device or a server.
    oracle = _CAPTIONER.value.startswith("world:")
    finished = run_job(
        items,
        work,
        job=f"{_OUT.value}/job",
        file=f"{_OUT.value}/captions.jsonl",
        settings=work.settings,
        shard_size=_SHARD.value,
        workers=_WORKERS.value,
        kind="processes" if oracle and _WORKERS.value > 1 else "threads",
        lease=_LEASE.value,
        retry_failed=_RETRY.value,
    )
    say(str(finished))
    return 1 if finished.failed else 0


def plan():
    """The work and its items, as the flags say."""
    mode = _MODE.value
    if not _CAPTIONER.value or not _OUT.value:
        raise ConfigError("caption run needs --captioner and --out", mend="see its --help")
    given = {
        "videos": _VIDEOS.value or _KEYFRAMES.value,
        "captions": _CAPTIONS.value,
        "prompts": _PROMPTS.value,
    }
    for name, value in given.items():
        if bool(value) != (name == _SOURCES[mode]):
            what = "needs" if not value else "does not take"
            raise ConfigError(f"--mode={mode} {what} --{name}", mend="see its --help")
    from sg4v_jax.caption import run_items
    from sg4v_jax.caption.run import CaptionWork

    root = ""
    if mode == "clip":
        items = run_items.clip_items(_CAPTIONS.value, start=_START.value, end=_END.value)
    elif mode == "recaption":
        items = run_items.prompt_items(_PROMPTS.value)
    else:
        root, items = run_items.video_items(_VIDEOS.value, keyframes=_KEYFRAMES.value)
    work = CaptionWork(
        mode,
        _PRESET.value,
        _CAPTIONER.value,
        options=_options(),
        root=root,
        keyframes=_KEYFRAMES.value or "",
        interval=_INTERVAL.value,
        batch=_BATCH.value,
        seconds=_SECONDS.value,
    )
    return work, items


def _options() -> dict:
    """What the kind of captioner is told beside its name."""
    kind = _CAPTIONER.value.partition(":")[0]
    if kind == "local":
        from sg4v_jax.cli.runtime import start_jax

        start_jax()
        return {"dtype": _DTYPE.value, "max_new_tokens": _NEW.value}
    if kind == "openai":
        return {
            "cache": f"{_OUT.value}/answers",
            "budget": _BUDGET.value,
            "settings": {"temperature": 0.0, "max_tokens": _NEW.value},
        }
    return {}
