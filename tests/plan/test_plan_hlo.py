"""The reader of optimized HLO, on small texts in the compiler's spelling."""

from __future__ import annotations

import pytest

from sg4v_jax.chips import CHIPS
from sg4v_jax.plan import attention, collectives, estimate, hlo, topology

# Two nested loops (3 x 5), the inner one's bound in a computation of its own; a fusion with cycles
# that holds an instruction with cycles; a conditional of two branches.
LOOPS = """\
HloModule jit_step, is_scheduled=true

%fused.1 (p.0: bf16[8,128]) -> bf16[8,128] {
  %p.0 = bf16[8,128]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %inside.1 = bf16[8,128]{1,0:T(8,128)(2,1)} convert(%p.0), backend_config={"estimated_cycles":"999"}
}

%inner.body (p.1: (s32[], bf16[8,128])) -> (s32[], bf16[8,128]) {
  %p.1 = (s32[]{:T(128)}, bf16[8,128]{1,0:T(8,128)(2,1)}) parameter(0)
  %gte.1 = bf16[8,128]{1,0:T(8,128)(2,1)} get-tuple-element(%p.1), index=1
  %fusion.1 = bf16[8,128]{1,0:T(8,128)(2,1)S(1)} fusion(%gte.1), kind=kLoop, calls=%fused.1, backend_config={"window_config":{"estimated_cycles":"100"}}
  ROOT %tuple.1 = (s32[]{:T(128)}, bf16[8,128]{1,0:T(8,128)(2,1)}) tuple(%gte.0, %fusion.1)
}

%bound (q.0: s32[]) -> pred[] {
  %five = u32[]{:T(128)} constant(5)
  ROOT %less = pred[]{:T(512)} compare(%q.0, %five), direction=LT
}

%inner.condition (p.2: (s32[], bf16[8,128])) -> pred[] {
  %p.2 = (s32[]{:T(128)}, bf16[8,128]{1,0:T(8,128)(2,1)}) parameter(0)
  ROOT %call.1 = pred[]{:T(512)} fusion(%gte.2), kind=kLoop, calls=%bound
}

%outer.body (p.3: (s32[], bf16[8,128])) -> (s32[], bf16[8,128]) {
  %while.1 = (s32[]{:T(128)}, bf16[8,128]{1,0:T(8,128)(2,1)}) while(%tuple.2), condition=%inner.condition, body=%inner.body
  ROOT %copy.1 = (s32[]{:T(128)}, bf16[8,128]{1,0}) copy(%while.1), backend_config={"estimated_cycles":"7"}
}

%outer.condition (p.4: (s32[], bf16[8,128])) -> pred[] {
  %three = s32[]{:T(128)} constant(3)
  %far = f32[]{:T(128)} constant(1000)
  ROOT %lt.1 = pred[]{:T(512)} compare(%gte.3, %three), direction=LT
}

%cheap (p.5: f32[]) -> f32[] {
  ROOT %a.1 = f32[]{:T(128)} copy(%p.5), backend_config={"estimated_cycles":"1"}
}

%dear (p.6: f32[]) -> f32[] {
  ROOT %b.1 = f32[]{:T(128)} copy(%p.6), backend_config={"estimated_cycles":"50"}
}

ENTRY %main.1 (p.7: s32[], p.8: bf16[8,128]) -> (s32[], bf16[8,128]) {
  %conditional.1 = f32[]{:T(128)} conditional(%c, %x, %y), branch_computations={%cheap, %dear}
  ROOT %while.2 = (s32[]{:T(128)}, /*index=1*/bf16[8,128]{1,0:T(8,128)(2,1)}) while(%tuple.3), condition=%outer.condition, body=%outer.body
}
"""

# A Pallas call spreads over lines, one of which begins with braces.
KERNEL = """\
HloModule jit_step

ENTRY %main (q: bf16[2,32,2048,128]) -> bf16[2,32,2048,128] {
  %splash_mha_fwd_residuals.3 = (bf16[2,32,2048,128]{3,2,1,0:T(8,128)(2,1)}, f32[2,32,2048,128]{3,2,1,0}) custom-call(%c.1, %q.1, %k.1, %v.1), custom_call_target="tpu_custom_call", operand_layout_constraints={s8[1,4,4]{2,1,0}, bf16[2,32,2048,128]{3,2,1,0}, bf16[2,8,2048,128]{3,2,1,0}, bf16[2,8,2048,128]{3,2,1,0}}, frontend_attributes={kernel_metadata={
"xprof_metadata":"{\\"block_q\\": 512}"
}}, metadata={op_name="jit(step)/attention"}, backend_config={"custom_call_config":{"body":"TUzvUgFN
}} = not an instruction"}}
  %splash_mha_dkv_no_residuals.1 = (bf16[2,8,640,128]{3,2,1,0}, bf16[2,8,640,128]{3,2,1,0}) custom-call(%q.2), custom_call_target="tpu_custom_call", operand_layout_constraints={bf16[2,16,640,64]{3,2,1,0}, bf16[2,16,640,64]{3,2,1,0}}
  ROOT %copy.9 = bf16[2,32,2048,128]{3,2,1,0} copy(%gte.1), backend_config={"estimated_cycles":"11"}
}
"""

