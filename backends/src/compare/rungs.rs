//! The rungs that run: how many runs, on what, and what they add up to.

use std::cell::RefCell;
use std::sync::Arc;

use graph_opt_ir::{Def, Dim, Graph, Tensor, Value, ValueId};

use super::cases::{Case, Cases};
use super::cover::{Cover, Missing};
use super::places::{Matched, differ, field_place, float_place, place, texts_at};
use super::{Compare, DifferenceMap, FIELD, Output, Place, Report, Verdict};
use crate::cpu::{Cpu, run_field_watched};
use crate::inputs::spread::Style;
use crate::tolerance::Difference;
use crate::watch::{Seen, Watch};
use crate::{Backend, Executable, PrepareError, RunError};

/// What the rungs share.
pub(super) struct Shared<'a> {
    pub compare: &'a Compare<'a>,
    pub a: &'a Arc<Graph>,
    pub b: &'a Arc<Graph>,
    pub cases: &'a Cases,
    pub matched: &'a Matched,
    pub cover: [Cover; 2],
    /// Ways to choose extents with which the original runs, once that is known.
    pub ran: RefCell<Option<Vec<usize>>>,
    pub notes: RefCell<Vec<String>>,
    /// Of each output: an outcome of an operator that it depends on and that runs on some backend
    /// did not reach.
    pub unreached: RefCell<Vec<Option<String>>>,
}

/// What a run found of an output.
enum Found {
    Same,
    Close(Difference),
    Differs(Box<Place>),
}

/// What became of a run.
enum Trial {
    /// The original does not run.
    Original(RunError),
    /// The original does, and the other does not.
    Other(RunError),
    /// Of each output what was found, and how many elements it has.
    Ran(Vec<(Found, usize)>),
}

/// Work that a rung of small graphs may take, in elements and multiplications.
const WORK: u64 = 4_000_000;
/// Most runs that are made only to reach what was not reached yet.
const FURTHER: usize = 8;

/// Whether the error says nothing about whether the graph is right.
fn undecided(e: &RunError) -> bool {
    match e {
        RunError::Node { source, .. } => undecided(source),
        RunError::Unsupported(_) | RunError::NotInField(_) | RunError::TooLarge { .. } => true,
        _ => false,
    }
}

