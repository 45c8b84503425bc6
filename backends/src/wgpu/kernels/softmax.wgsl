// Softmax, or its logarithm: a thread computes one line. v[0]: lines, elements of a line, distance
// of neighbours in a line, whether to take the logarithm.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = place(group, groups, lane);
    let p = params.v[0];
    if line >= p.x {
        return;
    }
    let first = line / p.z * p.y * p.z + line % p.z;
    var top = x[first];
    for (var i = 1u; i < p.y; i++) {
        top = larger(top, x[first + i * p.z]);
    }
    var sum = 0.0;
    for (var i = 0u; i < p.y; i++) {
        let at = first + i * p.z;
        let e = exp_(x[at] - top);
        y[at] = e;
        sum = sum + e;
    }
    let log_sum = log_(sum);
    for (var i = 0u; i < p.y; i++) {
        let at = first + i * p.z;
        if p.w != 0u {
            y[at] = x[at] - top - log_sum;
        } else {
            y[at] = y[at] / sum;
        }
    }
}
