// Picks elements along an axis. v[0]: elements, picks, elements after the axis, extent of the axis
// in the operand.

@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> picks: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = place(group, groups, lane);
    let p = params.v[0];
    if i < p.x {
        let k = picks[i / p.z % p.y];
        y[i] = x[(i / p.z / p.y * p.w + k) * p.z + i % p.z];
    }
}
