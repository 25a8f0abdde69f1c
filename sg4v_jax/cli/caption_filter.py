"""sg4v caption filter --out=DIR [--videos=DIR] (--captions=FILE | --captioner=SPEC)

Chooses the videos that are worth a detailed caption: short enough, and not like one chosen
before, by the cosine of vectors of short captions. The order of the input decides ties.
Writes kept.jsonl, dropped.jsonl (why, and like which) and summary.json into DIR. Exits with 1 if
some rows or videos could not be used; they are named.
"""

from absl import flags
from rich.console import Console

from sg4v_jax.errors import ConfigError

_OUT = flags.DEFINE_string("out", None, "folder to write")
_VIDEOS = flags.DEFINE_string("videos", None, "folder of the videos")
_CAPTIONS = flags.DEFINE_string("captions", None, "short captions: JSON lines with id and caption")
_CAPTIONER = flags.DEFINE_string(
    "captioner", None, "makes short captions instead: world:, openai:URL,MODEL"
)
_SECONDS = flags.DEFINE_float("max_seconds", 120.0, "longer videos stay out")
_THRESHOLD = flags.DEFINE_float(
    "threshold", None, "cosine from which two are alike; by default the encoder's (0.8; bert 0.95)"
)
_ENCODER = flags.DEFINE_string("encoder", "hash", "hash, hash:SIZE, minilm, minilm:DIR or bert:DIR")


def main(argv: list[str]) -> int:
    if not _OUT.value or bool(_CAPTIONS.value) == bool(_CAPTIONER.value):
        raise ConfigError(
            "caption filter needs --out, and one of --captions and --captioner",
            mend="see `sg4v caption filter --help`",
        )
    if _CAPTIONER.value and not _VIDEOS.value:
        raise ConfigError("--captioner needs --videos", mend="name the folder of the videos")
    from sg4v_jax.caption import candidates
    from sg4v_jax.caption.caption_file import SHORT, read_captions
    from sg4v_jax.caption.captioners import open_captioner
    from sg4v_jax.caption.encoders import open_encoder

    encoder = open_encoder(_ENCODER.value)
    problems, rows = [], None
    if _CAPTIONS.value:
        captions = read_captions(_CAPTIONS.value, fields=SHORT)
        problems, rows = list(captions.problems), captions.rows
        found = candidates.read_candidates(captions, videos=_VIDEOS.value, problems=problems)
    else:
        captioner = open_captioner(_CAPTIONER.value)
        found = candidates.ask_candidates(
            _VIDEOS.value, captioner, max_seconds=_SECONDS.value, problems=problems
        )
    summary = candidates.write_filtered(
        found,
        out=_OUT.value,
        encoder=encoder,
        threshold=_THRESHOLD.value,
        max_seconds=_SECONDS.value,
        rows=rows,
        problems=problems,
    )
    console = Console()
    console.print(
        f"{_OUT.value}: kept {summary['kept']} of {summary['candidates']}; "
        f"{summary['too long']} too long, {summary['alike']} alike "
        f"(cosine {summary['threshold']:g} or more, {summary['encoder']})"
    )
    for kind, found in summary["problems"].items():
        console.print(f"{found['count']} {kind}: {'; '.join(found['first'])}", style="yellow")
    return 1 if summary["problems"] else 0
