// Weights of a convolution, (channel, tap), as (block of eight channels, tap, channel of the
// block), the last block of each group filled with 0. v[0]: elements, taps, channels of a group,
// blocks of a group.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

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
    let tap = i / 8u % p.y;
    let block = i / 8u / p.y;
    let channel = block % p.w * 8u + i % 8u;
    if channel < p.z {
        y[i] = x[(block / p.w * p.z + channel) * p.y + tap];
    } else {
        y[i] = 0.0;
    }
}
