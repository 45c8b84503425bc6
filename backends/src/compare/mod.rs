//! Whether a rewritten graph computes the same: the ladder of section 4 of the design.
//!
//! `identical` needs no run, and neither does `proved`; `exact` runs both graphs over the field of
//! integers modulo 2^61 - 1 (see [`crate::cpu`] for what that covers); `bit-exact` and `close` run
//! both on a backend. What differs is traced to the first value that both graphs have and to the
//! edit that made it.
//!
//! Runs are made on inputs over their types: floats of both signs with zeros, ties and several
//! magnitudes, whole numbers to the ends of their types, or of the axes that they index, both truth
//! values, counts 0, 1 and more, two extents above 1 of each symbolic dimension, and inputs with a
//! default both ways. Small graphs get up to 32 runs over the field and 16 on each backend, some of
//! them with infinities, NaN and signed zeros; large ones one or two. What lies in the part in which
//! the graphs differ and was not reached by any run (a branch, a trip count, a row of a table, an
//! outcome of an operator that compares, elements at all) makes the rung `unknown`, by name. On
//! backends, outcomes count only where the field does not say that the output is equal.
//!
//! [`Summary`] is the one verdict on an output.

mod cases;
mod cover;
mod cut;
mod map;
mod places;
mod range;
mod rungs;
mod summary;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use graph_opt_ir::definition::expanded;
use graph_opt_ir::infer::infer_graph;
use graph_opt_ir::structural_eq::{Structure, identical};
use graph_opt_ir::tensor::Data;
use graph_opt_ir::{Graph, Tensor, Type, ValueId};
use graph_opt_passes::eqsat::prove::prove;
use graph_opt_passes::registry::{OPTIMISE, optimise};
use graph_opt_passes::{Assumed, Runner};

use crate::cpu::Cpu;
use crate::inputs::{Extents, required};
use crate::tolerance::Difference;
use crate::{Backend, Folder};
use cases::Cases;
use cover::Cover;
use cut::Cut;
pub use map::{DifferenceMap, Measure};
use places::Matched;
use rungs::Shared;
pub use summary::Summary;

/// What the rung of the finite field is called.
const FIELD: &str = "finite field";

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
    /// Label of the other graph's node that makes the value; empty if none does.
    pub node: String,
    /// Where the output itself differs; `None` if a graph gives no output at all.
    pub output: Option<OutputElement>,
    /// How much the value differs where; `None` if its shape or type does, or if it is very large.
    pub map: Option<Arc<DifferenceMap>>,
}

/// The first element of an output that differs.
#[derive(Clone, PartialEq, Debug)]
pub struct OutputElement {
    /// Name of the output.
    pub name: String,
    /// Indices of the element; empty if the shapes differ, or for a scalar.
    pub element: Vec<usize>,
    /// The elements, of the original and of the other; `None` if they are numbers of the finite
    /// field, and the same as floats.
    pub elements: Option<(String, String)>,
    /// How much the output differs where, as of the first value that does.
    pub map: Option<Arc<DifferenceMap>>,
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
        /// Whether the proof holds in exact arithmetic only.
        reassociates: bool,
        /// Values whose declared shapes the proof assumes.
        assumes: Vec<String>,
    },
    /// Equal for all inputs of these extents and for all weights, by the rules of the prover after constants
    /// were folded.
    ProvedAt {
        /// The extents, such as `batch=1 tokens=6`.
        extents: String,
        /// As of a proof for all extents.
        reassociates: bool,
    },
    /// Equal over the finite field, in this many runs.
    Exact(usize),
    /// Equal bits on this backend, in this many runs.
    BitExact(String, usize),
    /// Equal bits on this backend where inputs are ordinary numbers; with infinities, NaN, negative
    /// zeros or numbers near the limits among them, this differs.
    Finite(String, Place),
    /// Close on this backend, with the largest difference.
    Close(String, Difference),
    /// The outputs differ, by the rung or backend that is named.
    Differs(String, Place),
    /// Not decided, and why.
    Unknown(String, String),
}

