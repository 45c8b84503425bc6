// One output channel a block; weights as they are.

struct Acc { one: f32 }

@group(0) @binding(2) var<storage, read> w: array<f32>;

fn zero() -> Acc { return Acc(0.0); }

fn weights(k: u32) -> Acc { return Acc(w[k]); }

fn fold(a: Acc, w: Acc, x: f32) -> Acc { return Acc(fma(w.one, x, a.one)); }

fn store(m: u32, image: u32, o: u32, a: Acc) {
    let at = (image * params.v[0].w + m) * params.v[0].x + o;
    if params.v[4].w != 0u {
        y[at] = a.one + bias[m];
    } else {
        y[at] = a.one;
    }
}
