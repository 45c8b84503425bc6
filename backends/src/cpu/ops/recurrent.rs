//! RNN, GRU and LSTM: ONNX's equations, a step at a time.

use graph_opt_ir::Op;

use super::matmul::{View, product};
use crate::RunError;
use crate::cpu::array::{Array, Buf};
use crate::cpu::cx::{Cx, Outputs, invalid, unsupported};
use crate::cpu::field::Fp;
use crate::cpu::scalar::{Fun, Real};
use crate::cpu::simd::{Function, apply, apply_pairs, inlined};

/// Attributes that the three have in common.
struct Common<'a> {
    gates: usize,
    direction: &'a str,
    activations: &'a [String],
    alpha: &'a [f32],
    beta: &'a [f32],
    clip: Option<f32>,
    layout: bool,
    defaults: &'static [&'static str],
}

fn common<'a>(op: &'a Op) -> Result<Common<'a>, RunError> {
    macro_rules! of {
        ($o:ident, $gates:literal, $defaults:expr) => {
            Common {
                gates: $gates,
                direction: &$o.direction,
                activations: $o.activations.as_deref().unwrap_or(&[]),
                alpha: $o.activation_alpha.as_deref().unwrap_or(&[]),
                beta: $o.activation_beta.as_deref().unwrap_or(&[]),
                clip: $o.clip,
                layout: $o.layout != 0,
                defaults: $defaults,
            }
        };
    }
    Ok(match op {
        Op::LSTM(o) => of!(o, 4, &["Sigmoid", "Tanh", "Tanh"]),
        Op::GRU(o) => of!(o, 3, &["Sigmoid", "Tanh"]),
        Op::RNN(o) => of!(o, 1, &["Tanh"]),
        _ => invalid!("{} is not recurrent", op.name()),
    })
}

/// Replaces every element by the activation of it.
type Activation<'k, T> = Box<dyn Fn(&mut [T]) + 'k>;

fn activation<'k, T: Real>(
    cx: &Cx<'k>,
    name: &str,
    a: Option<f32>,
    b: Option<f32>,
) -> Result<Activation<'k, T>, RunError> {
    fn boxed<'k, T: Real>(f: impl Function<T> + 'k) -> Activation<'k, T> {
        Box::new(move |v| apply(v, f))
    }
    let k = cx.key();
    let of = move |x: f32| T::of(x.into(), k);
    Ok(match name.to_ascii_lowercase().as_str() {
        "sigmoid" => boxed(inlined!(k, [], |x, k| T::call(Fun::Sigmoid, x, k))),
        "tanh" => boxed(inlined!(k, [], |x, k| T::call(Fun::Tanh, x, k))),
        "relu" => boxed(move |x: T| x.larger(T::ZERO, k)),
        "affine" => {
            let (a, b) = (of(a.unwrap_or(1.0)), of(b.unwrap_or(0.0)));
            boxed(move |x: T| a.times(x).plus(b))
        }
        "leakyrelu" => {
            let a = of(a.unwrap_or(0.01));
            boxed(move |x: T| if x.negative(k) { a.times(x) } else { x })
        }
        "hardsigmoid" => {
            let (a, b) = (of(a.unwrap_or(0.2)), of(b.unwrap_or(0.5)));
            boxed(move |x: T| a.times(x).plus(b).smaller(T::ONE, k).larger(T::ZERO, k))
        }
        "softplus" => boxed(move |x: T| T::call(Fun::Softplus, x, k)),
        "softsign" => boxed(move |x: T| x.over(T::ONE.plus(x.magnitude(k)), k)),
        other => unsupported!("the activation {other}"),
    })
}

pub(super) fn recurrent(cx: &mut Cx<'_>) -> Outputs {
    match &cx.input(0)?.data {
        Buf::F32(_) => run::<f32>(cx),
        Buf::F64(_) => run::<f64>(cx),
        Buf::Field(_) => run::<Fp>(cx),
        _ => unsupported!("{} of {}", cx.op.name(), cx.input(0)?.dtype),
    }
}

