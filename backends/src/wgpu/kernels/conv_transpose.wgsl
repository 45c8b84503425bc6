// Transposed convolution: one fold over (input channel, taps in row-major order) that reach the
// result, from +0; the bias is added at the end. Parameters as in conv.wgsl, but v[3] ends in the
// number of results.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

// Input index along an axis that reaches result `o` through tap `k`, or -1.
fn source(o: u32, k: u32, axis: u32) -> i32 {
    let stride = i32(params.v[3][axis]);
    let at = i32(o + params.v[5][axis]) - i32(k * params.v[4][axis]);
    if at < 0 || at % stride != 0 || at / stride >= i32(params.v[1][axis]) {
        return -1;
    }
    return at / stride;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = place(group, groups, lane);
    if i >= params.v[3].w {
        return;
    }
    let plane = params.v[0].x;
    let size = params.v[1].xyz;
    let kernel = params.v[2].xyz;
    let channels = params.v[1].w;
    let cout = params.v[2].w;
    let m = i / plane % params.v[0].w;
    let image = i / plane / params.v[0].w;
    let g = m / cout;
    let o = i % plane;
    let ow = params.v[0].z;
    let oh = params.v[0].y;
    var acc = 0.0;
    for (var c = 0u; c < channels; c++) {
        let source_channel = g * channels + c;
        let base = (image * params.v[5].w * channels + source_channel) * size.x * size.y * size.z;
        var k = (source_channel * cout + m % cout) * kernel.x * kernel.y * kernel.z;
        for (var kz = 0u; kz < kernel.x; kz++) {
            let iz = source(o / ow / oh, kz, 0u);
            for (var ky = 0u; ky < kernel.y; ky++) {
                let iy = source(o / ow % oh, ky, 1u);
                for (var kx = 0u; kx < kernel.z; kx++) {
                    let ix = source(o % ow, kx, 2u);
                    if iz >= 0 && iy >= 0 && ix >= 0 {
                        let at = (u32(iz) * size.y + u32(iy)) * size.z + u32(ix);
                        acc = fma(w[k], x[base + at], acc);
                    }
                    k++;
                }
            }
        }
    }
    if params.v[4].w != 0u {
        y[i] = acc + bias[m];
    } else {
        y[i] = acc;
    }
}
