"""The caption-quality study, whatever its scale; `small.py`, `smoke.py` and `mini.py` set sizes.

A study has `config.train` (a config of `sg4v train`, of which every training of the study is a
variant), stages of pre-training, arms, and what is asked. See README.md here for the design.
"""

import ml_collections
from ml_collections import config_dict
from sg4v_jax.configs import common

TOWER = ("patches", "tower")


def base() -> ml_collections.ConfigDict:
    """A config with every field, at the sizes of `small`."""
    c = ml_collections.ConfigDict()
    c.name = "small"
    c.split = "test"  # what the arms are asked about: dev until the design is fixed, then test
    c.world = config_dict.ConfigDict(dict(bystander=0.3, camera=0.25))
    c.one_core = True  # each run computes on one core, so that its numbers are the same anywhere
    c.canvas = 24  # pixels a side of a frame
    c.vocabulary = 512
    c.learn_tokenizer = True
    c.counts = config_dict.ConfigDict(
        dict(reading=8000, sheets=6000, captions=4000, dev=200, test=256)
    )
    c.asked = config_dict.ConfigDict(dict(scenes=0, captions=100))  # 0: all
    c.steps = 4000
    c.caption_weight = 0.3  # what a caption's token counts in the loss beside an answer's
    c.arm_rate = 1.0  # times the learning rates of `train`; tuned on `vqa` with seeds of its own
    c.tower_groups = TOWER
    c.train = train()
    c.paths = config_dict.ConfigDict(
        dict(
            grid=dict(settings=dict(model=dict(preset="sg4v-study")), more_positions=0),
            # 16 pictures, a line end after each.
            frames=dict(
                settings=dict(model=dict(preset="sg4v-study-frames"), data=dict(tiles=16)),
                more_positions=15,
            ),
        )
    )
    c.stages = stages()
    c.order = ("read", "stills", "sheets")  # of the stages, each from the one before
    c.rows = rows(unlocked=(1, 2, 3, 4, 5), frozen=(1, 2, 3, 4, 5, 6, 7, 8), some=(1, 2, 3))
    return c


def train() -> ml_collections.ConfigDict:
    """What all trainings share."""
    c = common.base()
    c.model.preset = "sg4v-study"
    c.model.dtype = "float32"
    c.model.remat = "none"
    c.data.template = "llama_3_bare"
    c.data.preamble = ""
    c.data.visual = "overview"
    c.data.band = 0
    c.data.positions = 100  # the longest true caption needs 97
    c.data.too_long = "truncate"  # a captioner's may be longer; results count what is cut
    c.data.tiles = 1
    c.data.scored = 84  # all that is not a picture's
    c.data.batch_rows = 8
    c.optim.rules = (
        ("tower.embeddings.patch", "patches"),
        ("tower", "tower"),
        (".*", "llm"),
    )
    c.optim.groups = dict(
        patches=dict(learning_rate=1.25e-4, weight_decay=0.05),
        tower=dict(learning_rate=2.5e-4, weight_decay=0.05),
        llm=dict(learning_rate=1e-3, weight_decay=0.05),
    )
    c.optim.b2 = 0.98
    c.optim.warmup_ratio = 0.07
    c.optim.floor = 0.02
    c.run.log_every = 10
    c.run.save_every = 200
    c.run.keep = 1
    c.run.threads = 1
    c.run.maintenance_url = ""
    return c


def stages() -> config_dict.ConfigDict:
    """Pre-training: read, look at stills, look at contact sheets. No video, no event seen."""
    read = dict(data=dict(tiles=0, positions=320, batch_rows=10), optim=dict(steps=700))
    return config_dict.ConfigDict(
        dict(
            read=dict(parts=dict(reading=dict()), settings=read, rate=2.0),
            stills=dict(
                parts=dict(stills=dict()),
                settings=dict(optim=dict(steps=400), data=dict(batch_rows=16)),
            ),
            sheets=dict(
                parts=dict(sheets=dict(loss_weight=0.3), reading=dict(weight=0.1)),
                settings=dict(optim=dict(steps=1500), data=dict(positions=128, batch_rows=16)),
            ),
        )
    )


def rows(*, unlocked: tuple, frozen: tuple, some: tuple) -> tuple[dict, ...]:
    """The design: what is trained, with which seeds.

    Args:
      unlocked, frozen: seeds of the paper's rows. some: of doses and of the second visual path.
    """
    row = lambda arm, tower, seeds, group, **more: dict(
        arm=arm, tower=tower, seeds=seeds, group=group, **more
    )
    main = [
        *(row(arm, "unlocked", unlocked, "main") for arm in ("vqa", "short", "detailed")),
        *(row(arm, "frozen", frozen, "main") for arm in ("vqa", "short", "detailed")),
        row("vqa_passes", "unlocked", unlocked, "control"),
    ]
    controls = ("long_static", "shuffled", "text_only", "detailed_short_tokens", "blind")
    doses = ("sentences_1", "sentences_2", "sentences_4", "omission_25", "omission_50")
    doses += ("false_10", "false_25", "false_50")
    doses += ("vqa_400", "vqa_6400", "detailed_400", "detailed_6400")
    return (
        *main,
        *(row(arm, "unlocked", some, "control") for arm in controls),
        *(row(arm, "unlocked", some, "dose") for arm in doses),
        row("captioner", "unlocked", some, "captioner"),
        *(
            row(arm, "unlocked", some, "path", path="frames")
            for arm in ("vqa", "short", "detailed")
        ),
    )
