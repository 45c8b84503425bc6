// Two operands, broadcast against each other. v[0]: elements, axes; v[1..]: extent and the
// distances of neighbours in either operand, from the first axis to the last.

@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn apply(x: f32, y: f32) -> f32 {
    return {{BODY}};
}

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
    var ia = 0u;
    var ib = 0u;
    for (var d = params.v[0].y; d > 0u; d--) {
        let axis = params.v[d];
        let at = rest % axis.x;
        rest /= axis.x;
        ia += at * axis.y;
        ib += at * axis.z;
    }
    y[i] = apply(a[ia], b[ib]);
}