# One gather hidden in three computations with one channel, one plain, one that was asynchronous and
# was turned back, a start with work before its end and one without; a reduce-scatter as the compiler
# prints it, beside a plain all-reduce.
TRAFFIC = """\
HloModule jit_step

%start (p: bf16[64,256]) -> (bf16[64,256], bf16[256,256]) {
  ROOT %all-gather.1 = bf16[256,256]{1,0:T(8,128)(2,1)} all-gather(%p), channel_id=7, replica_groups=mesh['axis_0'=4,'axis_1'=1] {'axis_0'}, dimensions={0}, backend_config={"async_collective_fusion_config":{"flag_start":"-1","flag_end":"-1"}}
}

%async_collective_fusion.1 (p: bf16[64,256]) -> bf16[256,256] {
  ROOT %all-gather.2 = bf16[256,256]{1,0:T(8,128)(2,1)} all-gather(%p), channel_id=7, replica_groups=mesh['axis_0'=4,'axis_1'=1] {'axis_0'}, dimensions={0}, backend_config={"async_collective_fusion_config":{"flag_start":"2","flag_end":"8"}}
}

%end (p: bf16[64,256]) -> bf16[256,256] {
  ROOT %all-gather.3 = bf16[256,256]{1,0:T(8,128)(2,1)} all-gather(%p), channel_id=7, replica_groups=mesh['axis_0'=4,'axis_1'=1] {'axis_0'}, dimensions={0}, backend_config={"async_collective_fusion_config":{"flag_start":"2","flag_end":"8"}}
}

%all-reduce-scatter.5 (input: bf16[256,256]) -> bf16[64,256] {
  %all-reduce.4 = bf16[256,256]{1,0:T(8,128)(2,1)} all-reduce(%input), channel_id=9, replica_groups={{0,1,2,3}}, to_apply=%add
  ROOT %slice.1 = bf16[64,256]{1,0:T(8,128)(2,1)} dynamic-slice(%all-reduce.4, %i, %z), dynamic_slice_sizes={64,256}
}

ENTRY %main (p: bf16[64,256]) -> bf16[256,256] {
  %fusion.1 = (bf16[64,256]{1,0}, bf16[256,256]{1,0}) fusion(%p), kind=kCustom, calls=%start
  %fusion.2 = bf16[256,256]{1,0} fusion(%fusion.1), kind=kOutput, calls=%async_collective_fusion.1, backend_config={"estimated_cycles":"1500"}
  %fusion.3 = bf16[256,256]{1,0} fusion(%fusion.2), kind=kCustom, calls=%end
  %all-gather.9 = f32[1,1024]{1,0:T(1,128)S(1)} all-gather(%x), channel_id=11, replica_groups=[1,4]<=[4], dimensions={1}, frontend_attributes={async_collective_name="all-gather-start.3"}
  %fusion.4 = bf16[64,256]{1,0} fusion(%fusion.3), kind=kCustom, calls=%all-reduce-scatter.5, metadata={op_name="gradient"}
  %all-reduce.6 = (f32[]{:T(128)}, f32[16]{0:T(128)}) all-reduce(%a, %b), channel_id=12, replica_groups={{0,2},{1,3}}, to_apply=%add
  %collective-permute-start.1 = (bf16[8,128]{1,0}, bf16[8,128]{1,0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%y), channel_id=13, source_target_pairs={{0,1},{1,2}}
  %work.1 = bf16[8,128]{1,0} copy(%z), backend_config={"estimated_cycles":"10"}
  %collective-permute-done.1 = bf16[8,128]{1,0} collective-permute-done(%collective-permute-start.1)
  %collective-permute-start.2 = (bf16[8,128]{1,0}, bf16[8,128]{1,0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%y), channel_id=14, source_target_pairs={{0,1},{1,2}}
  ROOT %collective-permute-done.2 = bf16[8,128]{1,0} collective-permute-done(%collective-permute-start.2)
}
"""


def test_cycles_are_weighted_by_nested_loops_and_the_costlier_branch():
    module = hlo.parse(LOOPS)
    assert module.entry == "main.1"
    assert module.cycles_of() == 50 + 3 * (7 + 5 * 100)


