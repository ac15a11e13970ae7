import pytest

from experiments.ablation.record_files import read_record
from experiments.benchmarks import operation_profile


@pytest.mark.parametrize(
    ("name", "shape", "source", "kind"),
    [
        ("ynn_fusion.15", "f32[8192,384]{1,0}", "jit(step)/jvp(S6)/S6.mix/input/dot_general", "weights"),
        ("dot.3", "f32[128,24]{1,0}", "jit(step)/transpose(jvp(S6))/S6.mix/select/transpose", "weights"),
        ("ynn_fusion.2", "f32[8,32,4,32,32]{4,3,2,1,0}", "jit(step)/mix/dot_general", "tokens"),
        ("ynn_fusion.7", "f32[1,384]{1,0}", "jit(step)/mix/reduce_sum", "sums"),
        ("transpose_copy_fusion", "f32[8,32,4,32,32]{4,3,2,1,0}", "jit(step)/mix/transpose", "moves"),
        ("bitcast_dynamic-update-slice_fusion.3", "f32[64,32,128]{2,1,0}", "jit(step)/mix/while/body/x", "moves"),
        ("broadcast_multiply_fusion", "f32[8,32,4,32,32]{4,3,2,1,0}", "jit(step)/mix/mul", "elementwise"),
        ("multiply_add_fusion", "f32[32,256,384]{2,1,0}", "jit(step)/mix/add_any", "elementwise"),
        ("while.6", "(s32[],", "jit(step)/mix/while", ""),
    ],
)
def test_operations_are_told_apart(name: str, shape: str, source: str, kind: str):
    assert operation_profile.operation_kind(name, shape, source) == kind


def test_a_small_profile_is_like_the_record_and_names_every_kind():
    rows = operation_profile.measure_mixer("delta", 8, width=8, batch=2)
    assert list(rows[0]) == list(read_record(operation_profile.RECORD)[0])
    assert [row["kind"] for row in rows] == list(operation_profile.KINDS)
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1, abs=0.01)
    counts = {row["kind"]: int(row["operations"]) for row in rows}
    assert counts["weights"] == 16, "three matrices and their two gradients, twice; the first layer's input has none"
    assert counts["tokens"] > 0
    (line,) = operation_profile.operation_table([{name: str(v) for name, v in row.items()} for row in rows]).rows
    assert line[:2] == ["delta", "8"]
