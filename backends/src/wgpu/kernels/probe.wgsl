// How the adapter rounds a * b + c: result 0 by fma, result 1 by the operators.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(1)
fn main() {
    y[0] = fma(x[0], x[1], x[2]);
    y[1] = x[0] * x[1] + x[2];
}
