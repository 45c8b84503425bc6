//! The choice by integer programming, as an independent check and for pairs of any blocks.
//!
//! Variables: a binary for each candidate, and one in [0, 1] for each pair, the product of two.
//! Rows: one candidate a block, the limited sums, and two or one for each product. A limit on the
//! peak excludes candidates. Solved by microlp.

use good_lp::solvers::microlp::microlp;
use good_lp::{
    Constraint, Expression, ProblemVariables, ResolutionError, Solution, SolutionStatus,
    SolverModel, Variable, variable, variables,
};

use super::{Choice, NoChoice, Problem, Quantity, explain};

/// The variables of a problem.
struct Program<'p> {
    p: &'p Problem,
    /// By block and candidate; `None` where the peak is too large.
    on: Vec<Vec<Option<Variable>>>,
    /// By pair; `None` where a candidate is excluded.
    both: Vec<Option<Variable>>,
}

/// A best choice, up to the solver's tolerance. Ties are broken as the solver pleases.
///
/// # Errors
/// [`NoChoice::Infeasible`] and [`NoChoice::Invalid`] as for [`exact`](super::exact),
/// [`NoChoice::Solver`] if the solver fails or its answer breaks a limit.
pub fn milp(p: &Problem) -> Result<Choice, NoChoice> {
    p.check()?;
    let mut vars = variables!();
    let program = Program::new(p, &mut vars);
    let empty = |b: &Vec<Option<Variable>>| b.iter().all(Option::is_none);
    if program.on.iter().any(empty) || p.base.get(Quantity::Peak) > p.limits.of(Quantity::Peak) {
        return Err(explain::infeasible(p)?);
    }
    let scale = program.scale(p.objective);
    let mut model = vars.minimise(program.sum(p.objective, scale)).using(microlp);
    for row in program.rows() {
        model.add_constraint(row);
    }
    let solution = match model.solve() {
        Ok(s) if matches!(s.status(), SolutionStatus::Optimal) => s,
        Ok(_) => return Err(NoChoice::Solver("stopped before the optimum".into())),
        Err(ResolutionError::Infeasible) => return Err(explain::infeasible(p)?),
        Err(e) => return Err(NoChoice::Solver(e.to_string())),
    };
    let value = |v: &Option<Variable>| v.map_or(0.0, |v| solution.value(v));
    let pick = |b: &Vec<Option<Variable>>| {
        (0..b.len()).max_by(|&i, &j| value(&b[i]).total_cmp(&value(&b[j]))).unwrap_or(0)
    };
    let choice = p.choice(program.on.iter().map(pick).collect(), 0.0)?;
    match p.limits.allow(&choice.totals) {
        true => Ok(choice),
        false => Err(NoChoice::Solver("the answer breaks a limit by rounding".into())),
    }
}

impl<'p> Program<'p> {
    fn new(p: &'p Problem, vars: &mut ProblemVariables) -> Self {
        let peak = p.limits.of(Quantity::Peak);
        let mut on: Vec<Vec<Option<Variable>>> = Vec::new();
        for block in &p.blocks {
            let fits = block.iter().map(|c| c.get(Quantity::Peak) <= peak);
            on.push(fits.map(|fits| fits.then(|| vars.add(variable().binary()))).collect());
        }
        let mut both = Vec::new();
        for pair in &p.pairs {
            let [(i, a), (j, b)] = [pair.earlier, pair.later];
            let product = on[i][a].and(on[j][b]).map(|_| vars.add(variable().min(0).max(1)));
            both.push(product);
        }
        Self { p, on, both }
    }

    /// A magnitude of a sum, by which its row is divided.
    fn scale(&self, q: Quantity) -> f64 {
        let largest = |b: &Vec<super::Costs>| b.iter().map(|c| c.get(q).abs()).fold(0.0, f64::max);
        let most = self.p.blocks.iter().map(largest).fold(0.0, f64::max);
        if most > 0.0 { most } else { 1.0 }
    }

    /// A sum over the chosen candidates, without the fixed part.
    fn sum(&self, q: Quantity, scale: f64) -> Expression {
        let blocks = self.p.blocks.iter().flatten().zip(self.on.iter().flatten());
        let mut sum: Expression =
            blocks.filter_map(|(c, &on)| on.map(|on| c.get(q) / scale * on)).sum();
        if q == Quantity::Loss {
            for (pair, both) in self.p.pairs.iter().zip(&self.both) {
                if let Some(both) = *both {
                    sum += pair.loss / scale * both;
                }
            }
        }
        sum
    }

    fn rows(&self) -> Vec<Constraint> {
        let mut rows = Vec::new();
        for block in &self.on {
            let all: Expression = block.iter().flatten().sum();
            rows.push(all.eq(1));
        }
        for q in self.p.limits.limited().filter(|q| q.is_sum()) {
            let scale = self.scale(q);
            let room = (self.p.limits.of(q) - self.p.base.get(q)) / scale;
            rows.push(self.sum(q, scale).leq(room));
        }
        for (pair, both) in self.p.pairs.iter().zip(&self.both) {
            let [(i, a), (j, b)] = [pair.earlier, pair.later];
            let (Some(both), Some(a), Some(b)) = (*both, self.on[i][a], self.on[j][b]) else {
                continue;
            };
            // A loss is avoided and a gain is sought, so one side of the product suffices.
            if pair.loss > 0.0 {
                rows.push((a + b - both).leq(1));
            } else {
                rows.push(Expression::from(both).leq(a));
                rows.push(Expression::from(both).leq(b));
            }
        }
        rows
    }
}