fn run<T: Real>(cx: &mut Cx<'_>) -> Outputs {
    let c = common(cx.op)?;
    let (x, w, r) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (&[d0, d1, input], &[dirs, rows, wi], &[rd, rr, hidden]) =
        (&x.dims[..], &w.dims[..], &r.dims[..])
    else {
        invalid!("operands of ranks {}, {} and {} instead of 3", x.rank(), w.rank(), r.rank());
    };
    let (steps, batch) = if c.layout { (d1, d0) } else { (d0, d1) };
    let two = c.direction == "bidirectional";
    let g = c.gates;
    if !matches!(c.direction, "forward" | "reverse" | "bidirectional")
        || dirs != 1 + usize::from(two)
        || Some(rows) != g.checked_mul(hidden)
        || (rd, rr, wi) != (dirs, rows, input)
    {
        invalid!("{:?}, {:?} and {:?} do not fit a {} one", x.dims, w.dims, r.dims, c.direction);
    }
    let lengths = match cx.opt_ints(4)? {
        Some(l) if l.len() == batch && l.iter().all(|&n| 0 <= n && n <= steps as i64) => {
            l.into_iter().map(|n| n as usize).collect()
        }
        Some(l) => invalid!("sequence lengths {l:?}"),
        None => vec![steps; batch],
    };
    let (x, w, r) = (x.get::<T>()?, w.get::<T>()?, r.get::<T>()?);
    let whole = |i: usize, n: usize| -> Result<Option<&[T]>, RunError> {
        match cx.opt(i) {
            Some(a) if a.len() == n => Ok(Some(a.get::<T>()?)),
            Some(a) => invalid!("operand {i} of shape {:?}", a.dims),
            None => Ok(None),
        }
    };
    let lstm = matches!(cx.op, Op::LSTM(_));
    let bias = whole(3, dirs * 2 * rows)?;
    let h0 = whole(5, dirs * batch * hidden)?;
    let c0 = if lstm { whole(6, dirs * batch * hidden)? } else { None };
    let peep = if lstm { whole(7, dirs * 3 * hidden)? } else { None };
    let mut y = cx.zeros::<T>(&[steps, dirs, batch, hidden])?;
    let mut yh = cx.zeros::<T>(&[dirs, batch, hidden])?;
    let mut yc = cx.zeros::<T>(&[dirs, batch, hidden])?;
    let names = c.defaults.len();
    for dir in 0..dirs {
        let acts = (0..names)
            .map(|i| {
                let at = dir * names + i;
                let name = c.activations.get(at).map_or(c.defaults[i], String::as_str);
                activation::<T>(cx, name, c.alpha.get(at).copied(), c.beta.get(at).copied())
            })
            .collect::<Result<Vec<_>, _>>()?;
        let cell = Cell {
            cx,
            hidden,
            input,
            gates: g,
            w: &w[dir * rows * input..][..rows * input],
            r: &r[dir * rows * hidden..][..rows * hidden],
            bias: bias.map(|b| &b[dir * 2 * rows..][..2 * rows]),
            peep: peep.map(|p| &p[dir * 3 * hidden..][..3 * hidden]),
            acts,
            clip: c.clip.map(|x| T::of(x.into(), cx.key())),
        };
        let backward = c.direction == "reverse" || dir == 1;
        for b in 0..batch {
            let start = |s: Option<&[T]>| match (s, c.layout) {
                (Some(s), false) => s[(dir * batch + b) * hidden..][..hidden].to_vec(),
                (Some(s), true) => s[(b * dirs + dir) * hidden..][..hidden].to_vec(),
                (None, _) => vec![T::ZERO; hidden],
            };
            let (mut h, mut state) = (start(h0), start(c0));
            for t in 0..lengths[b] {
                let t = if backward { lengths[b] - 1 - t } else { t };
                let at = if c.layout { b * steps + t } else { t * batch + b };
                cell.step(&x[at * input..][..input], &mut h, &mut state)?;
                let to = match c.layout {
                    false => (t * dirs + dir) * batch + b,
                    true => (b * steps + t) * dirs + dir,
                };
                y[to * hidden..][..hidden].copy_from_slice(&h);
            }
            let to = if c.layout { b * dirs + dir } else { dir * batch + b };
            yh[to * hidden..][..hidden].copy_from_slice(&h);
            yc[to * hidden..][..hidden].copy_from_slice(&state);
        }
    }
    let (ys, hs) = match c.layout {
        false => (vec![steps, dirs, batch, hidden], vec![dirs, batch, hidden]),
        true => (vec![batch, steps, dirs, hidden], vec![batch, dirs, hidden]),
    };
    let dtype = cx.input(0)?.dtype;
    let of = |v: Vec<T>, dims: &[usize]| Array { data: T::wrap(v), dims: dims.to_vec(), dtype };
    let mut out = vec![of(y, &ys), of(yh, &hs)];
    if lstm {
        out.push(of(yc, &hs));
    }
    out.truncate(cx.outputs.max(1));
    Ok(out)
}

