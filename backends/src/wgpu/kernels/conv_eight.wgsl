// Blocks of eight output channels; weights are packed as (block, tap, eight channels).

struct Acc { lo: vec4<f32>, hi: vec4<f32> }

@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;

fn zero() -> Acc { return Acc(vec4(0.0), vec4(0.0)); }

fn weights(k: u32) -> Acc { return Acc(w[2u * k], w[2u * k + 1u]); }

fn fold(a: Acc, w: Acc, x: f32) -> Acc {
    let v = vec4(x);
    return Acc(fma(w.lo, v, a.lo), fma(w.hi, v, a.hi));
}

fn put(m: u32, image: u32, o: u32, value: f32) {
    let at = (image * params.v[0].w + m) * params.v[0].x + o;
    if params.v[4].w != 0u {
        y[at] = value + bias[m];
    } else {
        y[at] = value;
    }
}

fn store(block: u32, image: u32, o: u32, a: Acc) {
    let blocks = params.v[3].w;
    let of_group = params.v[2].w;
    let base = block / blocks * of_group;
    let first = block % blocks * 8u;
    let left = of_group - first;
    for (var i = 0u; i < 4u; i++) {
        if i < left { put(base + first + i, image, o, a.lo[i]); }
        if i + 4u < left { put(base + first + i + 4u, image, o, a.hi[i]); }
    }
}
