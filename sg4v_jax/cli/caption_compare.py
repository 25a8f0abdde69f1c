"""sg4v caption compare A B --out=FILE [--videos=DIR] [--items=100] [--seed=0]
or: sg4v caption compare --filled=FILE,FILE,... --key=FILE [--json=FILE]

The first form writes a page on which people judge two caption files blindly by three criteria,
and the key to its sides (FILE.key.json) beside it. The page saves a rater's answers as a JSON
file. The second form reads such files: points, wins, intervals and a sign test.
"""

import os

from absl import flags
from rich.console import Console
from rich.table import Table

from sg4v_jax.errors import ConfigError

_OUT = flags.DEFINE_string("out", None, "the page to write, sheet.html")
_VIDEOS = flags.DEFINE_string("videos", None, "folder of the videos, to show frames and links")
_ITEMS = flags.DEFINE_integer("items", 100, "how many videos, drawn by the seed", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "of the order and the sides", lower_bound=0)
_FIELD = flags.DEFINE_string("field", None, "the captions' field, if not the usual")
_FILLED = flags.DEFINE_list("filled", [], "answers that raters saved")
_KEY = flags.DEFINE_string("key", None, "the sheet's key")
_JSON = flags.DEFINE_string("json", None, "also write the result to this file")


def main(argv: list[str]) -> int:
    if _FILLED.value:
        if argv or not _KEY.value:
            raise ConfigError("--filled needs --key, and no captions", mend="see its --help")
        return _score(Console())
    if len(argv) != 2 or not _OUT.value:
        raise ConfigError("caption compare needs A, B and --out", mend="see its --help")
    return _make(*argv, Console())


def _make(a: str, b: str, console: Console) -> int:
    from sg4v_jax.caption import compare, compare_page
    from sg4v_jax.caption.caption_file import DETAILED, counted, read_captions

    fields = (_FIELD.value,) if _FIELD.value else DETAILED
    files = [read_captions(name, fields=fields) for name in (a, b)]
    beside = os.path.dirname(_OUT.value) or "."
    sheet = compare.make_sheet(
        *files, seed=_SEED.value, items=_ITEMS.value, videos=_VIDEOS.value, beside=beside
    )
    key = compare.write_sheet(sheet, page=compare_page.render(sheet), out=_OUT.value)
    console.print(f"{_OUT.value}: {len(sheet.items)} videos; keep {key} from those who judge")
    problems = counted([*files[0].problems, *files[1].problems, *sheet.problems])
    for kind, found in problems.items():
        console.print(f"{found['count']} {kind}: {'; '.join(found['first'])}", style="yellow")
    return 0


def _score(console: Console) -> int:
    from sg4v_jax import files
    from sg4v_jax.caption import filled

    key = filled.read_key(_KEY.value)
    result = filled.compare_scores(filled.read_all(_FILLED.value, key=key))
    if _JSON.value:
        files.write_json(_JSON.value, {"a": key["a"], "b": key["b"], **result})
    console.print(f"A is {key['a']}, B is {key['b']}")
    console.print(
        f"{result['videos']} of {len(key['items'])} videos judged, by {result['raters']} raters"
    )
    table = Table("free of", "A", "B", "A - B (95 %)", "wins", "ties", "losses", "p (sign test)")
    for name, row in [*result["criteria"].items(), ("all, 0 to 3", result["total"])]:
        gap = row["difference"]
        interval = "" if gap["low"] is None else f" ({gap['low']:+.2f} to {gap['high']:+.2f})"
        p = f"{row['p']:.3g}" + (f" (Holm {row['p_holm']:.3g})" if "p_holm" in row else "")
        points = (f"{row['a']:.2f}", f"{row['b']:.2f}", f"{gap['value']:+.2f}{interval}")
        table.add_row(name, *points, *(str(row[k]) for k in ("wins", "ties", "losses")), p)
    console.print(table)
    if result["agreement"] is not None:
        console.print(f"two raters of a video agree on {result['agreement']:.0%} of videos")
    return 0
