// Of each row: its mean, and 1 over the square root of its variance plus epsilon, side by side.
// v[0]: rows, elements of a row, epsilon.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = place(group, groups, lane);
    let p = params.v[0];
    if row >= p.x {
        return;
    }
    let n = f32(p.y);
    let first = row * p.y;
    var sum = 0.0;
    for (var i = 0u; i < p.y; i++) {
        sum = sum + x[first + i];
    }
    let mean = sum / n;
    var squares = 0.0;
    for (var i = 0u; i < p.y; i++) {
        let d = x[first + i] - mean;
        squares = squares + d * d;
    }
    y[2u * row] = mean;
    y[2u * row + 1u] = 1.0 / sqrt(squares / n + number(p.z));
}
