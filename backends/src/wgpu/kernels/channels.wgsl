// Per channel: (x - mean) * scale + bias, as one step of a fold. v[0]: elements, elements of a
// channel, channels.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = place(group, groups, lane);
    let p = params.v[0];
    if i < p.x {
        let c = i / p.y % p.z;
        y[i] = fma(x[i] - mean[c], scale[c], bias[c]);
    }
}
