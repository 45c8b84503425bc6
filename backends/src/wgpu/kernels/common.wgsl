// What all kernels share: their parameters, their place, and floats with NaN.

struct Params { v: array<vec4<u32>, 16> }
@group(0) @binding(0) var<uniform> params: Params;

// Which element a thread computes: workgroups of 64, laid out along two dimensions.
fn place(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> u32 {
    return (group.y * groups.x + group.x) * 64u + lane;
}

fn number(bits: u32) -> f32 { return bitcast<f32>(bits); }

// By its bits: some compilers take x != x for false.
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }

// The greater; NaN if either is.
fn larger(a: f32, b: f32) -> f32 { return select(a, b, a < b || is_nan(b)); }

// The smaller; NaN if either is.
fn smaller(a: f32, b: f32) -> f32 { return select(a, b, b < a || is_nan(b)); }

fn magnitude(x: f32) -> f32 { return select(x, -x, x < 0.0); }
