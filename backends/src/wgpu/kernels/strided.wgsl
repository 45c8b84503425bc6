// Moves elements between regular places. v[0]: elements, axes, first place in the operand, first
// place in the result; v[1..]: extent and the distances of neighbours in operand (modulo 2^32, so
// that they may be negative) and result.

@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = place(group, groups, lane);
    let p = params.v[0];
    if i >= p.x {
        return;
    }
    var rest = i;
    var at = p.zw;
    for (var d = p.y; d > 0u; d--) {
        let axis = params.v[d];
        at += axis.yz * (rest % axis.x);
        rest /= axis.x;
    }
    y[at.y] = x[at.x];
}
