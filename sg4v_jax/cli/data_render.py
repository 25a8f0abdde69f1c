"""sg4v data render --config=FILE --out=DIR [--parts=NAME,...] [--workers=1] [--codec=tiff]

Renders the videos of a config's data parts once, into a store of each part at DIR/NAME (ArrayRecord,
which TFDS reads too). A part `dict(name=NAME, file="DIR/NAME", format="arrayrecord")` then trains
without opening a video, on the same pictures to the bit (but with jpeg). Run again after a stop, it
goes on; several machines may work on one DIR. Codecs: tiff, png, webp, ppm (exact), jpeg[:QUALITY].
"""

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from sg4v_jax.errors import ConfigError

_CONFIG = config_flags.DEFINE_config_file("config", None, "the run's config", lock_config=True)
_OUT = flags.DEFINE_string("out", None, "folder of the stores, local or gs://")
_PARTS = flags.DEFINE_list("parts", [], "names of the parts to render; all by default")
_WORKERS = flags.DEFINE_integer("workers", 1, "processes that render", lower_bound=1)
_CODEC = flags.DEFINE_string("codec", "tiff", "tiff, png, webp, ppm or jpeg[:QUALITY]")
_STORE_AS = flags.DEFINE_enum(
    "store_as", "views", ["views", "grid"], "this tiling's two views, or whole pictures"
)
_SHARDS = flags.DEFINE_integer("shards", 0, "files a part; 0: one every 256 records", lower_bound=0)


def main(argv: list[str]) -> int:
    if _CONFIG.value is None or not _OUT.value:
        raise ConfigError("data render needs --config and --out", mend="see its --help")
    from sg4v_jax.cli.runtime import start_jax

    start_jax()
    from sg4v_jax import files
    from sg4v_jax.data.mixture import parts_of, read_part
    from sg4v_jax.data.store.write import write_shards
    from sg4v_jax.tasks.run_setup import model_settings

    config, console = _CONFIG.value, Console()
    spec = model_settings(config).inputs
    parts = {part.name: part for part in parts_of(config.data)}
    if unknown := set(_PARTS.value) - set(parts):
        raise ConfigError(f"--parts: no part {min(unknown)!r}", mend=f"use {', '.join(parts)}")
    for name in _PARTS.value or parts:
        store = write_shards(
            read_part(parts[name], seed=config.run.seed),
            out=files.path(files.safe_join(_OUT.value, name, where="data.parts: name")),
            spec=spec,
            shards=_SHARDS.value,
            codec=_CODEC.value,
            store_as=_STORE_AS.value,
            workers=_WORKERS.value,
            max_skipped=config.data.max_skipped,
            seconds=config.data.decode_seconds,
            console=console,
        )
        size = sum(shard.bytes for shard in store.shards) / 1e6
        said = f"{store.folder}: {store.records} records, {len(store.shards)} shards, {size:.1f} MB"
        left = f", {len(store.skipped)} left out" if store.skipped else ""
        console.print(said + left, markup=False, highlight=False, soft_wrap=True)
    return 0
