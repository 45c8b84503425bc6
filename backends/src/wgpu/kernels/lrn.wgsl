// Local response normalisation over neighbouring channels. v[0]: elements, elements of a channel,
// channels; v[1]: channels before, channels after; v[2]: alpha over size, bias, beta.

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
    let c = i / p.y % p.z;
    let lo = c - min(c, params.v[1].x);
    let hi = min(c + params.v[1].y + 1u, p.z);
    var sum = 0.0;
    for (var k = lo; k < hi; k++) {
        let e = x[i + (k - c) * p.y];
        sum = sum + e * e;
    }
    let q = params.v[2];
    y[i] = x[i] / power(number(q.y) + number(q.x) * sum, number(q.z));
}