impl Shared<'_> {
    /// Runs over the finite field.
    pub fn field(&self) -> Vec<Verdict> {
        let (a, b, cpu) = (&**self.a, &**self.b, &self.compare.cpu);
        let watch = self.watches();
        let mut trial = |case: &Case| {
            let key = self.cases.drawing(case.run);
            let run = |g: &Graph, wanted: &[ValueId], w: Option<&Watch>| {
                run_field_watched(g, key, &self.cases.field(case, g), wanted, cpu, w)
            };
            let p = match run(a, a.outputs(), Some(&watch[0])) {
                Ok(p) => p,
                Err(e) => return Trial::Original(e),
            };
            let q = match run(b, b.outputs(), Some(&watch[1])) {
                Ok(q) => q,
                Err(e) => return self.other(e, p.iter().map(|p| p.dims.clone())),
            };
            let places: Vec<_> = p.iter().zip(&q).map(|(p, q)| field_place(p, q, key)).collect();
            // Once more, with everything that both graphs have, to find where it starts.
            let find = || -> Option<Place> {
                let m = self.matched;
                let p = run(a, &m.of_a, None).ok()?;
                let q = run(b, &m.of_b, None).ok()?;
                p.iter().zip(&q).zip(&m.of_b).find_map(|((p, q), &v)| {
                    let (element, elements) = field_place(p, q, key)?;
                    Some(place(b, v, element, elements, DifferenceMap::of_field(p, q, key)))
                })
            };
            let apart = places.iter().any(Option::is_some);
            if let Some(e) = apart.then(|| self.beyond(p.iter().map(|p| p.dims.clone()))).flatten()
            {
                return Trial::Original(e);
            }
            let first = if apart { find() } else { None };
            let one = |(i, at): (usize, Option<(Vec<usize>, (String, String))>)| {
                let n = p[i].dims.iter().product();
                match at {
                    None => (Found::Same, n),
                    Some((e, t)) => {
                        let map = DifferenceMap::of_field(&p[i], &q[i], key);
                        let here = place(b, b.outputs()[i], e, t, map);
                        let in_field = p[i].dims == q[i].dims && p[i].dtype.is_float();
                        let at = first.clone().unwrap_or(here.clone()).seen_at(&here, !in_field);
                        (Found::Differs(Box::new(at)), n)
                    }
                }
            };
            Trial::Ran(places.into_iter().enumerate().map(one).collect())
        };
        self.rung(FIELD, 32, &watch, true, &mut trial)
    }

    /// Runs on a backend.
    pub fn backend(&self, backend: &dyn Backend) -> Vec<Verdict> {
        let prepared: Result<_, PrepareError> =
            (|| Ok((backend.prepare(self.a.clone())?, backend.prepare(self.b.clone())?)))();
        match prepared {
            Ok((p, q)) => self.executables(backend.name(), &*p, &*q),
            Err(e) => self.unknown(backend.name(), &e.to_string()),
        }
    }

    /// Gives elements that only the field found to differ as floats of the interpreter, where those
    /// differ, too.
    pub fn show_as_floats(&self, report: &mut Report) {
        let hidden = |o: &Output| {
            let at = o.difference().and_then(|p| p.output.as_ref());
            at.is_some_and(|at| at.elements.is_none())
        };
        if !report.outputs.iter().any(hidden) {
            return;
        }
        let assignment = self.ran.borrow().as_ref().and_then(|r| r.first().copied()).unwrap_or(0);
        let case = Case { assignment, run: 0, level: 0, further: false };
        let run = |g: &Arc<Graph>| {
            let inputs = self.tensors(&case, Style::Mixed, g).ok()?;
            self.compare.cpu.prepared(g.clone()).ok()?.run(&inputs, g.outputs()).ok()
        };
        let (Some(x), Some(y)) = (run(self.a), run(self.b)) else { return };
        for (i, o) in report.outputs.iter_mut().enumerate().filter(|(_, o)| hidden(o)) {
            let places = o.verdicts.iter_mut().filter_map(|v| match v {
                Verdict::Differs(_, place) => place.output.as_mut(),
                _ => None,
            });
            for at in places.filter(|at| at.elements.is_none()) {
                at.elements = texts_at(&x[i], &y[i], &at.element);
            }
        }
    }

    /// Whether the outputs have equal bits on the interpreter with other weights, too.
    pub fn redrawn(&self) -> Vec<bool> {
        let cpu: &Cpu = &self.compare.cpu;
        let key = Some(self.compare.seed.wrapping_add(77));
        let prepare = |g: &Arc<Graph>| cpu.prepared_with(g.clone(), key);
        match (prepare(self.a), prepare(self.b)) {
            (Ok(p), Ok(q)) => self
                .executables("cpu", &p, &q)
                .iter()
                .map(|v| matches!(v, Verdict::BitExact(..)))
                .collect(),
            _ => vec![false; self.a.outputs().len()],
        }
    }

    fn executables(&self, name: &str, p: &dyn Executable, q: &dyn Executable) -> Vec<Verdict> {
        let watch = self.watches();
        let compare = |case: &Case, style: Style| {
            let (i, j) =
                match (self.tensors(case, style, self.a), self.tensors(case, style, self.b)) {
                    (Ok(i), Ok(j)) => (i, j),
                    (Err(e), _) | (_, Err(e)) => return Trial::Original(RunError::Unsupported(e)),
                };
            let x = match p.run_watched(&i, self.a.outputs(), &watch[0]) {
                Ok(x) => x,
                Err(e) => return Trial::Original(e),
            };
            let dims = || x.iter().map(extents);
            let y = match q.run_watched(&j, self.b.outputs(), &watch[1]) {
                Ok(y) => y,
                Err(e) => return self.other(e, dims()),
            };
            let diffs: Vec<_> = x.iter().zip(&y).map(|(x, y)| differ(x, y)).collect();
            let find = || -> Option<Place> {
                let x = p.run(&i, &self.matched.of_a).ok()?;
                let y = q.run(&j, &self.matched.of_b).ok()?;
                x.iter().zip(&y).zip(&self.matched.of_b).find_map(|((x, y), &v)| {
                    let d = differ(x, y).filter(|d| !d.is_close())?;
                    let (e, t) = float_place(x, y, d.first.unwrap_or(0));
                    Some(place(self.b, v, e, t, DifferenceMap::of(x, y)))
                })
            };
            let apart = diffs.iter().flatten().any(|d| !d.is_close());
            if let Some(e) = apart.then(|| self.beyond(dims())).flatten() {
                return Trial::Original(e);
            }
            let first = if apart { find() } else { None };
            let one = |(i, d): (usize, Option<Difference>)| {
                let n = numbers(&x[i]);
                match d {
                    None => (Found::Same, n),
                    Some(d) if d.is_close() => (Found::Close(d), n),
                    Some(d) => {
                        let (e, t) = float_place(&x[i], &y[i], d.first.unwrap_or(0));
                        let map = DifferenceMap::of(&x[i], &y[i]);
                        let here = place(self.b, self.b.outputs()[i], e, t, map);
                        let at = first.clone().unwrap_or(here.clone()).seen_at(&here, true);
                        (Found::Differs(Box::new(at)), n)
                    }
                }
            };
            Trial::Ran(diffs.into_iter().enumerate().map(one).collect())
        };
        let edges = p.watches() && q.watches() && self.compare.inputs.is_none();
        let mut close = vec![false; self.a.outputs().len()];
        let mut at_edges: Vec<Option<Place>> = vec![None; self.a.outputs().len()];
        let mut trial = |case: &Case| {
            let style = match case.run % 4 {
                _ if case.further && edges => Style::Large,
                2 => Style::Unit,
                3 if edges && case.run % 8 == 3 => Style::Edges,
                3 if edges => Style::FewEdges,
                _ => Style::Mixed,
            };
            let mut t = compare(case, style);
            if let Trial::Ran(found) = &mut t {
                for (((f, _), close), at_edge) in
                    found.iter_mut().zip(&mut close).zip(&mut at_edges)
                {
                    *close |= matches!(f, Found::Close(_));
                    if matches!(style, Style::Edges | Style::FewEdges | Style::Large)
                        && let Found::Differs(place) = f
                    {
                        // Where rounding differs, infinities and NaN do not begin at the same
                        // numbers.
                        if !*close {
                            at_edge.get_or_insert_with(|| (**place).clone());
                        }
                        *f = Found::Same;
                    }
                }
            }
            t
        };
        let most = if self.compare.inputs.is_some() { 1 } else { 16 };
        let found = self.rung(name, most, &watch, p.watches() && q.watches(), &mut trial);
        let finite = |(v, at): (Verdict, Option<Place>)| match (v, at) {
            (Verdict::BitExact(by, _), Some(at)) => Verdict::Finite(by, at),
            (v, _) => v,
        };
        found.into_iter().zip(at_edges).map(finite).collect()
    }

    fn tensors(&self, case: &Case, style: Style, g: &Graph) -> Result<Vec<Tensor>, String> {
        self.cases.tensors(case, style, g)
    }

    fn unknown(&self, by: &str, why: &str) -> Vec<Verdict> {
        vec![Verdict::Unknown(by.into(), why.into()); self.a.outputs().len()]
    }

    fn watches(&self) -> [Watch; 2] {
        [0, 1].map(|i| Watch::of(self.cover[i].wanted()))
    }

    /// What the runs of a rung did not reach.
    fn missing(&self, seen: &[Seen; 2], watched: bool) -> Vec<Missing<'_>> {
        let all = self.cover.iter().zip(seen).filter(|_| watched);
        all.flat_map(|(c, s)| c.missing(s)).collect()
    }

    fn rung(
        &self,
        by: &str,
        most: usize,
        watch: &[Watch; 2],
        watched: bool,
        trial: &mut dyn FnMut(&Case) -> Trial,
    ) -> Vec<Verdict> {
        let outputs = self.a.outputs().len();
        let given = self.compare.inputs.is_some();
        let least = if given { 1 } else { self.compare.runs.max(1) };
        let least = least.max(self.cases.turns());
        let known = self.ran.borrow().clone();
        let mut open: Vec<usize> = match known {
            Some(ran) => ran,
            None => (0..self.cases.assignments()).collect(),
        };
        open.reverse();
        let mut ran: Vec<usize> = Vec::new();
        let mut worst: Vec<Option<Difference>> = vec![None; outputs];
        let mut compared = vec![0usize; outputs];
        let (mut done, mut target, mut run, mut level) = (0, usize::MAX, 0, None);
        let mut failed: Option<RunError> = None;
        let seen = || [watch[0].seen(), watch[1].seen()];
        loop {
            let enough = self.cases.enough(&ran) || open.is_empty();
            // Where all is NaN, inputs of another style may do.
            let told = compared.iter().all(|&n| n > 0) || done >= 3 || given;
            if done >= target && enough && told {
                let further = !given && run < done + 4 * FURTHER;
                let seen = seen();
                // Operators have many outcomes, and runs of large models take long.
                let counts = |m: &Missing<'_>| match m.is_outcome {
                    true => done < target + target.min(FURTHER),
                    false => done < target.max(FURTHER),
                };
                if !further || !self.missing(&seen, watched).iter().any(counts) {
                    break;
                }
            }
            let assignment = match open.last() {
                Some(&n) if !self.cases.enough(&ran) || ran.is_empty() => {
                    open.pop();
                    n
                }
                _ if ran.is_empty() || run > 8 * most => break,
                _ => ran[run % ran.len()],
            };
            let levels = match level {
                Some(l) => l..l + 1,
                None if self.cases.can_narrow() => 0..4,
                None => 0..1,
            };
            let mut result = None;
            for l in levels {
                let further = done >= target;
                let case = Case { assignment, run, level: l, further };
                watch.iter().for_each(|w| w.ignore_rows(self.cases.overrides(&case)));
                match trial(&case) {
                    Trial::Original(e) => {
                        let stop =
                            undecided(&e) && !matches!(innermost(&e), RunError::TooLarge { .. });
                        failed.get_or_insert(e);
                        if stop {
                            break;
                        }
                    }
                    t => {
                        level = Some(l);
                        result = Some(t);
                        break;
                    }
                }
            }
            run += 1;
            let found = match result {
                Some(Trial::Ran(found)) => found,
                Some(Trial::Other(e)) if undecided(&e) => {
                    return self.unknown(by, &format!("the other: {e}"));
                }
                Some(Trial::Other(e)) => return self.fails(by, &e),
                _ => {
                    if run > 3 * most.min(8) && open.is_empty() {
                        break;
                    }
                    continue;
                }
            };
            done += 1;
            if !ran.contains(&assignment) {
                ran.push(assignment);
            }
            if target == usize::MAX {
                let work = watch[0].work().max(watch[1].work()).max(1);
                target = ((WORK / work) as usize).clamp(1, most).max(least);
            }
            if found.iter().any(|(f, _)| matches!(f, Found::Differs(_))) {
                let one = |(i, (f, n)): (usize, (Found, usize))| match f {
                    Found::Differs(p) => Verdict::Differs(by.into(), *p),
                    Found::Close(d) => Verdict::Close(by.into(), d),
                    Found::Same if compared[i] + n == 0 => empty(by),
                    Found::Same if by == FIELD => Verdict::Exact(done),
                    Found::Same => match worst[i] {
                        Some(d) => Verdict::Close(by.into(), d),
                        None => Verdict::BitExact(by.into(), done),
                    },
                };
                return found.into_iter().enumerate().map(one).collect();
            }
            for (i, (f, n)) in found.into_iter().enumerate() {
                compared[i] += n;
                let Found::Close(d) = f else { continue };
                if worst[i].is_none_or(|w| d.absolute > w.absolute) {
                    worst[i] = Some(d);
                }
            }
        }
        if done == 0 {
            let why = failed.map_or_else(String::new, |e| e.to_string());
            return self.unknown(by, &format!("the original: {why}"));
        }
        self.note(self.cases.narrowed(level.unwrap_or(0)));
        self.note(self.cases.narrow(&ran));
        *self.ran.borrow_mut() = Some(ran);
        let seen = seen();
        let mut missed = self.missing(&seen, watched);
        if given {
            // The caller chose what to run on.
            let all = std::mem::take(&mut missed);
            all.into_iter()
                .for_each(|m| self.note(Some(format!("on the inputs given, {}", m.text))));
        }
        let of = |i: usize, counts: &dyn Fn(&Missing<'_>) -> bool| {
            let mut own = missed.iter().filter(|m| m.outputs.get(i) == Some(&true) && counts(m));
            own.next().map(|m| m.text.clone())
        };
        if by != FIELD {
            // The field may have reached it.
            for (i, unreached) in self.unreached.borrow_mut().iter_mut().enumerate() {
                *unreached = unreached.take().or_else(|| of(i, &|m| m.is_outcome));
            }
        }
        let one = |i: usize| match (of(i, &|m| by == FIELD || !m.is_outcome), worst[i]) {
            (Some(why), _) => Verdict::Unknown(by.into(), why),
            _ if compared[i] == 0 && !self.is_empty(i) => empty(by),
            _ if by == FIELD => Verdict::Exact(done),
            (_, Some(d)) => Verdict::Close(by.into(), d),
            (_, None) => Verdict::BitExact(by.into(), done),
        };
        (0..outputs).map(one).collect()
    }

    /// The other fails, where the original gives outputs of these extents.
    fn other(&self, e: RunError, outputs: impl Iterator<Item = Vec<usize>>) -> Trial {
        self.beyond(outputs).map_or(Trial::Other(e), Trial::Original)
    }

    /// An error if the original's outputs have other extents than it declares: then it was not made
    /// for the values that were drawn for its inputs with defaults.
    fn beyond(&self, outputs: impl Iterator<Item = Vec<usize>>) -> Option<RunError> {
        let a = self.a;
        let drawn = |&v: &ValueId| matches!(a.value(v).def, Def::Input(Some(_)));
        a.inputs().iter().any(drawn).then_some(())?;
        a.outputs().iter().zip(outputs).find_map(|(&v, found)| {
            let Value { name, ty, .. } = a.value(v);
            let declared = ty.dims()?;
            let differs = |(d, &n): (&Dim, &usize)| d.known().is_some_and(|d| d != n as u64);
            let fits = declared.len() == found.len() && !declared.iter().zip(&found).any(differs);
            (!fits).then(|| {
                RunError::Invalid(format!(
                    "output {name:?} is declared {ty}, this run gives {found:?}"
                ))
            })
        })
    }

    /// Whether the output is known to have no elements, whatever the inputs.
    fn is_empty(&self, i: usize) -> bool {
        let of = |g: &Graph| {
            let ty = &g.value(g.outputs()[i]).ty;
            ty.extents().is_some_and(|d| d.contains(&0))
        };
        of(self.a) && of(self.b)
    }

    fn note(&self, what: Option<String>) {
        let mut notes = self.notes.borrow_mut();
        if let Some(w) = what.filter(|w| !notes.contains(w)) {
            notes.push(w);
        }
    }

    /// The original runs on inputs on which the other fails.
    fn fails(&self, by: &str, e: &RunError) -> Vec<Verdict> {
        let one = |&v: &ValueId| {
            let elements = ("runs".to_owned(), format!("fails: {e}"));
            Verdict::Differs(by.into(), place(self.b, v, Vec::new(), elements, None))
        };
        self.b.outputs().iter().map(one).collect()
    }
}

fn extents(t: &Tensor) -> Vec<usize> {
    t.dims().iter().map(|&n| n as usize).collect()
}

fn innermost(e: &RunError) -> &RunError {
    match e {
        RunError::Node { source, .. } => innermost(source),
        e => e,
    }
}

fn empty(by: &str) -> Verdict {
    Verdict::Unknown(by.into(), "no element was compared, as no run gave any number".into())
}

/// How many elements are not NaN.
fn numbers(t: &Tensor) -> usize {
    let all = t.dims().iter().product::<u64>() as usize;
    let floats = if t.dtype().is_float() { t.to_f32s() } else { None };
    floats.map_or(all, |v| v.iter().filter(|x| !x.is_nan()).count())
}
