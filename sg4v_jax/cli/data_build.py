"""sg4v data build --captions=FILE --out=DIR [--style=STYLE ...]
or: sg4v data build --replace_captions=MIX --with=FILE --out=DIR: the caption samples of a
conversation mix replaced one for one, every other byte as it is

Captions become training data, a file an arm: the same videos, order and questions, other text
(OUT/diff.html proves it). What any arm cannot use is in none, and named in OUT/problems.jsonl.
STYLE  detailed, short, first_n_sentences:N, truncate:TOKENS, long_static, shuffled, or
       mix:detailed=0.7,short=0.3
FILE   of `sg4v caption run`, ShareGPT4Video, Panda-70M, LLaVA, Open-Sora-Plan, Wan, any CSV, JSONL
--format=arrayrecord also renders the videos, once for all arms, as the run of --config sees them.
"""

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from sg4v_jax.errors import ConfigError

_CAPTIONS = flags.DEFINE_string("captions", None, "the caption file")
_OUT = flags.DEFINE_string("out", None, "folder to write to")
_FORMAT = flags.DEFINE_enum(
    "format",
    "llava_json",
    ["arrayrecord", "llava_json", "sharegpt4video_jsonl", "osp", "wan"],
    "what to build",
)
_SOURCE = flags.DEFINE_string("source_format", None, "of --captions, if it cannot be told")
_STYLE = flags.DEFINE_multi_string("style", ["detailed"], "")
flags.FLAGS["style"].help = "an arm; given again for each"  # absl says that in a line of its own
_SEED = flags.DEFINE_integer("seed", 0, "of prompts, mixes and orders", lower_bound=0)
_WHICH = flags.DEFINE_enum(
    "which", "summary", ["summary", "keyframes", "all"], "captions of the video, of its parts, both"
)
_COLUMNS = flags.DEFINE_list("columns", [], "such as id=clip,detailed=long_caption")
_NAME = flags.DEFINE_string("video_name", "", "path of a video by {id}, {video_id}, {number}")
_ONLY = flags.DEFINE_string("only", "", "take videos alone whose path begins like this REGEX")
_VIDEOS = flags.DEFINE_string("videos", "", "folder of the videos; each is then looked for")
_MEDIA = flags.DEFINE_string("media", "video", "what records show: video, or image:.jpg for grids")
_PROMPTS = flags.DEFINE_string("prompts", None, "file of questions, one a line (eight of ours)")
_SHORT = flags.DEFINE_string("short_from", None, "Panda-70M CSV to join short captions from")
_FALLBACK = flags.DEFINE_enum(
    "fallback_encoding", "", ["", "cp1252", "latin-1"], "of rows that are not UTF-8"
)
_LIMIT = flags.DEFINE_integer("limit", 0, "most tokens of a caption; 0: any", lower_bound=0)
_TOKENIZER = flags.DEFINE_string("tokenizer", "", "file that counts and cuts tokens")
_LONG = flags.DEFINE_bool("allow_long", False, "build with over 1 % of captions above --limit")
_LEFT = flags.DEFINE_float(
    "max_left_out", 0.01, "share of rows that may be unusable", lower_bound=0, upper_bound=1
)
_CONFIG = config_flags.DEFINE_config_file("config", None, "for arrayrecord: the run's config")
_CODEC = flags.DEFINE_string(
    "codec", "tiff", "for arrayrecord: tiff, png, webp, ppm, jpeg; png,grid keeps whole pictures"
)
_WORKERS = flags.DEFINE_integer("workers", 1, "processes at work", lower_bound=1)
_MIX = flags.DEFINE_string("replace_captions", None, "a conversation mix, JSON or JSONL")
_WITH = flags.DEFINE_string("with", None, "the captions that come into the mix")
_SAMPLES = flags.DEFINE_string(
    "caption_samples", "question", "how the mix's caption samples are told: question[:REGEX], "
    "id:REGEX, media:REGEX, words:N, ids:FILE",
)  # fmt: skip
_EXPECTED = flags.DEFINE_integer(
    "expected", None, "caption samples that the mix should have; a multiple of 1000 is rounded"
)


