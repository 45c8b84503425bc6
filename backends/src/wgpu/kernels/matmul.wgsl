// Matrix product. Every result is one fold over the inner axis in ascending order from +0, then
// alpha * that + beta * c. A thread computes ROWS rows of COLUMNS columns, 64 apart.
//
// v[0]: m, k, n, batch axes; v[1]: distances of rows and columns of a, then of b; v[2]: distances
// of rows and columns of c, whether to add c (1) or beta * c (2), whether to scale; v[3]: alpha,
// beta; v[4..]: extent of each batch axis and the distances of neighbours in a and b.

@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> c: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

const ROWS: u32 = {{ROWS}}u;
const COLUMNS: u32 = {{COLUMNS}}u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let size = params.v[0];
    let step = params.v[1];
    var rest = group.z;
    var base = vec2<u32>(0u);
    for (var d = size.w; d > 0u; d--) {
        let axis = params.v[3u + d];
        base += axis.yz * (rest % axis.x);
        rest /= axis.x;
    }
    let row = group.y * ROWS;
    let column = group.x * 64u * COLUMNS + lane;
    // Rows and columns beyond the end are computed on what stands last, and dropped.
    var ra: array<u32, ROWS>;
    for (var i = 0u; i < ROWS; i++) {
        ra[i] = base.x + min(row + i, size.x - 1u) * step.x;
    }
    var cb: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        cb[j] = base.y + min(column + j * 64u, size.z - 1u) * step.w;
    }
    var acc: array<array<f32, COLUMNS>, ROWS>;
    for (var k = 0u; k < size.y; k++) {
        var right: array<f32, COLUMNS>;
        for (var j = 0u; j < COLUMNS; j++) {
            right[j] = b[cb[j] + k * step.z];
        }
        for (var i = 0u; i < ROWS; i++) {
            let left = a[ra[i] + k * step.y];
            for (var j = 0u; j < COLUMNS; j++) {
                acc[i][j] = fma(left, right[j], acc[i][j]);
            }
        }
    }
    for (var i = 0u; i < ROWS; i++) {
        for (var j = 0u; j < COLUMNS; j++) {
            let r = row + i;
            let s = column + j * 64u;
            if r < size.x && s < size.z {
                var v = acc[i][j];
                if params.v[2].w != 0u {
                    v = number(params.v[3].x) * v;
                }
                if params.v[2].z != 0u {
                    var t = c[r * params.v[2].x + s * params.v[2].y];
                    if params.v[2].z == 2u {
                        t = number(params.v[3].y) * t;
                    }
                    v = v + t;
                }
                y[(group.z * size.x + r) * size.z + s] = v;
            }
        }
    }
}
