//! What runs are made on: extents of symbolic dimensions, and inputs over their types.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use graph_opt_ir::{DType, Def, Dim, Graph, Tensor, Type};

use crate::cpu::{FieldInput, Key};
use crate::inputs::Extents;
use crate::inputs::spread::{Limits, Style, floats, wholes};
use crate::inputs::uses::{Uses, uses};

/// A dimension whose extent is not known: by its name, or by input and axis.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Symbol {
    Named(Arc<str>),
    Axis(usize, usize),
}

/// An input of both graphs.
struct Input {
    name: Arc<str>,
    dtype: DType,
    dims: Option<Vec<Dim>>,
    /// What it takes if the caller gives none.
    default: Option<Arc<Tensor>>,
    uses: Uses,
    given: Option<Tensor>,
}

/// Inputs of two graphs, and how they are drawn.
pub(super) struct Cases {
    inputs: Vec<Input>,
    free: Vec<(Symbol, bool)>,
    extents: Extents,
    seed: u64,
    /// Magnitudes about which numbers are drawn, too, ascending.
    marks: Vec<f64>,
}

/// One run of both graphs: which extents and which inputs it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    /// Index of the extents of symbolic dimensions, below [`Cases::assignments`].
    pub assignment: usize,
    pub run: usize,
    /// How far whole numbers are narrowed, from 0 on.
    pub level: usize,
    /// Whether the run is made only to reach what was not reached yet.
    pub further: bool,
}

/// Greatest whole numbers by level.
const LEVELS: [Option<i64>; 4] = [None, Some(7), Some(3), Some(1)];

impl Cases {
    /// # Errors
    /// If an input is not a tensor, or its rank is unknown and no value was given for it.
    pub fn new(
        a: &Graph,
        b: &Graph,
        types: &[Type],
        extents: &Extents,
        given: Option<&[Tensor]>,
        rows: &BTreeMap<String, BTreeSet<i64>>,
        seed: u64,
    ) -> Result<Self, String> {
        let mut types = types.iter();
        let mut given = given.map(|g| g.iter());
        let mut inputs = Vec::new();
        // A use in either graph counts.
        let mut of_b: BTreeMap<Arc<str>, Uses> = BTreeMap::new();
        for (&v, u) in b.inputs().iter().zip(uses(b, rows)) {
            of_b.insert(b.value(v).name.clone(), u);
        }
        for (&v, mut u) in a.inputs().iter().zip(uses(a, rows)) {
            let value = a.value(v);
            let default = match &value.def {
                Def::Input(d) => d.clone(),
                _ => None,
            };
            // What only one of the graphs lets callers say is left to its default.
            if default.is_some() && !of_b.contains_key(&value.name) {
                continue;
            }
            let ty = match default {
                None => types.next().unwrap_or(&value.ty),
                Some(_) => &value.ty,
            };
            if let Some(o) = of_b.get(&value.name) {
                u.into.extend(o.into.iter().cloned());
                u.rows.extend(&o.rows);
                u.sizes |= o.sizes;
                u.reshapes |= o.reshapes;
            }
            let t = match (&default, &mut given) {
                (None, Some(g)) => g.next().cloned(),
                _ => None,
            };
            let err = |why: &str| format!("input {:?} of type {ty}: {why}", value.name);
            let dtype = ty.dtype().ok_or_else(|| err("not a tensor"))?;
            let dims = ty.dims().map(<[Dim]>::to_vec);
            if dims.is_none() && t.is_none() && default.is_none() {
                return Err(err("its rank is unknown; give a file"));
            }
            let name = value.name.clone();
            inputs.push(Input { name, dtype, dims, default, uses: u, given: t });
        }
        let mut free: Vec<(Symbol, bool)> = Vec::new();
        for (i, input) in inputs.iter().enumerate() {
            for (j, d) in input.dims.iter().flatten().enumerate() {
                let symbol = match d {
                    Dim::Known(_) => continue,
                    _ if extents.given(&input.name, j, d).is_some() => continue,
                    _ if input.given.is_some() || input.default.is_some() => continue,
                    Dim::Param(p) => Symbol::Named(p.clone()),
                    Dim::Unknown => Symbol::Axis(i, j),
                };
                if !free.iter().any(|(s, _)| *s == symbol) {
                    free.push((symbol, j == 0));
                }
            }
        }
        Ok(Self { inputs, free, extents: extents.clone(), seed, marks: Vec::new() })
    }

