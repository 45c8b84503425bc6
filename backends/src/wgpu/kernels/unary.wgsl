// One operand, element by element. v[0]: elements, then up to three numbers.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn apply(x: f32, a: f32, b: f32, c: f32) -> f32 {
    return {{BODY}};
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = place(group, groups, lane);
    let p = params.v[0];
    if i < p.x {
        y[i] = apply(x[i], number(p.y), number(p.z), number(p.w));
    }
}