impl Verdict {
    /// The better it is, the lower.
    fn rank(&self) -> usize {
        match self {
            Self::Identical => 0,
            Self::Proved { .. } => 1,
            Self::ProvedAt { .. } => 2,
            Self::Exact(_) => 3,
            Self::BitExact(..) => 4,
            Self::Finite(..) => 5,
            Self::Close(..) => 6,
            Self::Unknown(..) => 7,
            Self::Differs(..) => 8,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identical => f.write_str("identical"),
            Self::Proved { reassociates, assumes } => {
                f.write_str("proved")?;
                if *reassociates {
                    f.write_str(" (in exact arithmetic)")?;
                }
                if !assumes.is_empty() {
                    write!(f, " (if {} have their declared shapes)", assumes.join(", "))?;
                }
                Ok(())
            }
            Self::ProvedAt { extents, reassociates } => {
                let how = if *reassociates { " (in exact arithmetic)" } else { "" };
                write!(f, "proved{how} at {extents}")
            }
            Self::Exact(_) => f.write_str("exact"),
            Self::BitExact(b, _) => write!(f, "bit-exact on {b}"),
            Self::Finite(b, p) => write!(
                f,
                "bit-exact on {b} but for infinities, NaN, negative zeros and the like: {p}"
            ),
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
    /// Name of the output in both graphs.
    pub name: String,
    /// All verdicts, in the order of the ladder.
    pub verdicts: Vec<Verdict>,
    /// What they come to.
    pub summary: Summary,
}

impl Output {
    /// Where the output differs: on a backend, if one shows it, else over the field.
    pub fn difference(&self) -> Option<&Place> {
        let of = |field: bool| {
            self.verdicts.iter().find_map(|v| match v {
                Verdict::Differs(by, place) if (by == FIELD) == field => Some(place),
                Verdict::Finite(_, place) if !field => Some(place),
                _ => None,
            })
        };
        matches!(self.summary, Summary::Differs(_)).then(|| of(false).or(of(true))).flatten()
    }
}

/// Which runs are left out where a proof says that the graphs are equal bit for bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Spared {
    /// None.
    #[default]
    Nothing,
    /// Those over the finite field.
    Field,
    /// All.
    Runs,
}

/// What a comparison found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// One entry an output.
    pub outputs: Vec<Output>,
    /// The proof, if one was looked for and found.
    pub certificate: Option<String>,
    /// What runs were limited to.
    pub notes: Vec<String>,
}

impl Report {
    /// An empty report for the graph's outputs.
    fn like(g: &Graph) -> Self {
        let new = |&v: &ValueId| Output {
            name: g.value(v).name.to_string(),
            verdicts: Vec::new(),
            summary: Summary::Identical,
        };
        Self { outputs: g.outputs().iter().map(new).collect(), ..Self::default() }
    }

    /// Whether some output differs.
    pub fn differs(&self) -> bool {
        self.outputs.iter().any(|o| matches!(o.summary, Summary::Differs(_)))
    }

    /// Whether every output is known to be equal, or close on backends.
    pub fn is_equal(&self) -> bool {
        self.outputs.iter().all(|o| o.summary.is_equal())
    }

    /// The verdicts of all rungs on all outputs.
    pub fn all(&self) -> impl Iterator<Item = &Verdict> {
        self.outputs.iter().flat_map(|o| &o.verdicts)
    }
}

/// Why the models count as equal although they differ over the field.
#[derive(Clone, Debug)]
struct Dressed {
    why: String,
    /// Whether another form of the original is equal over the field.
    exact: bool,
}

/// What to compare by.
pub struct Compare<'a> {
    /// Whether to look for a proof.
    pub prove: bool,
    /// Which runs a proof makes superfluous.
    pub spared: Spared,
    /// Whether to run over the finite field.
    pub exact: bool,
    /// Backends to run on.
    pub backends: Vec<&'a dyn Backend>,
    /// Fewest runs of each kind, on different inputs.
    pub runs: usize,
    /// Seed of the inputs.
    pub seed: u64,
    /// Extents of symbolic dimensions.
    pub extents: Extents,
    /// Inputs to use instead of random ones, in the order of inputs without a default.
    pub inputs: Option<Vec<Tensor>>,
    /// Whether the first backend on which some output differs is the last that is tried.
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
            spared: Spared::Nothing,
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

