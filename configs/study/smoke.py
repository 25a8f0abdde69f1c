"""The machinery of the study in three minutes: every kind of arm, nothing learnt.

    sg4v study run --config=configs/study/smoke.py --out=runs/study_smoke --jobs=2
    sg4v study report --out=runs/study_smoke

Checks that arms are made, trained, asked and reported; no effect can show in so few steps.
"""

from sg4v_jax.configs.study import base


def get_config(arg: str = ""):
    c = base.base()
    c.name, c.split = "smoke", "dev"
    c.counts.update(reading=60, sheets=60, captions=40, dev=12, test=4)
    c.asked.update(captions=4)
    c.steps = 20
    # Few texts make a tokenizer of short pieces.
    c.train.data.positions, c.train.data.scored = 128, 112
    c.train.optim.warmup_ratio = 0.1
    c.train.run.save_every = 10
    for stage in c.stages.values():
        stage.settings.optim.steps = 6
    seeds = (901, 902)
    row = lambda arm, tower, group, **more: dict(
        arm=arm, tower=tower, seeds=seeds, group=group, **more
    )
    c.rows = (
        *(row(arm, "unlocked", "main") for arm in ("vqa", "short", "detailed")),
        row("vqa", "frozen", "main"),
        row("text_only", "unlocked", "control"),
        row("blind", "unlocked", "control"),
        row("false_50", "unlocked", "dose"),
        row("captioner", "unlocked", "captioner"),
        row("detailed", "unlocked", "path", path="frames"),
    )
    return c
