//! Whether a rewritten graph computes the same: the ladder of section 4 of the design.
//!
//! `identical` needs no run, and neither does `proved`; `exact` runs both graphs over the field of integers modulo 2^61 - 1;
//! `bit-exact` and `close` run both on a backend. What differs is traced to the first value that
//! both graphs have and to the edit that made it.

use std::fmt;
use std::sync::Arc;

use graph_opt_ir::same::{Structure, identical};
use graph_opt_ir::{Graph, NodeId, Tensor, Type, ValueId};
use graph_opt_passes::eqsat::prove::prove;

use crate::cpu::{Cpu, FieldData, FieldInput, FieldTensor, run_field};
use crate::inputs::{Extents, draw_as, required};
use crate::tolerance::{Difference, difference};
use crate::{Backend, PrepareError};

/// Where two graphs differ.
#[derive(Clone, PartialEq, Debug)]
pub struct Place {
    /// Name of the first value that differs.
    pub value: String,
    /// Its first element that differs, as indices.
    pub element: Vec<usize>,
    /// The elements, of the original and of the other.
    pub elements: (String, String),
    /// The edit that made the value in the other graph; empty if none did.
    pub edit: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (a, b) = &self.elements;
        write!(f, "{:?} element {:?}: {a} against {b}", self.value, self.element)?;
        if !self.edit.is_empty() {
            write!(f, ", made by {}", self.edit)?;
        }
        Ok(())
    }
}

/// A rung of the ladder, or why it was not reached.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// The same up to names.
    Identical,
    /// Equal for all inputs and weights, by the rules of the prover; whether only in exact
    /// arithmetic, as sums were taken in another order.
    Proved {
        /// See above.
        reassociates: bool,
    },
    /// Equal over the finite field, in this many runs.
    Exact(usize),
    /// Equal bits on this backend, in this many runs.
    BitExact(String, usize),
    /// Close on this backend, with the largest difference.
    Close(String, Difference),
    /// They differ.
    Differs(String, Place),
    /// Not decided, and why.
    Unknown(String, String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identical => f.write_str("identical"),
            Self::Proved { reassociates: false } => f.write_str("proved"),
            Self::Proved { reassociates: true } => f.write_str("proved (in exact arithmetic)"),
            Self::Exact(_) => f.write_str("exact"),
            Self::BitExact(b, _) => write!(f, "bit-exact on {b}"),
            Self::Close(b, d) => {
                write!(
                    f,
                    "close on {b} ({:.1e} of the largest element, {} ulp)",
                    d.relative(),
                    d.ulp
                )
            }
            Self::Differs(by, p) => write!(f, "differs ({by}): {p}"),
            Self::Unknown(by, why) => write!(f, "unknown ({by}): {why}"),
        }
    }
}

/// Verdicts on one output.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// All verdicts, in the order of the ladder.
    pub verdicts: Vec<Verdict>,
}

/// What a comparison found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// One entry an output.
    pub outputs: Vec<Output>,
    /// The proof, if one was looked for and found.
    pub certificate: Option<String>,
}

impl Report {
    /// Whether some output differs.
    pub fn differs(&self) -> bool {
        self.all().any(|v| matches!(v, Verdict::Differs(..)))
    }

    /// Whether every output reached some rung and none differs.
    pub fn is_equal(&self) -> bool {
        let reached = |o: &Output| o.verdicts.iter().any(|v| !matches!(v, Verdict::Unknown(..)));
        !self.differs() && self.outputs.iter().all(reached)
    }

    /// All verdicts.
    pub fn all(&self) -> impl Iterator<Item = &Verdict> {
        self.outputs.iter().flat_map(|o| &o.verdicts)
    }
}

/// What to compare by.
pub struct Compare<'a> {
    /// Whether to look for a proof.
    pub prove: bool,
    /// Whether to run over the finite field.
    pub exact: bool,
    /// Backends to run on.
    pub backends: Vec<&'a dyn Backend>,
    /// Runs of each kind, on different inputs.
    pub runs: usize,
    /// Seed of the inputs.
    pub seed: u64,
    /// Extents of symbolic dimensions.
    pub extents: Extents,
    /// Inputs to use instead of random ones, in the order of inputs without a default.
    pub inputs: Option<Vec<Tensor>>,
    /// Whether the first rung on which some output differs is the last that is climbed.
    pub brief: bool,
    /// The interpreter to run the field with.
    pub cpu: Cpu,
    /// Told what is about to run.
    pub progress: Option<&'a dyn Fn(&str)>,
}

impl Default for Compare<'_> {
    fn default() -> Self {
        Self {
            prove: false,
            exact: true,
            backends: Vec::new(),
            runs: 1,
            seed: 0,
            extents: Extents::default(),
            inputs: None,
            brief: false,
            cpu: Cpu::default(),
            progress: None,
        }
    }
}