/// Why graphs cannot be compared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Incomparable {
    /// They have other inputs or outputs.
    #[error("{0}")]
    Signature(String),
    /// Inputs cannot be drawn, or those that were given do not fit.
    #[error("{0}")]
    Inputs(String),
}

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
                return Err(Incomparable::Signature(format!(
                    "their {what} differ: {p:?} and {q:?}"
                )));
            }
        }
        share_digests(a, b);
        let mut report = Report::like(a);
        let mut field = self.exact;
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
                    Verdict::Proved { reassociates: proof.reassociates, assumes: proof.assumes }
                }
                Err(why) => match self.proved_at_extents(a, b) {
                    Some(verdict) => verdict,
                    None => Verdict::Unknown("proof".into(), why.to_string()),
                },
            };
            let equal = matches!(
                verdict,
                Verdict::Proved { reassociates: false, .. }
                    | Verdict::ProvedAt { reassociates: false, .. }
            );
            let summary = Summary::of(std::slice::from_ref(&verdict), None);
            let all = vec![verdict; report.outputs.len()];
            self.add(&mut report, all);
            if equal && (draws(a) || draws(b)) {
                let note = "both models are taken to draw the same random numbers";
                report.notes.push(note.into());
            }
            match self.spared {
                Spared::Runs if equal => {
                    report.outputs.iter_mut().for_each(|o| o.summary = summary.clone());
                    return Ok(report);
                }
                Spared::Field if equal => field = false,
                _ => {}
            }
        }
        // Outcomes and branches within definitions count as others do.
        let whole = |g: &Arc<Graph>| expanded(g).map_or_else(|| g.clone(), Arc::new);
        let (a, b) = (&whole(a), &whole(b));
        if draws(a) || draws(b) {
            let rungs = field.then_some(FIELD).into_iter();
            for by in rungs.chain(self.backends.iter().map(|b| b.name())) {
                let why = "random numbers are drawn, so runs say nothing of others";
                let unknown = Verdict::Unknown(by.into(), why.into());
                let all = vec![unknown; report.outputs.len()];
                self.add(&mut report, all);
            }
            report.outputs.iter_mut().for_each(|o| o.summary = Summary::of(&o.verdicts, None));
            return Ok(report);
        }
        match Cut::of(a, b) {
            Some(cut) => {
                // What cannot be drawn is told by the whole models, too.
                let part = self.ladder(&cut.a, &cut.b, field, Report::like(&cut.a));
                if let Ok(part) = part {
                    report.notes.extend(part.notes.iter().cloned());
                    report.notes.push(format!(
                        "{} cannot run here: compared by what they read, and with results of the \
                         declared shapes",
                        cut.labels.join(", ")
                    ));
                    let joined = cut.joined(&part);
                    for (o, (verdicts, summary)) in report.outputs.iter_mut().zip(joined) {
                        o.verdicts.extend(verdicts);
                        let whole = Summary::of(&o.verdicts, None);
                        o.summary = if whole == Summary::Proved { whole } else { summary };
                    }
                    return Ok(report);
                }
                self.ladder(a, b, field, report)
            }
            None => self.ladder(a, b, field, report),
        }
    }

    /// The graph with the given extents, and with the whole numbers folded that follow from them. Types that the
    /// file declares are not used; in bodies they cannot be told from inferred ones, so that a graph with bodies
    /// gives `None`.
    fn at_extents(&self, g: &Graph) -> Option<Graph> {
        if g.schedule().any(|n| !g.node(n).op.subgraphs().is_empty()) {
            return None;
        }
        let mut g = g.clone();
        infer_graph(&mut g, &[]).ok()?;
        let given = self.extents.0.clone().into_iter().collect();
        Assumed::new(given).folded(&g, &Folder).ok()
    }

    /// A proof for the extents that are given.
    fn proved_at_extents(&self, a: &Graph, b: &Graph) -> Option<Verdict> {
        if self.extents.0.is_empty() {
            return None;
        }
        let proof = prove(&self.at_extents(a)?, &self.at_extents(b)?).ok()?;
        let extents: Vec<String> =
            self.extents.0.iter().map(|(name, n)| format!("{name}={n}")).collect();
        let (extents, reassociates) = (extents.join(" "), proof.reassociates);
        proof.assumes.is_empty().then_some(Verdict::ProvedAt { extents, reassociates })
    }

    /// The rungs on which the models run.
    fn ladder(
        &self,
        a: &Arc<Graph>,
        b: &Arc<Graph>,
        field: bool,
        mut report: Report,
    ) -> Result<Report, Incomparable> {
        let types = types(a, b)?;
        let (s, t) = (Structure::of(a), Structure::of(b));
        // A proof holds for all inputs, so runs need not reach any outcome.
        let outcomes = !report.all().any(|v| matches!(v, Verdict::Proved { .. }));
        // What the given extents decide, no run has to show.
        let decided = self.at_extents(a).zip(self.at_extents(b));
        let decided = decided.map(|(g, h)| (Structure::of(&g), Structure::of(&h), g, h));
        let (p, q) = match &decided {
            Some((s, t, g, h)) => ((g, s), (h, t)),
            None => ((&**a, &s), (&**b, &t)),
        };
        let cover = [Cover::of(p, q, outcomes), Cover::of(q, p, outcomes)];
        let mut rows = cover[0].rows();
        rows.extend(cover[1].rows());
        let cases =
            Cases::new(a, b, &types, &self.extents, self.inputs.as_deref(), &rows, self.seed)
                .map_err(Incomparable::Inputs)?
                .marked(cover.iter().flat_map(|c| c.marks.iter().copied()));
        let shared = Shared {
            compare: self,
            a,
            b,
            cases: &cases,
            matched: &Matched::new(a, b, &s, &t),
            cover,
            ran: RefCell::new(None),
            notes: RefCell::new(Vec::new()),
            unreached: RefCell::new(vec![None; a.outputs().len()]),
        };
        if field {
            self.tell(FIELD);
            self.add(&mut report, shared.field());
        }
        for backend in &self.backends {
            self.tell(backend.name());
            self.add(&mut report, shared.backend(*backend));
            let differs = |v: &Verdict| matches!(v, Verdict::Differs(by, _) if by != FIELD);
            if self.brief && report.all().any(differs) {
                break;
            }
        }
        report.notes = shared.notes.take();
        // Before the runs with other weights.
        let unreached = shared.unreached.take();
        let dressed = self.dressed(&report, &shared);
        for ((o, dressed), unreached) in report.outputs.iter_mut().zip(dressed).zip(unreached) {
            let exact = |v: &Verdict| matches!(v, Verdict::Exact(_) | Verdict::Proved { .. });
            let known = o.verdicts.iter().any(exact) || dressed.as_ref().is_some_and(|d| d.exact);
            o.summary = Summary::of(&o.verdicts, dressed.as_ref().map(|d| &*d.why));
            if let (Some(why), false) = (unreached, known) {
                o.summary = o.summary.clone().unreached(why);
            }
        }
        if !self.brief {
            shared.show_as_floats(&mut report);
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

    /// Of each output that differs over the field and on no backend: why that is no difference of
    /// the models, if it is not. Either it has equal bits with other weights, too, or it is equal
    /// in the field once constants of the original are folded, which rounds them.
    fn dressed(&self, report: &Report, shared: &Shared<'_>) -> Vec<Option<Dressed>> {
        let has = |o: &Output, f: &dyn Fn(&Verdict) -> bool| o.verdicts.iter().any(f);
        let alone = |o: &Output| {
            let field = has(o, &|v| matches!(v, Verdict::Differs(by, _) if by == FIELD));
            let backend = has(o, &|v| matches!(v, Verdict::Differs(by, _) if by != FIELD));
            let ran = has(o, &|v| matches!(v, Verdict::BitExact(..) | Verdict::Close(..)));
            field && ran && !backend
        };
        let mut all: Vec<Option<Dressed>> = vec![None; report.outputs.len()];
        if !report.outputs.iter().any(alone) {
            return all;
        }
        let bits = |o: &Output| alone(o) && !has(o, &|v| matches!(v, Verdict::Close(..)));
        if report.outputs.iter().any(bits) {
            let equal = shared.redrawn();
            for ((o, equal), why) in report.outputs.iter().zip(equal).zip(&mut all) {
                if equal && bits(o) {
                    let text = "it differs in exact arithmetic as modelled, and in no bit of any \
                                run, with other weights neither";
                    *why = Some(Dressed { why: text.into(), exact: false });
                }
            }
        }
        let open =
            |i: usize, all: &[Option<Dressed>]| alone(&report.outputs[i]) && all[i].is_none();
        for folded in
            [self.folded(shared.a, shared.b, false), self.folded(shared.a, shared.b, true)]
        {
            if !(0..all.len()).any(|i| open(i, &all)) {
                break;
            }
            let Some(equal) = folded else { continue };
            for (i, equal) in equal.into_iter().enumerate() {
                if equal && open(i, &all) {
                    let why = format!(
                        "rounding of folded constants; equal in exact arithmetic after {OPTIMISE}"
                    );
                    all[i] = Some(Dressed { why, exact: true });
                }
            }
        }
        all
    }

    /// Which outputs are equal in the field after the passes that fold constants ran on the
    /// original, or on both.
    fn folded(&self, a: &Arc<Graph>, b: &Arc<Graph>, both: bool) -> Option<Vec<bool>> {
        let fold = |g: &Arc<Graph>| {
            let mut out = (**g).clone();
            Runner::default().evaluator(&Folder).run(&mut out, &optimise()).ok()?;
            Some(Arc::new(out))
        };
        let a = fold(a)?;
        let b = if both { fold(b)? } else { b.clone() };
        let again = Compare {
            prove: self.prove,
            exact: true,
            backends: Vec::new(),
            inputs: self.inputs.clone(),
            extents: self.extents.clone(),
            cpu: self.cpu.clone(),
            progress: None,
            ..*self
        };
        let report = again.run(&a, &b).ok()?;
        Some(report.outputs.iter().map(|o| o.summary.is_equal()).collect())
    }
}

/// Whether some node of the graph, its bodies or its functions draws random numbers.
fn draws(g: &Graph) -> bool {
    let mut random = |g: &Graph, n| g.node(n).op.is_random();
    g.any_node(&mut random) || g.functions.values().any(|f| f.body.any_node(&mut random))
}

/// What both graphs together say of the inputs to draw: in one, extents may have been fixed.
fn types(a: &Graph, b: &Graph) -> Result<Vec<Type>, Incomparable> {
    let both = required(a).into_iter().zip(required(b));
    let meet = |(v, w): (ValueId, ValueId)| {
        let (v, w) = (a.value(v), b.value(w));
        v.ty.meet(&w.ty).ok_or_else(|| {
            Incomparable::Signature(format!(
                "their inputs {:?} differ: {} and {}",
                v.name, v.ty, w.ty
            ))
        })
    };
    both.map(meet).collect()
}
/// Constants of both graphs at one place of a file have one digest, for which it is read once.
fn share_digests(a: &Graph, b: &Graph) {
    let mut places = HashMap::new();
    for t in a.values().filter_map(|(_, v)| v.constant()) {
        if let Data::External { path, offset, .. } = t.data() {
            places.insert((path.clone(), *offset), t);
        }
    }
    for t in b.values().filter_map(|(_, v)| v.constant()) {
        if let Data::External { path, offset, .. } = t.data()
            && let Some(other) = places.get(&(path.clone(), *offset))
        {
            t.share_digest(other);
        }
    }
}
