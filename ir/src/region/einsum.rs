//! Relations of Einsum, from the letters of its equation.

use super::relations::dims;
use super::{Barrier, Relation, Relations, barrier};
use crate::Dim;
use crate::infer::einsum_terms;
use crate::op_context::OpCtx;

/// An axis has the indices of the result's axis of its letter; letters that the result lacks are summed over.
pub(super) fn relations(
    ctx: &OpCtx<'_>,
    equation: &str,
    rel: &mut Relations,
) -> Result<(), Barrier> {
    if equation.contains("...") {
        barrier!("Einsum with an ellipsis has no region rule");
    }
    let (terms, result) = einsum_terms(equation)?;
    let extents = super::result(ctx, 0)?;
    if terms.len() != ctx.inputs.len() || extents.len() != result.len() {
        barrier!("the equation does not fit the operands");
    }
    let repeats = |t: &[char]| t.iter().enumerate().any(|(i, c)| t[..i].contains(c));
    if terms.iter().chain([&result]).any(|t| repeats(t)) {
        barrier!("Einsum takes a diagonal");
    }
    for (i, term) in terms.iter().enumerate() {
        let x = dims(ctx, i)?;
        if x.len() != term.len() {
            barrier!("the equation does not fit operand {i}");
        }
        let mut axes = Vec::with_capacity(x.len());
        for (letter, d) in term.iter().zip(x) {
            let Some(o) = result.iter().position(|c| c == letter) else {
                axes.push(summed(*letter, d, &terms));
                continue;
            };
            axes.push(match (d, &extents[o]) {
                (Dim::Known(1), n) if *n != Dim::Known(1) => Relation::Broadcast,
                (m, n) if m == n && *m != Dim::Unknown => Relation::Same(o),
                _ => {
                    rel.barriers.push((o, format!("the extents of {letter} may differ")));
                    Relation::Whole
                }
            });
        }
        rel.operands[i] = axes;
    }
    Ok(())
}

/// An axis that is summed over; together with that of another operand, if both have all of its elements.
fn summed(letter: char, d: &Dim, terms: &[Vec<char>]) -> Relation {
    let with = terms.iter().filter(|t| t.contains(&letter)).count();
    match u8::try_from(u32::from(letter)) {
        Ok(k) if with == 2 && d.known().is_some_and(|n| n > 1) => Relation::Contract(k),
        _ => Relation::Whole,
    }
}
