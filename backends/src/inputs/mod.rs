//! Random inputs: sane ones for runs, and for comparisons ones over their types and edges.

pub(crate) mod spread;
pub(crate) mod uses;

use std::collections::BTreeMap;

use graph_opt_ir::{DType, Dim, Graph, Tensor, Type, ValueId};

/// Extents to use for symbolic dimensions: by name, by place as `INPUT:AXIS`, or `?` for those without a
/// name.
#[derive(Clone, Debug, Default)]
pub struct Extents(pub BTreeMap<String, u64>);

impl Extents {
    /// The extent that is given for a symbolic dimension of an input.
    pub fn given(&self, input: &str, axis: usize, dim: &Dim) -> Option<u64> {
        let of = |name: &str| self.0.get(name).copied();
        let placed = || self.0.get(&format!("{input}:{axis}")).copied();
        match dim {
            Dim::Known(_) => None,
            Dim::Param(p) => placed().or_else(|| of(p)),
            Dim::Unknown => placed().or_else(|| of("?")),
        }
    }

    /// Extents of the input of this name: known ones as they are, symbolic ones as given, others 1 along
    /// the first axis and 64 along the rest, which suits images.
    pub fn of(&self, input: &str, ty: &Type) -> Option<Vec<u64>> {
        let dims = ty.dims()?;
        let extent = |(axis, d): (usize, &Dim)| {
            let other = if axis == 0 { 1 } else { 64 };
            d.known().or_else(|| self.given(input, axis, d)).unwrap_or(other)
        };
        Some(dims.iter().enumerate().map(extent).collect())
    }
}

/// A random tensor for each input without a default: floats in [0, 1) as images have them, whole
/// numbers in 0..8.
///
/// # Errors
/// If an input's rank is unknown or its type has no random elements.
pub fn draw(graph: &Graph, extents: &Extents, seed: u64) -> Result<Vec<Tensor>, String> {
    let types = required(graph).into_iter().map(|v| graph.value(v).ty.clone()).collect::<Vec<_>>();
    draw_as(graph, &types, extents, seed)
}

/// The same for inputs of these types, which may say more than the graph's own.
///
/// # Errors
/// As [`draw`].
pub fn draw_as(
    graph: &Graph,
    types: &[Type],
    extents: &Extents,
    seed: u64,
) -> Result<Vec<Tensor>, String> {
    let each = required(graph).into_iter().zip(types).enumerate();
    each.map(|(i, (v, ty))| draw_one(&graph.value(v).name, ty, extents, seed, i)).collect()
}

/// The random tensor that the input of this name and type gets, `index` inputs without a default
/// after the first.
///
/// # Errors
/// As [`draw`].
pub fn draw_one(
    name: &str,
    ty: &Type,
    extents: &Extents,
    seed: u64,
    index: usize,
) -> Result<Tensor, String> {
    let err = |why: &str| format!("input {name:?} of type {ty}: {why}");
    let dims = extents.of(name, ty).ok_or_else(|| err("its rank is unknown; give a file"))?;
    let dtype = ty.dtype().ok_or_else(|| err("not a tensor"))?;
    let t = Tensor::random(dtype, &dims, seed.wrapping_mul(1009).wrapping_add(index as u64))
        .map_err(|e| err(&e.to_string()))?;
    if dtype != DType::F32 {
        return Ok(t);
    }
    let v: Vec<f32> = t.to_f32s().unwrap_or_default().iter().map(|x| (x + 1.0) / 2.0).collect();
    Tensor::f32s(&dims, &v).map_err(|e| e.to_string())
}

/// Inputs that have no default.
pub fn required(graph: &Graph) -> Vec<ValueId> {
    let no_default = |v: &&ValueId| matches!(graph.value(**v).def, graph_opt_ir::Def::Input(None));
    graph.inputs().iter().filter(no_default).copied().collect()
}