/// One direction of a recurrent operator.
struct Cell<'a, T> {
    cx: &'a Cx<'a>,
    hidden: usize,
    input: usize,
    gates: usize,
    w: &'a [T],
    r: &'a [T],
    bias: Option<&'a [T]>,
    peep: Option<&'a [T]>,
    acts: Vec<Activation<'a, T>>,
    clip: Option<T>,
}

impl<T: Real> Cell<'_, T> {
    /// Weights times vector, plus the part of the bias that starts at `from`.
    fn times(&self, w: &[T], v: &[T], from: usize) -> Vec<T> {
        let rows = w.len() / v.len().max(1);
        let mut out = vec![T::ZERO; self.gates * self.hidden];
        // As a row by a matrix, so that the outputs lie along the vectors.
        let a = View { v, row: v.len(), col: 1 };
        let b = View { v: w, row: 1, col: v.len() };
        product(self.cx, a, b, (1, v.len(), rows.min(out.len())), &mut out);
        if let Some(b) = self.bias {
            out.iter_mut().zip(&b[from..]).for_each(|(o, &b)| *o = o.plus(b));
        }
        out
    }

    /// The activation of this number of clipped elements.
    fn act(&self, activation: usize, mut v: Vec<T>) -> Vec<T> {
        if let Some(c) = self.clip {
            let k = self.cx.key();
            apply(&mut v, |x: T| x.larger(c.opposite(), k).smaller(c, k));
        }
        (self.acts[activation])(&mut v);
        v
    }

    fn step(&self, x: &[T], h: &mut [T], c: &mut [T]) -> Result<(), RunError> {
        debug_assert_eq!(x.len(), self.input);
        let n = self.hidden;
        let a = self.times(self.w, x, 0);
        let b = self.times(self.r, h, self.gates * n);
        let sum = |gate: usize| -> Vec<T> {
            let part = gate * n..(gate + 1) * n;
            a[part.clone()].iter().zip(&b[part]).map(|(&a, &b)| a.plus(b)).collect()
        };
        match self.cx.op {
            Op::RNN(_) => h.copy_from_slice(&self.act(0, sum(0))),
            Op::LSTM(o) => {
                let peeping = |gate: usize, c: &[T]| {
                    let mut v = sum(gate);
                    let p = self.peep.map(|p| &p[gate * n..][..n]);
                    for j in 0..n {
                        v[j] = v[j].plus(p.map_or(T::ZERO, |p| p[j].times(c[j])));
                    }
                    self.act(0, v)
                };
                let input = peeping(0, c);
                let forget = match o.input_forget {
                    0 => peeping(2, c),
                    _ => input.iter().map(|&i| T::ONE.minus(i)).collect(),
                };
                let new = self.act(1, sum(3));
                for j in 0..n {
                    c[j] = forget[j].times(c[j]).plus(input[j].times(new[j]));
                }
                let out = peeping(1, c);
                h.copy_from_slice(c);
                (self.acts[2])(h);
                apply_pairs(h, &out, |h, out| out.times(h));
            }
            Op::GRU(o) => {
                let (z, r) = (self.act(0, sum(0)), self.act(0, sum(1)));
                let reset =
                    |v: &[T]| -> Vec<T> { r.iter().zip(v).map(|(&r, &v)| r.times(v)).collect() };
                let hidden = match o.linear_before_reset {
                    0 => self.times(self.r, &reset(h), self.gates * n)[2 * n..].to_vec(),
                    _ => reset(&b[2 * n..]),
                };
                let new = a[2 * n..].iter().zip(&hidden).map(|(&a, &b)| a.plus(b)).collect();
                let new = self.act(1, new);
                for j in 0..n {
                    h[j] = T::ONE.minus(z[j]).times(new[j]).plus(z[j].times(h[j]));
                }
            }
            _ => invalid!("{} is not recurrent", self.cx.op.name()),
        }
        Ok(())
    }
}