def test_what_stands_in_a_fusion_runs_as_often_but_adds_no_cycles():
    seen = {i.name: (times, hlo.in_fusion(inside)) for i, times, inside in hlo.parse(LOOPS).walk()}
    assert seen["inside.1"] == (15, True)
    assert seen["fusion.1"] == (15, False)


def test_a_loop_without_a_bound_counts_once():
    text = LOOPS.replace("%three = s32[]{:T(128)} constant(3)", "%three = s32[]{:T(128)} copy(%n)")
    assert hlo.parse(text).cycles_of() == 50 + 7 + 5 * 100


@pytest.mark.parametrize(
    ("shape", "arrays"),
    [
        ("bf16[2,4]{1,0:T(8,128)(2,1)S(1)}", [("bf16", (2, 4))]),
        ("(f32[], /*index=1*/s8[3]{0})", [("f32", ()), ("s8", (3,))]),
        ("token[]", [("token", ())]),
    ],
)
def test_shapes(shape, arrays):
    assert hlo.arrays_of(shape) == arrays
    assert hlo.size_of([("bf16", (2, 4)), ("s4", (4,))]) == 18


def test_a_kernel_call_over_several_lines_is_one_instruction():
    module = hlo.parse(KERNEL)
    names = [i.name for i in module.computations["main"]]
    assert names == ["splash_mha_fwd_residuals.3", "splash_mha_dkv_no_residuals.1", "copy.9"]
    assert module.cycles_of() == 11
    first = module.computations["main"][0]
    assert first.opcode == "custom-call"
    assert first.operands == ["c.1", "q.1", "k.1", "v.1"]
    assert first.attribute(r'op_name="([^"]*)"') == "jit(step)/attention"


def test_attention_kernels_by_arithmetic():
    forward, backward = attention.find(hlo.parse(KERNEL))
    assert forward.name == "splash_mha_fwd_residuals"
    pairs = 2 * 32 * 2048 * 2048  # rows, heads, queries, keys
    assert forward.flops(causal_from=2048) == 2 * 2 * pairs * 128 / 2
    assert forward.flops(causal_from=4096) == 2 * 2 * pairs * 128
    assert backward.flops(causal_from=2048) == 4 * 2 * (2 * 16 * 640 * 640) * 64
    chip = CHIPS["v5e"]
    both = forward.flops(causal_from=2048) + backward.flops(causal_from=2048)
    assert attention.seconds([forward, backward], chip=chip, causal_from=2048) == pytest.approx(
        both / (attention.EFFICIENCY * chip.peak)
    )


def test_a_kernel_without_known_products_is_bound_by_memory():
    cache = ("bf16", (32, 8, 1, 4096, 128))  # of all layers: a call reads one
    kernel = attention.Kernel("decode_attention", 3, [("bf16", (8, 1, 4, 128)), cache])
    assert kernel.flops(causal_from=0) == 0
    took = attention.seconds([kernel], chip=CHIPS["v5e"])
    assert took == pytest.approx(3 * 2 * (8 * 4 * 128 + 8 * 4096 * 128) / 819e9)


def test_collectives_by_kind_hidden_or_not():
    found = {c.name: c for c in collectives.find(hlo.parse(TRAFFIC))}
    assert {n: (c.kind, c.overlapped) for n, c in found.items()} == {
        "all-gather.1": ("all-gather", True),
        "all-gather.9": ("all-gather", False),
        "all-reduce.4": ("reduce-scatter", False),
        "all-reduce.6": ("all-reduce", False),
        "collective-permute-start.1": ("collective-permute", True),
        "collective-permute-start.2": ("collective-permute", False),
    }
    assert found["all-reduce.4"].where == "gradient"
    assert found["all-reduce.6"].group == (0, 2)
    sent = {n: c.sent(4) for n, c in found.items()}
    whole = 256 * 256 * 2
    assert sent["all-gather.1"] == sent["all-reduce.4"] == whole * 3 / 4
    assert sent["all-reduce.6"] == 17 * 4 * 2 / 2  # twice, of half
    assert sent["collective-permute-start.1"] == 8 * 128 * 2


def test_totals_add_up():
    rows = collectives.totals(collectives.find(hlo.parse(TRAFFIC)), chips=4)
    by_kind = {r.kind: r for r in rows}
    gathers = by_kind["all-gather"]
    assert gathers.count == 2
    assert gathers.overlapped == 256 * 256 * 2 * 3 / 4
    assert gathers.sent - gathers.overlapped == 4096 * 3 / 4
    assert "all-to-all" not in by_kind


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("replica_groups={{0,1,2,3},{4,5,6,7}}", (0, 1, 2, 3)),
        ("replica_groups=[2,4]<=[8]", (0, 1, 2, 3)),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", (0, 4)),
        ("replica_groups=mesh['a'=2,'b'=4] {'b'}", (0, 1, 2, 3)),
        ("replica_groups=mesh['a'=2,'b'=4] {'a'}", (0, 4)),
        ("replica_groups={}", ()),
    ],
)
def test_groups(text, group):
    assert collectives.group_of(text) == group


