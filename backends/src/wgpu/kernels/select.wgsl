// Where: the condition is 0 or not. v[0]: elements, axes; v[1..]: extent and the distances of
// neighbours in the condition and either operand.

@group(0) @binding(1) var<storage, read> c: array<f32>;
@group(0) @binding(2) var<storage, read> a: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = place(group, groups, lane);
    if i >= params.v[0].x {
        return;
    }
    var rest = i;
    var at = vec3<u32>(0u);
    for (var d = params.v[0].y; d > 0u; d--) {
        let axis = params.v[d];
        at += axis.yzw * (rest % axis.x);
        rest /= axis.x;
    }
    // One load, as the operand that is not chosen may hold anything.
    if c[at.x] != 0.0 {
        y[i] = a[at.y];
    } else {
        y[i] = b[at.z];
    }
}