/// The graphs have other inputs or outputs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Incomparable(pub String);

impl Compare<'_> {
    /// Compares `b` with its original `a`.
    ///
    /// # Errors
    /// If they do not have the same inputs and outputs, or inputs cannot be drawn.
    pub fn run(&self, a: &Arc<Graph>, b: &Arc<Graph>) -> Result<Report, Incomparable> {
        let names = |g: &Graph, v: &[ValueId]| -> Vec<String> {
            v.iter().map(|&v| g.value(v).name.to_string()).collect()
        };
        let inputs_of = |g: &Graph| names(g, &required(g));
        for (what, p, q) in [
            ("inputs", inputs_of(a), inputs_of(b)),
            ("outputs", names(a, a.outputs()), names(b, b.outputs())),
        ] {
            if p != q {
                return Err(Incomparable(format!("their {what} differ: {p:?} and {q:?}")));
            }
        }
        let mut report = Report {
            outputs: names(a, a.outputs())
                .into_iter()
                .map(|name| Output { name, verdicts: Vec::new() })
                .collect(),
            certificate: None,
        };
        if identical(a, b) {
            for o in &mut report.outputs {
                o.verdicts.push(Verdict::Identical);
            }
            return Ok(report);
        }
        if self.prove {
            self.tell("a proof");
            let verdict = match prove(a, b) {
                Ok(proof) => {
                    report.certificate = Some(proof.certificate);
                    Verdict::Proved { reassociates: proof.reassociates }
                }
                Err(why) => Verdict::Unknown("proof".into(), why),
            };
            let all = vec![verdict; report.outputs.len()];
            self.add(&mut report, all);
        }
        let types = types(a, b)?;
        let matched = Matched::new(a, b);
        if self.exact {
            self.tell("finite field");
            let verdicts = self.field(a, b, &types, &matched)?;
            self.add(&mut report, verdicts);
        }
        for backend in &self.backends {
            if self.brief && report.differs() {
                break;
            }
            self.tell(backend.name());
            let verdicts = self.backend(*backend, a, b, &types, &matched)?;
            self.add(&mut report, verdicts);
        }
        Ok(report)
    }

    fn tell(&self, what: &str) {
        if let Some(p) = self.progress {
            p(what);
        }
    }

    fn add(&self, report: &mut Report, verdicts: Vec<Verdict>) {
        for (o, v) in report.outputs.iter_mut().zip(verdicts) {
            o.verdicts.push(v);
        }
    }

    fn field(
        &self,
        a: &Graph,
        b: &Graph,
        types: &[Type],
        m: &Matched,
    ) -> Result<Vec<Verdict>, Incomparable> {
        let outputs = a.outputs().len();
        let unknown = |why: String| vec![Verdict::Unknown("finite field".into(), why); outputs];
        for run in 0..self.runs.max(1) {
            let key = self.seed.wrapping_add(run as u64);
            let drawn = self.field_inputs(a, types)?;
            let runs = [(a, &drawn), (b, &drawn)]
                .map(|(g, i)| run_field(g, key, i, g.outputs(), &self.cpu));
            let (p, q) = match runs {
                [Ok(p), Ok(q)] => (p, q),
                [Err(e), _] => return Ok(unknown(format!("the original: {e}"))),
                [_, Err(e)] => return Ok(unknown(format!("the other: {e}"))),
            };
            let same: Vec<bool> =
                p.iter().zip(&q).map(|(p, q)| field_place(p, q, key).is_none()).collect();
            if same.iter().all(|s| *s) {
                continue;
            }
            // Once more, with everything that both graphs have, to find where it starts.
            let find = || -> Option<Place> {
                let p = run_field(a, key, &drawn, &m.of_a, &self.cpu).ok()?;
                let q = run_field(b, key, &drawn, &m.of_b, &self.cpu).ok()?;
                p.iter().zip(&q).zip(&m.of_b).find_map(|((p, q), &v)| {
                    let (element, elements) = field_place(p, q, key)?;
                    Some(m.place(b, v, element, elements))
                })
            };
            let first = find();
            return Ok(same
                .iter()
                .enumerate()
                .map(|(i, same)| {
                    if *same {
                        return Verdict::Exact(run + 1);
                    }
                    let place = first.clone().or_else(|| {
                        let (e, t) = field_place(&p[i], &q[i], key)?;
                        Some(m.place(b, b.outputs()[i], e, t))
                    });
                    match place {
                        Some(p) => Verdict::Differs("finite field".into(), p),
                        None => Verdict::Unknown(
                            "finite field".into(),
                            "no element differs twice".into(),
                        ),
                    }
                })
                .collect());
        }
        Ok(vec![Verdict::Exact(self.runs.max(1)); outputs])
    }

    fn field_inputs(&self, a: &Graph, types: &[Type]) -> Result<Vec<FieldInput>, Incomparable> {
        let mut given = self.inputs.iter().flatten();
        let mut types = types.iter();
        a.inputs()
            .iter()
            .map(|&v| {
                let value = a.value(v);
                if !matches!(value.def, graph_opt_ir::Def::Input(None)) {
                    return Ok(FieldInput::Declared);
                }
                let ty = types.next().unwrap_or(&value.ty);
                // Whole-number inputs are kept as given: they may be indices.
                let t = given.next();
                if let Some(t) = t
                    && !t.dtype().is_float()
                {
                    return Ok(FieldInput::Given(t.clone()));
                }
                let dims = match t {
                    Some(t) => Some(t.dims().to_vec()),
                    None => self.extents.of(ty),
                };
                let dims = dims.ok_or_else(|| {
                    Incomparable(format!(
                        "the rank of input {:?} is unknown; give a file",
                        value.name
                    ))
                })?;
                Ok(FieldInput::Shaped(dims.iter().map(|&d| d as usize).collect()))
            })
            .collect()
    }

    fn backend(
        &self,
        backend: &dyn Backend,
        a: &Arc<Graph>,
        b: &Arc<Graph>,
        types: &[Type],
        m: &Matched,
    ) -> Result<Vec<Verdict>, Incomparable> {
        let name = backend.name().to_owned();
        let outputs = a.outputs().len();
        let unknown = |why: String| Ok(vec![Verdict::Unknown(name.clone(), why); outputs]);
        let prepared: Result<_, PrepareError> =
            backend.prepare(a.clone()).and_then(|p| Ok((p, backend.prepare(b.clone())?)));
        let (p, q) = match prepared {
            Ok(x) => x,
            Err(e) => return unknown(e.to_string()),
        };
        let mut worst: Vec<Option<Difference>> = vec![None; outputs];
        for run in 0..self.runs.max(1) {
            let inputs = match &self.inputs {
                Some(i) => i.clone(),
                None => draw_as(a, types, &self.extents, self.seed.wrapping_add(run as u64))
                    .map_err(Incomparable)?,
            };
            let (x, y) = match (p.run(&inputs, a.outputs()), q.run(&inputs, b.outputs())) {
                (Ok(x), Ok(y)) => (x, y),
                (Err(e), _) => return unknown(format!("the original: {e}")),
                (_, Err(e)) => return unknown(format!("the other: {e}")),
            };
            let diffs: Vec<Option<Difference>> =
                x.iter().zip(&y).map(|(x, y)| differ(x, y)).collect();
            if diffs.iter().flatten().any(|d| !d.is_close()) {
                let find = || -> Option<Place> {
                    let x = p.run(&inputs, &m.of_a).ok()?;
                    let y = q.run(&inputs, &m.of_b).ok()?;
                    x.iter().zip(&y).zip(&m.of_b).find_map(|((x, y), &v)| {
                        let d = differ(x, y).filter(|d| !d.is_close())?;
                        let (e, t) = float_place(x, y, d.first.unwrap_or(0));
                        Some(m.place(b, v, e, t))
                    })
                };
                let first = find();
                return Ok(diffs
                    .iter()
                    .enumerate()
                    .map(|(i, d)| match d {
                        None => Verdict::BitExact(name.clone(), run + 1),
                        Some(d) if d.is_close() => Verdict::Close(name.clone(), *d),
                        Some(d) => {
                            let (e, t) = float_place(&x[i], &y[i], d.first.unwrap_or(0));
                            let here = m.place(b, b.outputs()[i], e, t);
                            Verdict::Differs(name.clone(), first.clone().unwrap_or(here))
                        }
                    })
                    .collect());
            }
            for (w, d) in worst.iter_mut().zip(diffs) {
                let larger = |w: &Option<Difference>| {
                    w.is_none_or(|w| d.is_some_and(|d| d.absolute > w.absolute))
                };
                if d.is_some() && larger(w) {
                    *w = d;
                }
            }
        }
        Ok(worst
            .into_iter()
            .map(|d| match d {
                None => Verdict::BitExact(name.clone(), self.runs.max(1)),
                Some(d) => Verdict::Close(name.clone(), d),
            })
            .collect())
    }
}

