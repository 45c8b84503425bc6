// InstanceNormalization and LayerNormalization after their moments. v[0]: elements, elements of a
// row, channels, whether there is a bias.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> moments: array<f32>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

fn apply(x: f32, mean: f32, r: f32, s: f32) -> f32 {
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
    if i >= p.x {
        return;
    }
    let row = i / p.y;
    let at = {{AT}};
    let v = apply(x[i], moments[2u * row], moments[2u * row + 1u], scale[at]);
    if p.w != 0u {
        y[i] = v + bias[at];
    } else {
        y[i] = v;
    }
}
