"""Memory and seconds of a training step by arithmetic: what to compile, before anything is compiled.

Legend: `D` width, `Q` and `K` widths of heads and kv heads, `F` ffn, `t` size of `tensor`, `r` rank of
low-rank branches; "position": of the rows that a chip works on at once (of a micro-batch, its part of
`context`). Numbers are bf16 unless f32 is said.

Bytes of a chip are the sum of (`Parts`):

    state       f32 masters and two moments of what trains, frozen parameters as they are stored; each
                lies as `sharding.spec_for` says, so a LoRA `B`, which nothing splits, counts whole
    gradients   masters' bytes x (2.6, + 1.5 with micro-batches, + 1 under context): the sum over the
                batch, the scaled one, parts of the update; with micro-batches the running sum and the
                masters in bf16 for all of them; under context a sum that waits for the other positions
    kept        what the backward pass reads of each layer and position (`kept_by_layer`, and of the
                tower `kept_by_block`, if it trains)
    weights     2.4 x one decoder layer: this one's and the next one's, gathered, and a gradient
    working     10 F / t + 10 D for each position, also those of the other chips of `context`: the backward
                pass of one layer; or, if that is more, 10 bytes a logit of one vocabulary chunk (f32
                logits and exponentials, their slope), which lie there while no layer works
    program     0.1 GiB of code

The factors are fitted: `tests/plan/compiled.csv` has what the compiler planned for 32 layouts (full,
LoRA, frozen tower; seven slices and a pair), and a test holds the sum between 10 % below and 15 % above
each of them. They are no proof of what the compiler holds when. In none of these are a chunk's logits
what takes most. The batch and padding (under 0.1 GiB there) are not counted.

Seconds: operations, what is recomputed included, at `EFFICIENCY` of the peak; and what is sent: half of
what `fsdp` (over all links) and `data` send shows, and all of what `tensor` and `context` send, over one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from types import SimpleNamespace

from sg4v_jax import sharding
from sg4v_jax.chips import GIB
from sg4v_jax.models.lora import is_lora
from sg4v_jax.models.params import Skeleton
from sg4v_jax.models.video_lm import VideoLMConfig
from sg4v_jax.plan.case import Case, model_settings
from sg4v_jax.plan.topology import Slice
from sg4v_jax.tasks import step_of
from sg4v_jax.train import flops
from sg4v_jax.train.optim import FROZEN

EFFICIENCY = 0.6  # of the peak, in products: what compiled steps came out at

# Factors of the terms above, fitted to compiled steps.
GRADIENTS, GRADIENTS_ADDED, GRADIENTS_CONTEXT = 2.6, 1.5, 1.0
WEIGHTS, WORKING = 2.4, 10
LOGIT = 10  # bytes
PROGRAM = 0.1 * GIB

# Forward passes in all, as a part of one: what is computed a second time.
AGAIN = {"full": 1.0, "offload": 0.75, "projections": 0.65, "dots": 0.05, "none": 0.0}


@dataclasses.dataclass(frozen=True)
class Layout:
    """One way to run a config: sizes of all mesh axes, recomputation, micro-batches."""

    mesh: Mapping[str, int]
    remat: str
    accumulate: int


@dataclasses.dataclass(frozen=True)
class Parts:
    """Bytes of a chip, by what takes them (the module's docstring has the formulas)."""

    state: float
    gradients: float
    kept: float
    weights: float
    working: float
    program: float = PROGRAM

    @property
    def total(self) -> float:
        return sum(dataclasses.astuple(self))


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is weighed: a case without its own mesh, recomputation and micro-batches."""

    case: Case
    model: VideoLMConfig
    skeleton: Skeleton
    groups: Mapping[str, str]

    @staticmethod
    def of(case: Case) -> Subject:
        settings, _ = model_settings(case.config)
        return Subject(case, settings.config, *step_of.parts(case.config, settings))

    @functools.cached_property
    def flops(self) -> flops.Flops:
        return flops.step(self.model, self.case.row, skeleton=self.skeleton, groups=self.groups)

    @functools.cached_property
    def parameters(self) -> tuple[int, int]:
        """How many train, and how many are frozen."""
        size = lambda keep: sum(
            s.size for p, s in self.skeleton.shapes.items() if keep(self.groups[p] == FROZEN)
        )
        return size(lambda frozen: not frozen), size(lambda frozen: frozen)

    def bytes_of(self, mesh: Mapping[str, int]) -> tuple[float, float]:
        """Bytes of a chip: of f32 masters, of frozen parameters.

        Raises:
          ConfigError: the mesh cannot split an axis that must be.
        """
        frozen_bytes = 2 if self.case.config.model.frozen_dtype == "bfloat16" else 4
        trained = frozen = 0.0
        for path, s in self.skeleton.shapes.items():
            share = s.size / _parts(s.shape, self.skeleton.axes[path], mesh)
            if self.groups[path] == FROZEN:
                frozen += frozen_bytes * share
            else:
                trained += 4 * share
        return trained, frozen

    def trains(self, part: str) -> bool:
        return any(p.startswith(f"{part}.") and g != FROZEN for p, g in self.groups.items())

    @property
    def rank(self) -> int:
        """Of the low-rank branches in the decoder's layers; 0: there are none."""
        shapes = self.skeleton.shapes
        own = (p for p in shapes if p.startswith("llm.layers.") and is_lora(p))
        return next((shapes[p].shape[-1] for p in own if p.endswith("lora_a")), 0)

    def positions(self, layout: Layout) -> tuple[float, float]:
        """Positions of the decoder and of the tower that a chip works on at once."""
        mesh, row = layout.mesh, self.case.row
        rows = self.case.config.data.batch_rows // layout.accumulate
        decoder = rows / (mesh["data"] * mesh["fsdp"]) * row.positions / mesh["context"]
        tower, tiles = self.model.tower, rows * row.tiles
        own = tiles / _parts((tiles,), ("tiles",), mesh) if tiles else 0
        return decoder, own * (tower.patches**2 + tower.class_token)


def _parts(shape, axes, mesh: Mapping[str, int]) -> int:
    """Into how many parts a mesh of these sizes splits an array."""
    spec = sharding.spec_for(axes, shape=shape, mesh=SimpleNamespace(shape=mesh))
    return math.prod(mesh[a] for part in spec for a in sharding.axes_of(part))


def kept_by_layer(
    remat: str, *, d: float, q: float, kv: float, ffn: float, heads: float, rank: int
) -> float:
    """Numbers (of bf16) that the backward pass keeps for one position of one decoder layer.

    Args:
      d, q, kv, ffn, heads: D, Q / t, K / t, F / t, heads / t.
      rank: of low-rank branches; 0: there are none.

    They are the outputs of the scan over layers in the jaxpr of the gradient, with splash attention,
    whose own residuals are its output and a f32 sum a head:

        full, offload   D: the layer's input
        projections     2 D + F + 2 Q: also `o`, the gate, attention's output (residual and by name)
        dots            2 D + 2 F + 3 Q + 4 K: `o`; gate, up; q, k, v, and q and k again in f32, as the
                        product that rotates them. Branches: D + 2 F + Q + 2 K + 7 r more
        none            8 D + 6 F + 3 Q + 2 K. Branches: 3.5 D + (F + Q) / 2 + 7 r more, as the masks of
                        their dropout are bytes
    """
    lora = rank > 0
    if remat == "projections":
        return 2 * d + ffn + 2 * q + 2 * heads
    if remat == "dots":
        branches = d + 2 * ffn + q + 2 * kv + 7 * rank
        return 2 * d + 2 * ffn + 3 * q + 4 * kv + lora * branches
    if remat == "none":
        branches = 3.5 * d + 0.5 * (ffn + q) + 7 * rank
        return 8 * d + 6 * ffn + 3 * q + 2 * kv + 2 * heads + lora * branches
    return d


def kept_by_block(remat: str, *, width: int, ffn: int) -> float:
    """The same for one position of one block of the tower, nothing of which `tensor` splits."""
    kept = {"projections": 3 * width, "dots": 5 * width + ffn, "none": 15 * width + 4 * ffn}
    return kept.get(remat, width)


def memory(subject: Subject, layout: Layout) -> Parts:
    """Bytes of a chip.

    Raises:
      ConfigError: the mesh cannot split an axis that must be.
    """
    model, mesh, remat = subject.model, layout.mesh, layout.remat
    c, v, tensor = model.llm, model.tower, mesh["tensor"]
    trained, frozen = subject.bytes_of(mesh)
    slots = 2 * trained
    gradients = GRADIENTS + GRADIENTS_ADDED * (layout.accumulate > 1)
    gradients += GRADIENTS_CONTEXT * (mesh["context"] > 1)

    decoder, tower = subject.positions(layout)
    heads, kv = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    d, ffn = c.hidden_size, c.intermediate_size
    layer = kept_by_layer(
        remat,
        d=d,
        q=heads / tensor,
        kv=max(kv / tensor, c.head_dim),  # one head at least (`sharding.copies_of_heads`)
        ffn=ffn / tensor,
        heads=c.num_attention_heads / tensor,
        rank=subject.rank,
    )
    kept = decoder * c.num_hidden_layers * layer
    if subject.trains("tower"):
        block = kept_by_block(remat, width=v.hidden_size, ffn=v.intermediate_size)
        kept += tower * v.layers_run * block
    matrices = (2 * d * heads + 2 * d * kv + 3 * d * ffn) / tensor
    # Without recomputation the products' inputs are kept: also each layer's weights, gathered.
    layers = c.num_hidden_layers if remat == "none" else WEIGHTS
    working = 2 * decoder * mesh["context"] * WORKING * (ffn / tensor + d)
    return Parts(
        state=trained + slots + frozen,
        gradients=gradients * trained,
        kept=2 * kept,
        weights=2 * layers * matrices,
        working=max(working, LOGIT * _logits(subject, layout)),
    )


def _logits(subject: Subject, layout: Layout) -> float:
    """How many logits of one vocabulary chunk a chip holds."""
    case, mesh = subject.case, layout.mesh
    rows = case.config.data.batch_rows // layout.accumulate
    shape = (
        rows,
        case.row.scored,
        -(-subject.model.llm.vocab_size // case.config.optim.vocab_chunks),
    )
    return math.prod(shape) / _parts(shape[:2], ("batch", "position"), mesh) / mesh["tensor"]


def seconds(subject: Subject, layout: Layout) -> float:
    """Of one step."""
    case, work = subject.case, subject.flops
    again = AGAIN[layout.remat] * sum(work.forward.values())
    operations = case.config.data.batch_rows * (sum(work.step.values()) + again)
    compute = operations / case.slice.chips / case.slice.chip.peak / EFFICIENCY
    return compute + _sending(subject, layout, case.slice)


def _sending(subject: Subject, layout: Layout, slice_: Slice) -> float:
    """Seconds of communication that show: half of what `fsdp` and `data` send, all of the others'."""
    mesh, accumulate, llm = layout.mesh, layout.accumulate, subject.model.llm
    links = sum(2 if slice_.wraps(d) else 1 for d in range(len(slice_.shape))) * slice_.chip.link
    (trained, frozen), (here, _) = subject.parameters, subject.positions(layout)
    layers = accumulate * llm.num_hidden_layers
    gathered = within = 0.0
    if mesh["fsdp"] > 1:
        weights = 2 * (trained + frozen) / mesh["tensor"]
        gathered = accumulate * (2 * weights + 2 * 2 * trained / mesh["tensor"])
    if mesh["tensor"] > 1:
        share = (mesh["tensor"] - 1) / mesh["tensor"]
        stream = 2 * share * here * 2 * llm.hidden_size  # one all-reduce of the residual stream
        within += layers * 6 * stream
    if mesh["context"] > 1:
        wide = 2 * llm.num_key_value_heads * llm.head_dim * 2
        within += layers * 3 * here * mesh["context"] * wide
    # Each chip's part of the gradient goes to the other slices, in half precision, as it is made.
    between = 0.0
    if mesh["data"] > 1:
        between = accumulate * 2 * trained / (mesh["fsdp"] * mesh["tensor"])
    slow = slice_.chip.dcn if slice_.slices > 1 else links
    # Few neighbours along one dimension share `tensor` and `context`: one link.
    return 0.5 * (gathered / links + between / slow) + within / slice_.chip.link