/// What both graphs together say of the inputs to draw: in one, extents may have been fixed.
fn types(a: &Graph, b: &Graph) -> Result<Vec<Type>, Incomparable> {
    let both = required(a).into_iter().zip(required(b));
    let meet = |(v, w): (ValueId, ValueId)| {
        let (v, w) = (a.value(v), b.value(w));
        v.ty.meet(&w.ty).ok_or_else(|| {
            Incomparable(format!("their inputs {:?} differ: {} and {}", v.name, v.ty, w.ty))
        })
    };
    both.map(meet).collect()
}

/// Values that both graphs have, in the order of the other graph's schedule.
struct Matched {
    of_a: Vec<ValueId>,
    of_b: Vec<ValueId>,
}

impl Matched {
    fn new(a: &Graph, b: &Graph) -> Self {
        let names: std::collections::HashMap<&str, ValueId> =
            a.values().map(|(id, v)| (&*v.name, id)).collect();
        let (s, t) = (Structure::of(a), Structure::of(b));
        let mut m = Self { of_a: Vec::new(), of_b: Vec::new() };
        for id in b.schedule() {
            for &v in b.node(id).outputs.iter().flatten() {
                let value = b.value(v);
                if let Some(&w) = names.get(&*value.name)
                    && a.value(w).ty.meet(&value.ty).is_some()
                    && a.producer(w).is_some()
                    && s.hash(w) != t.hash(v)
                {
                    m.of_a.push(w);
                    m.of_b.push(v);
                }
            }
        }
        m
    }

