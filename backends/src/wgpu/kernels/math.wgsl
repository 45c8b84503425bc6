// Elementary functions. The built-in ones may be off by thousands of units in the last place;
// these follow the reference interpreter's, operation by operation where f32 suffices.

// The same number, of which no compiler knows that it is: some take n * a + (n * b + c) for
// n * (a + b) + c, which undoes a constant in two parts. The last word of the parameters is 0.
fn opaque_(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ params.v[15].w); }

fn pow2(e: i32) -> f32 { return bitcast<f32>(u32(e + 127) << 23u); }

fn exp_(x: f32) -> f32 {
    let c = select(select(x, 89.0, x > 89.0), -104.0, x < -104.0);
    let n = round(c * 1.44269504);
    // ln 2 in two parts, the first short enough that n times it is exact.
    let r = fma(n, 2.1219444e-4, opaque_(fma(n, -0.6933594, c)));
    var p = 1.9875691e-4;
    p = fma(p, r, 1.3982e-3);
    p = fma(p, r, 8.333452e-3);
    p = fma(p, r, 4.1665796e-2);
    p = fma(p, r, 1.6666665e-1);
    p = fma(p, r, 0.5);
    let y = fma(p, r * r, r) + 1.0;
    // 2^n in two factors, as n may exceed the exponents of one.
    let i = i32(n);
    let a = i >> 1u;
    return select(y * pow2(a) * pow2(i - a), x, is_nan(x));
}

fn sigmoid_(x: f32) -> f32 {
    // From the side where the exponential is small, so that nothing overflows.
    let e = exp_(-magnitude(x));
    return select(1.0, e, x < 0.0) / (1.0 + e);
}

fn tanh_(x: f32) -> f32 {
    let a = magnitude(x);
    let e = exp_(-2.0 * a);
    let big = (1.0 - e) / (1.0 + e);
    // Near 0 the quotient would cancel; an odd polynomial instead (Cephes, tanhf).
    let z = x * x;
    var p = -5.7049887e-3;
    p = fma(p, z, 2.063909e-2);
    p = fma(p, z, -5.373971e-2);
    p = fma(p, z, 1.3331442e-1);
    p = fma(p, z, -3.333328e-1);
    return select(select(big, -big, x < 0.0), fma(p * z, x, x), a < 0.625);
}

// Cephes, logf.
fn log_(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    // Mantissa in [sqrt(1/2), sqrt(2)).
    var e = i32(bits >> 23u) - 126;
    var m = bitcast<f32>((bits & 0x007fffffu) | 0x3f000000u);
    let low = m < 0.70710678;
    e = select(e, e - 1, low);
    m = select(m, m + m, low) - 1.0;
    let z = m * m;
    var p = 7.0376836292e-2;
    p = fma(p, m, -1.1514610310e-1);
    p = fma(p, m, 1.1676998740e-1);
    p = fma(p, m, -1.2420140846e-1);
    p = fma(p, m, 1.4249322787e-1);
    p = fma(p, m, -1.6668057665e-1);
    p = fma(p, m, 2.0000714765e-1);
    p = fma(p, m, -2.4999993993e-1);
    p = fma(p, m, 3.3333331174e-1);
    let n = f32(e);
    var y = p * m * z;
    y = opaque_(fma(n, -2.12194440e-4, y));
    y = fma(z, -0.5, y);
    y = fma(n, 0.693359375, m + y);
    // 0 and subnormals count as 0.
    y = select(y, bitcast<f32>(bits | 0xff800000u), (bits & 0x7f800000u) == 0u);
    let odd = bits >= 0x7f800000u && bits != 0x80000000u;
    // Infinity and NaN give themselves, negative numbers NaN.
    let special = select(x, bitcast<f32>(bits | 0x7fc00000u), x < 0.0);
    return select(y, special, odd);
}

// log(1 + e) for e in [0, 1], by the series of the inverse hyperbolic tangent.
fn log1p_(e: f32) -> f32 {
    let s = e / (2.0 + e);
    let z = s * s;
    var p = 1.0 / 17.0;
    p = fma(p, z, 1.0 / 15.0);
    p = fma(p, z, 1.0 / 13.0);
    p = fma(p, z, 1.0 / 11.0);
    p = fma(p, z, 1.0 / 9.0);
    p = fma(p, z, 1.0 / 7.0);
    p = fma(p, z, 1.0 / 5.0);
    p = fma(p, z, 1.0 / 3.0);
    return 2.0 * fma(p * z, s, s);
}

fn softplus_(x: f32) -> f32 { return larger(x, 0.0) + log1p_(exp_(-magnitude(x))); }

// Two polynomials, after N. Juffa.
fn erf_(x: f32) -> f32 {
    let t = magnitude(x);
    let s = x * x;
    var r = fma(-1.72853470e-5, t, 3.83197126e-4);
    let u = fma(-3.88396438e-3, t, 2.42546219e-2);
    r = fma(r, s, u);
    r = fma(r, t, -1.06777877e-1);
    r = fma(r, t, -6.34846687e-1);
    r = fma(r, t, -1.28717512e-1);
    r = fma(r, t, -t);
    let big = 1.0 - exp_(r);
    var q = -5.96761703e-4;
    q = fma(q, s, 4.99119423e-3);
    q = fma(q, s, -2.67681349e-2);
    q = fma(q, s, 1.12819925e-1);
    q = fma(q, s, -3.76125336e-1);
    q = fma(q, s, 1.28379166e-1);
    let small = fma(q, x, x);
    let far = select(1.0, big, t < 4.0);
    let signed = select(far, -far, x < 0.0);
    return select(select(small, signed, t > 0.927734375), x, is_nan(x));
}

// x to the power of e; whole exponents take negative bases.
fn power(x: f32, e: f32) -> f32 {
    let a = magnitude(x);
    let whole = floor(e) == e;
    let odd = whole && magnitude(e) < 16777216.0 && (i32(e) & 1) != 0;
    var y = exp_(e * log_(a));
    y = select(y, 0.0, a == 0.0 && e > 0.0);
    y = select(y, -y, x < 0.0 && odd);
    y = select(y, x, e == 1.0);
    y = select(y, sqrt(x), e == 0.5);
    y = select(y, 1.0, e == 0.0 || x == 1.0);
    // A base below 0 to a power that is not whole has no value.
    return select(y, bitcast<f32>(bitcast<u32>(x) | 0x7fc00000u), x < 0.0 && !whole);
}

// To the nearest 16-bit float, ties to even.
fn round_f16(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let sign = bits & 0x80000000u;
    let mag = bits & 0x7fffffffu;
    if mag > 0x7f800000u {
        return x;
    }
    // From 65520 on, the nearest is infinity.
    if mag >= 0x477ff000u {
        return bitcast<f32>(sign | 0x7f800000u);
    }
    // Below 2^-14, multiples of 2^-24.
    if mag < 0x38800000u {
        let y = round(bitcast<f32>(mag) * 16777216.0) * 5.9604645e-8;
        return bitcast<f32>(sign | bitcast<u32>(y));
    }
    let y = (mag + 0xfffu + ((mag >> 13u) & 1u)) & 0xffffe000u;
    return bitcast<f32>(sign | y);
}

fn round_bf16(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    if is_nan(x) {
        return x;
    }
    return bitcast<f32>((bits + 0x7fffu + ((bits >> 16u) & 1u)) & 0xffff0000u);
}
