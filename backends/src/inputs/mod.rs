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
/// numbers in 0..8, those that index an axis inside of it.
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
    let uses = uses::uses(graph, &BTreeMap::new());
    let of = |v: ValueId| graph.inputs().iter().position(|&w| w == v).map(|i| &uses[i]);
    let each = required(graph).into_iter().zip(types).enumerate();
    let one = |(i, (v, ty)): (usize, (ValueId, &Type))| {
        let t = draw_one(&graph.value(v).name, ty, extents, seed, i)?;
        Ok(of(v).and_then(|u| indices(&t, u)).unwrap_or(t))
    };
    each.map(one).collect()
}

/// The tensor with its elements inside of the axes that they index, if they index some of known extent.
fn indices(t: &Tensor, uses: &uses::Uses) -> Option<Tensor> {
    let least = uses.into.iter().filter_map(Dim::known).min().filter(|&n| n > 0)?;
    let v: Vec<i64> = t.to_i64s()?.into_iter().map(|x| x.rem_euclid(least as i64)).collect();
    let bytes = match t.dtype() {
        DType::I64 => v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>(),
        DType::I32 => v.iter().flat_map(|&x| (x as i32).to_le_bytes()).collect(),
        _ => return None,
    };
    Tensor::from_bytes(t.dtype(), t.dims().to_vec(), bytes).ok()
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
