"""Pre-trains the small model that the package ships (`sg4v_jax/assets/world`), in five stages.

First it learns to see (single frames), then to tell four frames apart (a 2x2 grid), then to watch
videos, then to say what comes first, all in the overview alone; at last it looks at videos with
all their tiles. Begun with videos, the tower had learnt nothing in a thousand
steps; with every question at once, what is temporal drowns in what is not.

    sg4v world slides --out=runs/slides1 --videos=4000 --seed=30 --frames=1
    sg4v world slides --out=runs/slides4 --videos=6000 --seed=31 --frames=4
    sg4v world make --out=runs/world_base_data --videos=16000 --seed=11 --questions=7 \
        --mix=temporal:2,static:2,frame:3
    sg4v world make --out=runs/world_order --videos=12000 --seed=12 --questions=2 \
        --mix=order:1,static:1 --captions=none
    sg4v world make --out=runs/world_look --videos=6000 --seed=13 --questions=4 \
        --mix=order:1,order_yesno:1,static:2 --captions=short
    for stage in see tell watch order look; do
      sg4v train --config=configs/world_base.py:$stage --workdir=runs/base_$stage
    done
    sg4v model save --model=runs/base_look --out=sg4v_jax/assets/world

About half an hour of steps on two CPU cores, and some minutes to render the data. All of it shows
the train split only: no held-out pair of shape and color, and no test video.
"""

from sg4v_jax.configs import common

from sg4v_jax.errors import ConfigError

STAGES = ("see", "tell", "watch", "order", "look")


def get_config(arg: str = "look"):
    """The config of one stage."""
    if arg not in STAGES:
        raise ConfigError(f"world_base: stage {arg!r} is unknown", mend=f"use one of {STAGES}")
    c = common.base()
    c.model.preset = "sg4v-world"
    c.model.dtype = "float32"
    c.model.remat = "dots"
    c.data.tokenizer = "asset:world/tokenizer.json"
    c.data.template = "llama_3_bare"
    c.data.preamble = ""
    c.data.positions = 512
    c.data.batch_rows = 8
    # Patches have 1,728 inputs, most of them alike: at the others' rate their sum runs away.
    c.optim.rules = (
        ("tower.embeddings.patch", "patches"),
        ("tower|projector", "vision"),
        (".*", "llm"),
    )
    c.optim.groups = dict(
        patches=dict(learning_rate=1e-4, weight_decay=0.05),
        vision=dict(learning_rate=7e-4, weight_decay=0.05),
        llm=dict(learning_rate=1e-3, weight_decay=0.05),
    )
    c.optim.b2 = 0.98
    c.optim.floor = 0.3
    c.run.log_every = 10
    c.run.save_every = 100
    dict(see=_see, tell=_tell, watch=_watch, order=_order, look=_look)[arg](c)
    return c


def _see(c):
    c.data.annotations = ("runs/slides1/train.json",)
    c.data.visual = "overview"
    c.data.frames = 1
    c.data.tiles = 12
    c.data.scored = 200
    c.optim.steps = 150


def _tell(c):
    c.model.init = "runs/base_see"
    c.data.annotations = ("runs/slides4/train.json",)
    c.data.visual = "overview"
    c.data.frames = 4
    c.data.tiles = 8
    c.data.scored = 400
    c.optim.steps = 200


def _watch(c):
    c.model.init = "runs/base_tell"
    c.data.annotations = ("runs/world_base_data/train.json",)
    c.data.visual = "overview"
    c.data.tiles = 8
    c.data.scored = 240
    c.optim.steps = 1000
    c.optim.stop_step = 300


def _order(c):
    c.model.init = "runs/base_watch"
    c.data.annotations = ("runs/world_order/train.json",)
    c.data.visual = "overview"
    c.data.tiles = 9
    c.data.scored = 128
    c.optim.steps = 400


def _look(c):
    c.model.init = "runs/base_order"
    c.data.annotations = ("runs/world_look/train.json",)
    c.data.tiles = 15
    c.data.scored = 160
    c.optim.steps = 300
    c.optim.floor = 0.1
