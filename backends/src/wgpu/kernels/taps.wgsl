// Weighted sums along an axis. v[0]: elements, results along the axis, elements after the axis,
// extent of the axis in the operand. The table holds where each result's taps begin (and where the
// last one's end), and then for each tap its place and its weight.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

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
    let o = i / p.z % p.y;
    let base = i / p.z / p.y * p.w * p.z + i % p.z;
    var sum = 0.0;
    for (var t = table[o]; t < table[o + 1u]; t++) {
        let k = p.y + 1u + 2u * t;
        let term = number(table[k + 1u]) * x[base + table[k] * p.z];
        if t == table[o] {
            sum = term;
        } else {
            sum = sum + term;
        }
    }
    y[i] = sum;
}
