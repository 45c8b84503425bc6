// Convolution. Every result is one fold over (channel of the group, taps in row-major order) from
// +0, padding taking part as products with 0; the bias is added at the end. A thread computes
// PIXELS places, 64 apart, of the channels of one block: `Acc` and the functions on it come from
// conv_eight.wgsl or conv_one.wgsl.
//
// v[0]: places of a plane, output height and width, output channels; v[1]: input depth, height,
// width, channels of a group; v[2]: kernel extents, output channels of a group; v[3]: strides,
// blocks of a group; v[4]: dilations, whether there is a bias; v[5]: padding in front, groups.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

const PIXELS: u32 = {{PIXELS}}u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let plane = params.v[0].x;
    let size = vec3<i32>(params.v[1].xyz);
    let kernel = params.v[2].xyz;
    let stride = vec3<i32>(params.v[3].xyz);
    let dilation = vec3<i32>(params.v[4].xyz);
    let begin = vec3<i32>(params.v[5].xyz);
    let channels = params.v[1].w;
    let blocks = params.v[3].w;
    let g = group.y / blocks;

    var acc: array<Acc, PIXELS>;
    var corner: array<vec3<i32>, PIXELS>;
    let first = group.x * 64u * PIXELS + lane;
    for (var j = 0u; j < PIXELS; j++) {
        let o = first + j * 64u;
        let ow = params.v[0].z;
        let oh = params.v[0].y;
        let at = vec3<i32>(vec3(o / ow / oh, o / ow % oh, o % ow));
        corner[j] = at * stride - begin;
        acc[j] = zero();
    }
    var k = group.y * channels * kernel.x * kernel.y * kernel.z;
    for (var c = 0u; c < channels; c++) {
        let image = i32((group.z * params.v[5].w + g) * channels + c) * size.x * size.y * size.z;
        for (var kz = 0u; kz < kernel.x; kz++) {
            for (var ky = 0u; ky < kernel.y; ky++) {
                var inside: array<bool, PIXELS>;
                var row: array<i32, PIXELS>;
                for (var j = 0u; j < PIXELS; j++) {
                    let iz = corner[j].x + i32(kz) * dilation.x;
                    let iy = corner[j].y + i32(ky) * dilation.y;
                    inside[j] = iz >= 0 && iz < size.x && iy >= 0 && iy < size.y;
                    row[j] = image + (iz * size.y + iy) * size.z;
                }
                for (var kx = 0u; kx < kernel.z; kx++) {
                    let w = weights(k);
                    k++;
                    for (var j = 0u; j < PIXELS; j++) {
                        let ix = corner[j].z + i32(kx) * dilation.z;
                        let ok = inside[j] && ix >= 0 && ix < size.z;
                        let v = select(0.0, x[select(0, row[j] + ix, ok)], ok);
                        acc[j] = fold(acc[j], w, v);
                    }
                }
            }
        }
    }
    for (var j = 0u; j < PIXELS; j++) {
        let o = first + j * 64u;
        if o < plane {
            store(group.y, group.z, o, acc[j]);
        }
    }
}
