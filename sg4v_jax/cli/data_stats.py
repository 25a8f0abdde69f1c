"""sg4v data stats ARM=FILE [ARM=FILE ...] [--html=FILE] [--json=FILE] | --config=FILE

What training texts are made of, several arms side by side: words, tokens, sentences, type-token
ratio, words of time, parts of speech (extra [captions]), and the share of texts that a model's limit
cuts. FILE is a caption file of any kind that `caption score` reads, a folder that holds a store of
rendered data, or an annotation file with --format. With --config each part of its mix is an arm.

Limits: a row's positions (--positions, with --visual tokens for the video), and those of text
encoders where their tokenizers are given: CLIP 77 (--clip_tokenizer), T5 200, 226, 300 and 512
(--t5_tokenizer).
"""

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from sg4v_jax.errors import ConfigError

_CONFIG = config_flags.DEFINE_config_file("config", None, "a run's config", lock_config=True)
_FORMAT = flags.DEFINE_string("format", "", "of the files, such as llava_json; else caption files")
_ROOT = flags.DEFINE_string("root", "", "folder that paths in the files are relative to")
_TOKENIZER = flags.DEFINE_string("tokenizer", "asset:world", "file or model that counts tokens")
_CLIP = flags.DEFINE_string("clip_tokenizer", "", "CLIP's tokenizer.json, or the folder with it")
_T5 = flags.DEFINE_string("t5_tokenizer", "", "T5's tokenizer.json, or the folder with it")
_POSITIONS = flags.DEFINE_integer("positions", 6144, "of a row", lower_bound=1)
_VISUAL = flags.DEFINE_integer("visual", 1948, "visual tokens of a video", lower_bound=0)
_TEMPLATE = flags.DEFINE_string("template", "llava_llama_3", "chat template of a row")
_TAGGED = flags.DEFINE_integer("tagged", 2000, "texts an arm that are tagged", lower_bound=0)
_HTML = flags.DEFINE_string("html", None, "also write a page to this file")
_JSON = flags.DEFINE_string("json", None, "also write everything to this file")


def main(argv: list[str]) -> int:
    from sg4v_jax import files
    from sg4v_jax.caption import data_stats, data_stats_page
    from sg4v_jax.text.chat import TEMPLATES
    from sg4v_jax.text.tokenizer import Tokenizer

    arms = _arms(argv, data_stats)
    if _TEMPLATE.value not in TEMPLATES:
        raise ConfigError(
            f"--template={_TEMPLATE.value}", mend=f"use one of {', '.join(TEMPLATES)}"
        )
    tokenizer = Tokenizer.from_file(_TOKENIZER.value)
    how = dict(positions=_POSITIONS.value, visual=_VISUAL.value, template=_TEMPLATE.value)
    limits, missing = [data_stats.row_limit(tokenizer, **how)], []
    for kind, file in (("clip", _CLIP.value), ("t5", _T5.value)):
        if file:
            limits += data_stats.encoder_limits(kind, Tokenizer.from_file(file))
        else:
            sizes = ", ".join(map(str, data_stats.LIMITS[kind]))
            missing.append(f"{kind} {sizes}: --{kind}_tokenizer")
    report = data_stats.compared(arms, tokenizer=tokenizer, limits=limits, tagged=_TAGGED.value)
    console = Console()
    console.print(data_stats_page.as_table(report))
    remarks = data_stats_page.notes(report, missing=missing)
    for remark in remarks:
        console.print(remark, markup=False, highlight=False)
    if _JSON.value:
        files.write_json(_JSON.value, report | {"tokenizer": _TOKENIZER.value})
    if _HTML.value:
        data_stats_page.write_page(_HTML.value, report, remarks=remarks)
    return 0


def _arms(argv: list[str], data_stats) -> list:
    if bool(argv) == (_CONFIG.value is not None):
        raise ConfigError("data stats needs ARM=FILE or --config", mend="give one of them")
    if _CONFIG.value is not None:
        from sg4v_jax.data.mixture import parts_of, read_part

        parts, seed = parts_of(_CONFIG.value.data), _CONFIG.value.run.seed
        return [data_stats.arm_of(p.name, read_part(p, seed=seed), source=p.file) for p in parts]
    arms = []
    for word in argv:
        name, _, file = word.partition("=")
        if not name or not file:
            raise ConfigError(f"{word!r} is not ARM=FILE", mend="such as short=captions.jsonl")
        how = dict(format=_FORMAT.value, root=_ROOT.value)
        arms.append(data_stats.read_arm(name, file, **how))
    return arms
