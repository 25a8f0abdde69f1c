"""sg4v data diff A B [--html=FILE] [--json=FILE]

Compares two files of training data record by record: count, order and ids, videos, questions, all
other fields. Exits with 0 if only the learnt text differs, 1 if anything else does, 2 if a file
cannot be read.

sg4v data diff MIX NEW --caption_samples=RULE compares a conversation mix with one whose caption
samples were replaced (`sg4v data build --replace_captions`): 0 if every other record is the same
to the byte.
"""

from absl import flags
from rich.console import Console

from sg4v_jax import files
from sg4v_jax.errors import ConfigError

_HTML = flags.DEFINE_string("html", None, "also write a page to this file")
_JSON = flags.DEFINE_string("json", None, "also write the result to this file")
_FORM = flags.DEFINE_string("source_format", "", "of both files, if it cannot be told")
_SAMPLES = flags.DEFINE_string(
    "caption_samples", None, "rule that tells a mix's caption samples, as for `data build`"
)


def main(argv: list[str]) -> int:
    if len(argv) != 2:
        raise ConfigError("data diff needs two files", mend="see `sg4v data diff --help`")
    console = Console()
    say = lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)
    if _SAMPLES.value:
        return _swapped(*argv, say)
    from sg4v_jax.caption.bridge import diff, proof

    found = diff.compare(*argv, form=_FORM.value)
    say(str(found))
    if _JSON.value:
        files.write_json(_JSON.value, found.as_json())
    if _HTML.value:
        proof.page([found]).save(_HTML.value)
    return 0 if found.text_alone else 1


def _swapped(mix: str, new: str, say) -> int:
    from sg4v_jax.caption.bridge import recognise, swap

    with swap.open_mix(mix, recognise.parse(_SAMPLES.value)) as opened:
        same = swap.differences(opened, new)
        result = {"records": len(opened.records), "caption_samples": len(opened.samples)}
        result["other_records_that_differ"] = same
    say(
        f"{result['records']} records, {result['caption_samples']} of them caption samples; "
        + (f"{len(same)} others differ: {', '.join(same[:5])}" if same else "all others are the "
           "same to the byte")
    )  # fmt: skip
    if _JSON.value:
        files.write_json(_JSON.value, result)
    return 1 if same else 0