def main(argv: list[str]) -> int:
    from sg4v_jax.caption.bridge.assembly import Limits
    from sg4v_jax.caption.bridge.told import told

    console = Console()
    limits = Limits(left_out=_LEFT.value, long=None if _LONG.value else 0.01)
    if _MIX.value or _WITH.value:
        report = _swap(limits)
    else:
        report = _build(limits)
    console.print(told(report, out=_OUT.value), markup=False, highlight=False, soft_wrap=True)
    return 0


def _build(limits):
    from sg4v_jax.caption.bridge import proof
    from sg4v_jax.caption.bridge.build import build

    if not _CAPTIONS.value or not _OUT.value:
        raise ConfigError("data build needs --captions and --out", mend="see its --help")
    if _FORMAT.value == "arrayrecord" and not (_CONFIG.value and _VIDEOS.value):
        raise ConfigError(
            "--format=arrayrecord needs --config and --videos",
            mend="give the run's config, which says how videos are shown, and their folder",
        )
    report = build(
        _CAPTIONS.value,
        _making("llava_json" if _FORMAT.value == "arrayrecord" else _FORMAT.value),
        out=_OUT.value,
        short_from=_SHORT.value,
        limits=limits,
        workers=_WORKERS.value,
    )
    proof.write(_OUT.value, report)
    if _FORMAT.value == "arrayrecord":
        _stores(report)
    return report


def _stores(report) -> None:
    from sg4v_jax.caption.bridge import shards
    from sg4v_jax.cli.runtime import start_jax

    start_jax()
    from sg4v_jax.tasks import run_setup

    codec, _, store_as = _CODEC.value.partition(",")
    made = shards.write_stores(
        report,
        out=_OUT.value,
        root=_VIDEOS.value,
        spec=run_setup.model_settings(_CONFIG.value).inputs,
        codec=codec,
        store_as=store_as or "views",
        workers=_WORKERS.value,
        max_skipped=_LEFT.value,
    )
    for folder in made.values():
        Console().print(f"{folder}: rendered", markup=False, highlight=False, soft_wrap=True)


def _swap(limits):
    from sg4v_jax.caption.bridge import proof, recognise
    from sg4v_jax.caption.bridge.swap import swap

    if not _MIX.value or not _WITH.value or not _OUT.value or _CAPTIONS.value:
        raise ConfigError(
            "--replace_captions needs --with and --out, and no --captions", mend="see its --help"
        )
    if _FORMAT.value != "llava_json":
        raise ConfigError(
            "--replace_captions writes the mix's own format", mend="leave --format out"
        )
    report = swap(
        _MIX.value,
        _WITH.value,
        _making("llava_json"),
        out=_OUT.value,
        rule=recognise.parse(_SAMPLES.value),
        expected=_EXPECTED.value,
        short_from=_SHORT.value,
        limits=limits,
        workers=_WORKERS.value,
    )
    proof.write(_OUT.value, report)
    return report


def _making(target: str):
    from sg4v_jax.caption.bridge.formats import ReadOptions, WriteOptions
    from sg4v_jax.caption.bridge.work import Making

    pairs = [column.partition("=") for column in _COLUMNS.value]
    if bad := next((a for a, _, b in pairs if not a or not b), None):
        raise ConfigError(f"--columns: {bad!r} names no column", mend="write field=column")
    media, _, suffix = _MEDIA.value.partition(":")
    return Making(
        source=_SOURCE.value or "",
        target=target,
        styles=tuple(_STYLE.value),
        seed=_SEED.value,
        prompts=_prompts(),
        read=ReadOptions(
            which=_WHICH.value,
            columns={field: name for field, _, name in pairs},
            video_name=_NAME.value,
        ),
        write=WriteOptions(media=media, suffix=suffix or ".jpg"),
        fallback=_FALLBACK.value,
        only=_ONLY.value,
        videos=_VIDEOS.value,
        limit=_LIMIT.value,
        tokenizer=_TOKENIZER.value,
    )


def _prompts() -> tuple[str, ...] | None:
    from sg4v_jax.data.readers.source import read_text

    if _PROMPTS.value is None:
        return None
    lines = (line.strip() for line in read_text(_PROMPTS.value).splitlines())
    return tuple(line for line in lines if line)
