// Padding. v[0]: elements, axes, mode (0 constant, 1 edge, 2 reflect, 3 wrap), the constant;
// v[1..]: extents of result and operand, padding in front, distance of neighbours in the operand.

@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

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
    var at = 0u;
    var inside = true;
    for (var d = p.y; d > 0u; d--) {
        let axis = params.v[d];
        let n = i32(axis.y);
        var k = i32(rest % axis.x) - i32(axis.z);
        rest /= axis.x;
        if k < 0 || k >= n {
            if p.z == 0u {
                inside = false;
                k = 0;
            } else if p.z == 1u {
                k = clamp(k, 0, n - 1);
            } else {
                // The period of a reflected axis leaves out its ends once; 1 if it has no inside.
                let period = select(n, max(2 * n - 2, 1), p.z == 2u);
                k = (k % period + period) % period;
                if k >= n {
                    k = period - k;
                }
            }
        }
        at += u32(k) * axis.w;
    }
    if inside {
        y[i] = x[at];
    } else {
        y[i] = p.w;
    }
}
