// Pools: one fold over the elements under each window in ascending order; padding takes no part.
//
// v[0]: results, output depth, height, width; v[1]: input depth, height, width; v[2]: kernel
// extents; v[3]: strides; v[4]: dilations; v[5]: padding in front; v[6]: padding behind, whether
// padding counts (AveragePool); v[7]: what a window without elements gives, p, 1/p.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn start(e: f32) -> f32 { return {{START}}; }
fn step(s: f32, e: f32) -> f32 { return {{STEP}}; }
fn finish(s: f32, count: f32) -> f32 { return {{FINISH}}; }

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
    let size = vec3<i32>(params.v[1].xyz);
    let kernel = vec3<i32>(params.v[2].xyz);
    let stride = vec3<i32>(params.v[3].xyz);
    let dilation = vec3<i32>(params.v[4].xyz);
    let begin = vec3<i32>(params.v[5].xyz);
    let plane = i / (p.y * p.z * p.w);
    let o = vec3<i32>(vec3(i / (p.z * p.w) % p.y, i / p.w % p.z, i % p.w));
    let corner = o * stride - begin;
    var acc = 0.0;
    var seen = 0u;
    for (var kz = 0; kz < kernel.x; kz++) {
        let iz = corner.x + kz * dilation.x;
        for (var ky = 0; ky < kernel.y; ky++) {
            let iy = corner.y + ky * dilation.y;
            if iz < 0 || iz >= size.x || iy < 0 || iy >= size.y {
                continue;
            }
            let row = ((i32(plane) * size.x + iz) * size.y + iy) * size.z;
            for (var kx = 0; kx < kernel.z; kx++) {
                let ix = corner.z + kx * dilation.z;
                if ix < 0 || ix >= size.z {
                    continue;
                }
                let e = x[row + ix];
                if seen == 0u {
                    acc = start(e);
                } else {
                    acc = step(acc, e);
                }
                seen++;
            }
        }
    }
    if seen == 0u {
        y[i] = number(params.v[7].x);
        return;
    }
    var count = seen;
    if params.v[6].w != 0u {
        // Taps beyond the padding, which ceil_mode leads to, do not count.
        let room = size + begin + vec3<i32>(params.v[6].xyz) - o * stride;
        let taps = min(kernel, (room + dilation - 1) / dilation);
        count = u32(taps.x * taps.y * taps.z);
    }
    y[i] = finish(acc, f32(count));
}
