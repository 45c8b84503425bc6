// Reductions: one fold over the reduced elements in ascending order. v[0]: results, elements of
// each, kept axes, reduced axes; then for each kept and each reduced axis its extent and the
// distance of neighbours.

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
    var rest = i;
    var base = 0u;
    for (var d = p.z; d > 0u; d--) {
        let axis = params.v[d];
        base += axis.y * (rest % axis.x);
        rest /= axis.x;
    }
    // The last reduced axis is walked without divisions.
    let last = params.v[p.z + p.w];
    var acc = 0.0;
    var k = 0u;
    while k < p.y {
        var at = base;
        rest = k / last.x;
        for (var d = p.z + p.w - 1u; d > p.z; d--) {
            let axis = params.v[d];
            at += axis.y * (rest % axis.x);
            rest /= axis.x;
        }
        for (var j = 0u; j < last.x; j++) {
            let e = x[at];
            at += last.y;
            if k == 0u {
                acc = start(e);
            } else {
                acc = step(acc, e);
            }
            k++;
        }
    }
    y[i] = finish(acc, f32(p.y));
}