def test_an_estimate_adds_computation_kernels_and_what_shows_of_communication():
    slice_ = topology.parse("v5e:2x2")
    places = [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)]
    guess = estimate.estimate(TRAFFIC, slice_, coordinates=places)
    assert guess.compute == pytest.approx(1510 / 1.5e9)
    shown = sum(
        c.sent(4) / (45e9 if c.group == (0, 2) else 90e9)
        for c in collectives.find(hlo.parse(TRAFFIC))
        if not c.overlapped
    )
    hidden = (256 * 256 * 2 * 3 / 4 + 8 * 128 * 2) / 90e9
    assert guess.hidden == pytest.approx(hidden)
    assert guess.exposed == pytest.approx(shown + max(0, hidden - guess.compute))
    assert guess.range == pytest.approx((0.85 * guess.seconds, 1.15 * guess.seconds))
    assert guess.slowest[0][:2] == (pytest.approx(1e-6), "fusion.2")
    half = guess.divided(2)
    assert half.seconds == pytest.approx(guess.seconds / 2)
    assert half.traffic[0].count == guess.traffic[0].count / 2


# On v5p and v6e a SparseCore gathers and reduces beside the tensor core: with work before its end,
# and without.
SPARSE_CORE = """\
HloModule jit_step

%gather (p: bf16[16,256]) -> bf16[64,256] {
  ROOT %all-gather.1 = bf16[64,256]{1,0} all-gather(%p), channel_id=1, replica_groups={{0,1,2,3}}, dimensions={0}
}, execution_thread="sparsecore"

%called_computation (p: bf16[16,256]) -> bf16[64,256] {
  ROOT %fusion.1 = bf16[64,256]{1,0} fusion(%p), kind=kCustom, calls=%gather
}, execution_thread="sparsecore"

%called_computation.1 (p: bf16[64,256]) -> bf16[16,256] {
  ROOT %reduce-scatter.1 = bf16[16,256]{1,0} reduce-scatter(%p), channel_id=2, replica_groups={{0,1,2,3}}, dimensions={0}, to_apply=%add
}, execution_thread="sparsecore"

ENTRY %main (p: bf16[16,256]) -> bf16[16,256] {
  %all-gather.2.call-start = ((bf16[16,256]{1,0}, token[]), bf16[64,256]{1,0}) call-start(%p, %t), async_execution_thread="sparsecore", to_apply=%called_computation
  %work.1 = bf16[64,256]{1,0} copy(%q), backend_config={"estimated_cycles":"100"}
  %all-gather.2.call-done = bf16[64,256]{1,0} call-done(%all-gather.2.call-start)
  %reduce-scatter.2.call-start = ((bf16[64,256]{1,0}), bf16[16,256]{1,0}) call-start(%work.1), async_execution_thread="sparsecore", to_apply=%called_computation.1
  ROOT %reduce-scatter.2.call-done = bf16[16,256]{1,0} call-done(%reduce-scatter.2.call-start)
}
"""


def test_what_a_sparse_core_sends_is_hidden_where_work_stands_beside_it():
    found = {c.kind: c for c in collectives.find(hlo.parse(SPARSE_CORE))}
    assert found["all-gather"].overlapped
    assert not found["reduce-scatter"].overlapped
    assert found["reduce-scatter"].size == found["all-gather"].size == 64 * 256 * 2


SLICES = """\
HloModule jit_step

ENTRY %main (p: f32[1024]) -> f32[1024] {
  %send = (f32[1024]{0:T(128)}, u32[], token[]) send(%p, %token), channel_id=2, is_host_transfer=true
  %send-done = token[] send-done(%send), channel_id=2, is_host_transfer=true
  ROOT %copy.1 = f32[1024]{0:T(128)} copy(%p)
}
"""


def test_what_goes_between_slices_takes_the_network():
    (found,) = collectives.find(hlo.parse(SLICES))
    assert (found.kind, found.size, found.overlapped) == (collectives.BETWEEN, 4096, False)
    two = topology.parse("v5e-4", slices=2)
    guess = estimate.estimate(SLICES, two, coordinates=[(0, 0, 0)] * 8)
    assert guess.exposed == pytest.approx(4096 / CHIPS["v5e"].dcn)
    assert [t.kind for t in guess.traffic] == [collectives.BETWEEN]
