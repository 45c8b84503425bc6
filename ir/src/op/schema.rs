//! The operators of ONNX's versions, and their numbers of inputs and outputs.

use std::sync::OnceLock;

/// One version of one operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schema {
    name: &'static str,
    since: i64,
    pub inputs: (usize, usize),
    pub outputs: (usize, usize),
    pub deprecated: bool,
}

/// Operators that ONNX Runtime accepts before this version of the operator set, although ONNX has them later
/// or never: experimental ones of early versions, and its own.
const EXPERIMENTAL: &[(&str, i64)] = &[
    ("ATen", 10),
    ("Affine", 10),
    ("ConstantFill", 10),
    ("Crop", 10),
    ("DynamicSlice", 10),
    ("FusedGemm", 10),
    ("GRUUnit", 10),
    ("GivenTensorFill", 10),
    ("ImageScaler", 10),
    ("LayerNormalization", i64::MAX),
    ("MeanVarianceNormalization", i64::MAX),
    ("ParametricSoftplus", 10),
    ("Scale", 10),
    ("ScaledTanh", 10),
    ("SimplifiedLayerNormalization", i64::MAX),
    ("ThresholdedRelu", i64::MAX),
];

/// An operator in one version of the operator set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Yes(Schema),
    /// It exists, but its numbers of inputs and outputs are not specified.
    Experimental,
    /// It was added in this later version.
    Since(i64),
    No,
}

fn table() -> &'static (Vec<Schema>, i64) {
    static TABLE: OnceLock<(Vec<Schema>, i64)> = OnceLock::new();
    TABLE.get_or_init(|| {
        let rows: Vec<Schema> = include_str!("schemas.txt").lines().filter_map(row).collect();
        let newest = rows.iter().map(|s| s.since).max().unwrap_or(1);
        (rows, newest)
    })
}

fn row(line: &'static str) -> Option<Schema> {
    let mut cells = line.split(' ');
    let name = cells.next().filter(|n| !n.starts_with('#'))?;
    let since = cells.next()?.parse().ok()?;
    let mut count = || match cells.next()? {
        "-" => Some(usize::MAX),
        n => n.parse().ok(),
    };
    let inputs = (count()?, count()?);
    let outputs = (count()?, count()?);
    Some(Schema { name, since, inputs, outputs, deprecated: cells.next()? == "1" })
}

#[cfg(feature = "onnx")]
/// The newest version of the operator set that has an operator of its own.
pub(crate) fn newest() -> i64 {
    table().1
}

/// The operator in this version of ONNX's operator set.
pub(crate) fn find(name: &str, opset: i64) -> Known {
    let rows = &table().0;
    let from = rows.partition_point(|s| s.name < name);
    let same = rows[from..].iter().take_while(|s| s.name == name);
    match same.clone().filter(|s| s.since <= opset).last() {
        Some(s) => Known::Yes(*s),
        None if EXPERIMENTAL.iter().any(|&(n, before)| n == name && opset < before) => {
            Known::Experimental
        }
        None => same.map(|s| s.since).next().map_or(Known::No, Known::Since),
    }
}

/// Operators whose versions since 7 differ only in the supported element types, or in attributes that
/// are part of the operator anyway.
const STEADY: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Add",
    "And",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Ceil",
    "Concat",
    "Conv",
    "Cos",
    "Cosh",
    "Div",
    "Erf",
    "Exp",
    "Expand",
    "Floor",
    "Gather",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Identity",
    "LeakyRelu",
    "Log",
    "MatMul",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "Pow",
    "Reciprocal",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Sqrt",
    "Sub",
    "Tan",
    "Tanh",
    "Transpose",
    "Where",
    "Xor",
];

/// The version in which the operator of ONNX's domain last changed its meaning, up to this version of the
/// operator set; `None` if it does not exist there.
pub(crate) fn meant(name: &str, opset: i64) -> Option<i64> {
    match find(name, opset) {
        Known::Yes(_) if opset >= 7 && STEADY.contains(&name) => Some(7),
        Known::Yes(s) => Some(s.since),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole_and_sorted() {
        let lines = include_str!("schemas.txt").lines().filter(|l| !l.starts_with('#'));
        assert_eq!(table().0.len(), lines.count());
        assert!(table().0.is_sorted_by_key(|s| (s.name, s.since)));
    }

    #[test]
    fn finds_the_version_that_applies() {
        let Known::Yes(s) = find("Clip", 10) else { panic!() };
        assert_eq!((s.since, s.inputs), (6, (1, 1)));
        let Known::Yes(s) = find("Clip", 99) else { panic!() };
        assert_eq!((s.since, s.inputs), (13, (1, 3)));
        assert_eq!(find("Gelu", 13), Known::Since(20));
        assert_eq!(find("Frobnicate", 13), Known::No);
        assert_eq!(find("ImageScaler", 7), Known::Experimental);
        let Known::Yes(s) = find("Upsample", 13) else { panic!() };
        assert!(s.deprecated);
    }
}