    /// With numbers about these magnitudes, too.
    pub fn marked(self, marks: impl Iterator<Item = f64>) -> Self {
        let mut marks: Vec<f64> = marks.collect();
        marks.sort_by(f64::total_cmp);
        marks.dedup();
        Self { marks, ..self }
    }

    /// The key by which the inputs of this run are drawn.
    pub fn drawing(&self, run: usize) -> Key<'_> {
        Key::new(self.seed.wrapping_add(run as u64)).marked(&self.marks)
    }

    /// Number of ways to choose extents. They are tried in order until enough of them ran.
    pub fn assignments(&self) -> usize {
        if self.free.is_empty() { 1 } else { 9 }
    }

    /// Whether every extent took two values above 1 in these.
    pub fn enough(&self, ran: &[usize]) -> bool {
        (0..self.free.len()).all(|i| {
            let all: BTreeSet<u64> = ran.iter().map(|&a| self.extent(a, i)).collect();
            all.into_iter().filter(|&n| n > 1).count() >= 2
        })
    }

    /// Extents that took fewer than two values above 1, and which they took.
    pub fn narrow(&self, ran: &[usize]) -> Option<String> {
        let one = |(i, (s, _)): (usize, &(Symbol, bool))| {
            let all: BTreeSet<u64> = ran.iter().map(|&a| self.extent(a, i)).collect();
            let name = match s {
                Symbol::Named(p) => p.to_string(),
                Symbol::Axis(i, j) => format!("{}:{j}", self.inputs[*i].name),
            };
            (all.iter().filter(|&&n| n > 1).count() < 2)
                .then(|| format!("{name} = {:?}", all.into_iter().collect::<Vec<_>>()))
        };
        let all: Vec<String> = self.free.iter().enumerate().filter_map(one).collect();
        (!all.is_empty()).then(|| format!("ran only with {}", all.join(", ")))
    }

    fn extent(&self, assignment: usize, i: usize) -> u64 {
        let leading = self.free[i].1;
        let turn = |a: [u64; 4]| a[i % 4];
        match (assignment, leading) {
            (0, true) => 1,
            (0 | 3 | 4, false) => 64,
            (1 | 3 | 5, true) => 2,
            (1, false) => turn([96, 32, 160, 128]),
            (2 | 4 | 6, true) => 3,
            (2, false) => turn([5, 7, 11, 13]),
            (5, false) => 32,
            (6, false) => 96,
            (7, _) => 2,
            (_, _) => 3,
        }
    }

    fn dim(&self, d: &Dim, at: Symbol, assignment: usize) -> Option<u64> {
        let given = match &at {
            Symbol::Axis(i, axis) => {
                let name = self.inputs.get(*i).map_or("", |input| &input.name);
                self.extents.given(name, *axis, d)
            }
            Symbol::Named(_) => None,
        };
        let symbol = match d {
            Dim::Known(n) => return Some(*n),
            Dim::Param(p) => Symbol::Named(p.clone()),
            Dim::Unknown => at,
        };
        let free = || self.free.iter().position(|(s, _)| *s == symbol);
        given.or_else(|| Some(self.extent(assignment, free()?)))
    }

    /// Shape of an input.
    fn dims(&self, i: usize, assignment: usize) -> Vec<u64> {
        let input = &self.inputs[i];
        if let Some(t) = input.given.as_ref().or(input.default.as_deref()) {
            return t.dims().to_vec();
        }
        let dims = input.dims.iter().flatten().enumerate();
        dims.map(|(j, d)| self.dim(d, Symbol::Axis(i, j), assignment).unwrap_or(1)).collect()
    }

    /// Whether some inputs are whole numbers that no use limits.
    pub fn can_narrow(&self) -> bool {
        let free = |i: &Input| {
            let limited = !i.uses.into.is_empty() || i.uses.sizes || i.uses.reshapes;
            i.given.is_none() && i.dtype.is_int() && (!limited || i.uses.sizes || i.uses.reshapes)
        };
        self.inputs.iter().any(free)
    }

    /// Names of inputs that are whole numbers without a known use.
    pub fn narrowed(&self, level: usize) -> Option<String> {
        let most = LEVELS.get(level).copied().flatten()?;
        let free = |i: &&Input| {
            i.given.is_none() && i.dtype.is_int() && i.uses.into.is_empty() && !i.uses.sizes
        };
        let names: Vec<String> =
            self.inputs.iter().filter(free).map(|i| format!("{:?}", i.name)).collect();
        (!names.is_empty()).then(|| format!("{} drawn from 0 to {most} only", names.join(", ")))
    }

    /// How many runs it takes to have single truth values and counts go through what they may be,
    /// and to leave inputs to their defaults and not.
    pub fn turns(&self) -> usize {
        let sizes = self.inputs.iter().any(|i| i.uses.sizes && i.given.is_none());
        let defaults = self.inputs.iter().any(|i| i.default.is_some());
        let truths = (0..self.inputs.len()).filter(|&i| self.is_truth(i)).count();
        (1 << truths.min(3)).max(if sizes { 4 } else { 1 }).max(if defaults { 2 } else { 1 })
    }

    /// Whether the input is a truth value that is drawn.
    fn is_truth(&self, i: usize) -> bool {
        let input = &self.inputs[i];
        input.given.is_none() && input.default.is_none() && input.dtype == DType::Bool
    }

    fn key(&self, case: &Case, i: usize) -> Key<'_> {
        self.drawing(case.run).named("inputs").with(i as u64)
    }

    /// Whether this run leaves the input to its default.
    fn defaults(&self, case: &Case, i: usize) -> bool {
        // In no step with anything else that goes through its values from run to run.
        let left = match case.run {
            0 => true,
            1 => false,
            run if run % 3 == 2 => true,
            run => Key::new(run as u64).named("default").bits & 1 == 0,
        };
        self.inputs[i].default.is_some() && left
    }

    /// Whether this run gives other values than defaults to some inputs.
    pub fn overrides(&self, case: &Case) -> bool {
        let given = |i: usize| self.inputs[i].default.is_some() && !self.defaults(case, i);
        (0..self.inputs.len()).any(given)
    }

    fn whole(&self, case: &Case, i: usize) -> Option<Tensor> {
        let input = &self.inputs[i];
        let extents = input
            .uses
            .into
            .iter()
            .map(|d| self.dim(d, Symbol::Axis(usize::MAX, 0), case.assignment).unwrap_or(2));
        let limits = Limits { most: LEVELS[case.level.min(3)], run: case.run as u64 };
        let dims = self.dims(i, case.assignment);
        let turn = (0..i).filter(|&j| self.is_truth(j)).count();
        wholes(input.dtype, &dims, &input.uses, extents.min(), limits, (turn, self.key(case, i)))
    }

    /// Inputs of the field, for the graph.
    pub fn field(&self, case: &Case, graph: &Graph) -> Vec<FieldInput> {
        let one = |name: &str| {
            let Some(i) = self.inputs.iter().position(|i| &*i.name == name) else {
                return FieldInput::Declared;
            };
            let input = &self.inputs[i];
            if self.defaults(case, i) {
                return FieldInput::Declared;
            }
            let dims = self.dims(i, case.assignment).into_iter().map(|d| d as usize).collect();
            match (&input.given, input.dtype.is_float(), case.run % 4) {
                (Some(t), false, _) => FieldInput::Given(t.clone()),
                (_, true, 1 | 3) => FieldInput::Mixed(dims),
                (_, true, 2) => FieldInput::Small(dims),
                (_, true, _) => FieldInput::Shaped(dims),
                _ => match self.whole(case, i).or_else(|| input.default.as_deref().cloned()) {
                    Some(t) => FieldInput::Given(t),
                    None => FieldInput::Shaped(dims),
                },
            }
        };
        graph.inputs().iter().map(|&v| one(&graph.value(v).name)).collect()
    }

    /// Inputs of a run on a backend: all of the graph's if some default is overridden, else those
    /// without one.
    ///
    /// # Errors
    /// If an input has a type that is not drawn.
    pub fn tensors(&self, case: &Case, style: Style, graph: &Graph) -> Result<Vec<Tensor>, String> {
        let overrides = self.overrides(case);
        let mut out = Vec::new();
        for &v in graph.inputs() {
            let value = graph.value(v);
            let default = match &value.def {
                Def::Input(d) => d.clone(),
                _ => None,
            };
            let at = self.inputs.iter().position(|i| i.name == value.name);
            if default.is_some() && !overrides {
                continue;
            }
            let drawn = || {
                let i = at?;
                let input = &self.inputs[i];
                if input.given.is_some() {
                    return input.given.clone();
                }
                if self.defaults(case, i) {
                    return None;
                }
                let dims = self.dims(i, case.assignment);
                floats(input.dtype, &dims, style, self.key(case, i)).or_else(|| self.whole(case, i))
            };
            let t = drawn().or_else(|| default.as_deref().cloned());
            let none = || format!("input {:?} of type {}: no random tensors", value.name, value.ty);
            out.push(t.ok_or_else(none)?);
        }
        Ok(out)
    }
}