    fn place(
        &self,
        b: &Graph,
        v: ValueId,
        element: Vec<usize>,
        elements: (String, String),
    ) -> Place {
        let edit = b.producer(v).map(|n| made_by(b, n)).unwrap_or_default();
        Place { value: b.value(v).name.to_string(), element, elements, edit }
    }
}

/// The edit that made the node, or those that made nodes in its bodies.
fn made_by(graph: &Graph, node: NodeId) -> String {
    let n = graph.node(node);
    if !n.meta.origin.is_empty() {
        return n.meta.origin.to_string();
    }
    let mut edits: Vec<String> = Vec::new();
    for (_, body) in n.op.bodies() {
        body.any_node(&mut |g, n| {
            let origin = &*g.node(n).meta.origin;
            if !origin.is_empty() && !edits.iter().any(|e| e == origin) {
                edits.push(origin.to_owned());
            }
            false
        });
    }
    match &edits[..] {
        [] => String::new(),
        [one] => format!("{one}, inside {:?}", graph.label(node)),
        all => format!("{} inside {:?}", all.join(" or "), graph.label(node)),
    }
}

/// `None` if they are equal bit for bit.
fn differ(x: &Tensor, y: &Tensor) -> Option<Difference> {
    let bad = Difference {
        absolute: f64::INFINITY,
        ulp: u64::MAX,
        scale: 0.0,
        first: Some(0),
        unlike: true,
    };
    if x.dtype() != y.dtype() || x.dims() != y.dims() {
        return Some(bad);
    }
    if x == y {
        return None;
    }
    let (Some(a), Some(b)) = (numbers(x), numbers(y)) else { return Some(bad) };
    let d = difference(&a, &b);
    // Whole numbers may not differ at all.
    let float = x.dtype().is_float();
    d.first?;
    Some(if float { d } else { Difference { unlike: true, ..d } })
}

fn numbers(t: &Tensor) -> Option<Vec<f32>> {
    t.to_f32s().or_else(|| Some(t.to_i64s()?.into_iter().map(|n| n as f32).collect()))
}

fn float_place(x: &Tensor, y: &Tensor, at: usize) -> (Vec<usize>, (String, String)) {
    let text = |t: &Tensor| {
        numbers(t)
            .and_then(|v| v.get(at).map(|x| format!("{x:?}")))
            .unwrap_or_else(|| t.ty().to_string())
    };
    let dims: Vec<usize> = x.dims().iter().map(|&d| d as usize).collect();
    (indices(&dims, at), (text(x), text(y)))
}

fn field_place(
    p: &FieldTensor,
    q: &FieldTensor,
    key: u64,
) -> Option<(Vec<usize>, (String, String))> {
    if p.dims != q.dims {
        return Some((Vec::new(), (format!("{:?}", p.dims), format!("{:?}", q.dims))));
    }
    if p == q {
        return None;
    }
    let (p, q) = (p.embedded(key).ok()?, q.embedded(key).ok()?);
    match (&p.data, &q.data) {
        (FieldData::Field(x), FieldData::Field(y)) => {
            let at = x.iter().zip(y).position(|(a, b)| a != b)?;
            Some((indices(&p.dims, at), (format!("{:?}", x[at]), format!("{:?}", y[at]))))
        }
        (FieldData::Native(x), FieldData::Native(y)) => {
            let d = differ(x, y)?;
            Some(float_place(x, y, d.first.unwrap_or(0)))
        }
        _ => Some((Vec::new(), ("depends on inputs".into(), "does not".into()))),
    }
}

fn indices(dims: &[usize], mut at: usize) -> Vec<usize> {
    let mut out = vec![0; dims.len()];
    for (o, &d) in out.iter_mut().zip(dims).rev() {
        *o = at % d.max(1);
        at /= d.max(1);
    }
    out
}
