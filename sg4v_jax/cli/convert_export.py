"""sg4v convert export --model=DIR --out=DIR --layout=llava|hf|clip|llama [--shard_size=5GB]

Writes a model for PyTorch: sharded safetensors, config, tokenizer, preprocessor and model card.
`hf` loads with transformers' LlavaNextForConditionalGeneration and AutoProcessor, `llava` with the
code of ShareGPT4Video, `clip` and `llama` are the tower and the decoder alone. A model trained by
low-rank branches needs --merge_lora, or --adapter=BASE to write the branches as a peft adapter
of BASE, with projector and tower beside it.
"""

from absl import flags
from rich.console import Console

from sg4v_jax.cli import convert_flags
from sg4v_jax.errors import ConfigError

_MODEL = flags.DEFINE_string("model", None, "model directory, checkpoint folder, or hub id")
_OUT = flags.DEFINE_string("out", None, "folder to write; must not exist")
_LAYOUT = flags.DEFINE_enum("layout", None, ["llava", "hf", "clip", "llama"], "names to write")
_SHARD = flags.DEFINE_string("shard_size", "5GB", "largest file, like 5GB or 500MB")
_MERGE = flags.DEFINE_boolean("merge_lora", False, "add low-rank branches to their matrices")
_ADAPTER = flags.DEFINE_string("adapter", None, "write an adapter, naming this base model")

convert_flags.define()


def main(argv: list[str]) -> int:
    if not _MODEL.value or not _OUT.value or not (_LAYOUT.value or _ADAPTER.value):
        raise ConfigError(
            "convert export needs --model, --out and --layout",
            mend="see `sg4v convert export --help`",
        )
    if _MERGE.value and _ADAPTER.value:
        raise ConfigError("--merge_lora and --adapter exclude each other", mend="leave one out")
    from sg4v_jax.cli.runtime import start_jax

    start_jax()
    from sg4v_jax.weights import assemble, export_model

    console = Console()
    model = assemble.model(convert_flags.request(_MODEL.value))
    if _ADAPTER.value:
        export_model.write_adapter(model, _OUT.value, base=_ADAPTER.value)
        console.print(f"{_OUT.value}: an adapter of {_ADAPTER.value}", markup=False)
        return 0
    if _MERGE.value:
        model = assemble.merged(model)
    total = sum(p.nbytes for p in model.params.values())
    with convert_flags.bytes_bar("writing", total=total) as progress:
        notes = export_model.write(
            model,
            _OUT.value,
            layout=_LAYOUT.value,
            shard_size=_SHARD.value,
            progress=progress,
        )
    for note in (*model.notes, *notes):
        console.print(note, markup=False, soft_wrap=True)
    console.print(f"{_OUT.value}: layout {_LAYOUT.value}", markup=False)
    return 0
