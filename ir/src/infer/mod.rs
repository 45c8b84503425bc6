//! Shape inference.
use crate::Type;
use crate::rule::{Ctx, RuleError};

/// Types of the results.
///
/// # Errors
/// If the operands contradict the operator's definition.
pub fn infer(ctx: &Ctx<'_>) -> Result<Vec<Type>, RuleError> {
    Ok(vec![Type::Unknown; ctx.outputs])
}
