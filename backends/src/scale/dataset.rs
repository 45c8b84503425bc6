//! Samples for a network: whole arrays, cut into the batches that it takes.

use graph_opt_ir::tensor::{Data, TensorError};
use graph_opt_ir::{DType, Dim, Graph, Tensor, Type, ValueId};

use crate::inputs::required;

/// Names of an array that holds labels.
pub const LABELS: [&str; 2] = ["labels", "y"];

/// Samples as a network takes them, batch by batch. The tensors share the memory of the arrays.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The inputs of each batch: those of the graph without a default, in order.
    pub inputs: Vec<Vec<Tensor>>,
    /// The labels of each batch, with a leading axis of samples; `None` if there are none.
    pub labels: Option<Vec<Tensor>>,
    /// Samples in all batches together.
    pub samples: usize,
    /// Samples that were left out, as they do not fill the last batch of a network with a fixed batch
    /// extent.
    pub dropped: usize,
    /// Samples in every batch but the last, which may have fewer.
    batch: usize,
}

/// Arrays that are no samples for a network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// No array for an input: its name and type, and the names of the arrays.
    #[error(
        "no array is named {0:?}, which is an input of type {1}; the arrays are {2:?}: name one for each \
         input"
    )]
    Missing(String, Type, Vec<String>),
    /// Arrays that belong to no input: their names, and those of the inputs.
    #[error(
        "the arrays {0:?} belong to no input; name arrays as the inputs {1:?}, and labels \"labels\" or \
         \"y\""
    )]
    Extra(Vec<String>, Vec<String>),
    /// More than one array of labels.
    #[error("two arrays hold labels, {0:?} and {1:?}; keep one of them")]
    TwoLabels(String, String),
    /// The network has no input without a default.
    #[error("the network has no inputs that samples could be given to")]
    NoInputs,
    /// An array of another type or shape than the input: the input's name, what is expected, and what the
    /// array is.
    #[error("the array for input {0:?} is {2}, expected {1}; convert it, or reshape it")]
    Unlike(String, String, Type),
    /// Arrays with different numbers of samples: the name and the number of two of them.
    #[error(
        "{0:?} has {1} samples along its first axis, {2:?} has {3}; they must be equally many, in the \
         same order"
    )]
    Samples(String, u64, String, u64),
    /// Inputs that take different numbers of samples in one run: name and number of two of them.
    #[error(
        "the samples in a run are {1} for input {0:?} but {3} for {2:?}; give the inputs of the model the \
         same first extent"
    )]
    Batches(String, u64, String, u64),
    /// Fewer samples than the network takes in one run: their number, and that of a run.
    #[error("there are {0} samples, but a run takes {1}; give more, or a model of a smaller batch")]
    Few(u64, u64),
    /// The batch is 0.
    #[error("a batch of 0 samples cannot be run; give at least 1")]
    Batch,
    /// An array that cannot be read or cut: its name.
    #[error("the array {0:?} cannot be cut into batches: {1}")]
    Data(String, #[source] TensorError),
}

/// How an input is cut out of its array.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// This many samples along the input's first axis, or as many as one likes.
    Rows(Option<u64>),
    /// The input has no axis for samples: one a run, without the array's first axis.
    One,
}

impl Dataset {
    /// Cuts arrays into batches. Each has a leading axis of samples and is named as one of the graph's
    /// inputs; if there is one of each, any name will do. An array named `labels` or `y` holds labels,
    /// unless an input has that name.
    ///
    /// Batches have the extent of the inputs' first axis if it is fixed, else `batch` samples, the last
    /// one perhaps fewer. If the arrays have an axis more than the inputs, each run takes one sample.
    ///
    /// # Errors
    /// If arrays are missing or left over, do not fit the inputs' types, or have no samples for a run.
    pub fn new(
        graph: &Graph,
        arrays: Vec<(String, Tensor)>,
        batch: usize,
    ) -> Result<Self, DatasetError> {
        if batch == 0 {
            return Err(DatasetError::Batch);
        }
        let loaded = |(name, t)| match loaded(&t) {
            Ok(t) => Ok((name, t)),
            Err(e) => Err(DatasetError::Data(name, e)),
        };
        let arrays = arrays.into_iter().map(loaded).collect::<Result<_, _>>()?;
        let wanted: Vec<_> = required(graph).into_iter().map(|v| graph.value(v)).collect();
        let inputs: Vec<(&str, &Type)> = wanted.iter().map(|v| (&*v.name, &v.ty)).collect();
        let (arrays, labels) = assigned(&inputs, arrays)?;
        let mut cuts = Vec::with_capacity(arrays.len());
        for ((name, ty), t) in inputs.iter().zip(&arrays) {
            let unlike = || DatasetError::Unlike((*name).into(), expected(ty), t.ty());
            cuts.push(cut(ty, t).ok_or_else(unlike)?);
        }
        let names = || inputs.iter().map(|(name, _)| *name);
        let (first, samples) = match (names().next(), arrays.first().and_then(|t| t.dims().first()))
        {
            (Some(name), Some(&n)) => (name, n),
            _ => return Err(DatasetError::NoInputs),
        };
        let labelled = labels.as_ref().map(|(name, t)| (&**name, t));
        for (name, t) in names().zip(&arrays).chain(labelled) {
            let n = t.dims().first().copied().unwrap_or(0);
            if n != samples {
                return Err(DatasetError::Samples(first.into(), samples, name.into(), n));
            }
        }
        let fixed = fixed(names(), &cuts)?;
        let each = fixed.unwrap_or(batch as u64);
        if samples == 0 || fixed.is_some_and(|n| n > samples) {
            return Err(DatasetError::Few(samples, each));
        }
        let whole = if fixed.is_some() { samples / each * each } else { samples };
        let starts = || (0..whole).step_by(each as usize);
        let rows = |name: &str, t: &Tensor, at: u64, drop: bool| {
            rows(t, at, each.min(whole - at), drop).map_err(|e| DatasetError::Data(name.into(), e))
        };
        let run = |at| {
            let one =
                |((name, t), cut): ((&str, &Tensor), &Cut)| rows(name, t, at, *cut == Cut::One);
            names().zip(&arrays).zip(&cuts).map(one).collect()
        };
        let inputs = starts().map(run).collect::<Result<_, _>>()?;
        let labels =
            labels.map(|(name, t)| starts().map(|at| rows(&name, &t, at, false)).collect());
        Ok(Self {
            inputs,
            labels: labels.transpose()?,
            samples: whole as usize,
            dropped: (samples - whole) as usize,
            batch: each as usize,
        })
    }

    /// The inputs for one sample; those of the first batch where the graph fixes its extent.
    pub fn first_sample(&self, graph: &Graph) -> Option<Vec<Tensor>> {
        let one = |(t, v): (&Tensor, &ValueId)| {
            let fixed = graph.value(*v).ty.dims().is_none_or(|d| {
                d.len() != t.dims().len() || d.first().is_none_or(|d| d.known().is_some())
            });
            if fixed || t.dims()[0] <= 1 {
                return Some(t.clone());
            }
            let mut dims = t.dims().to_vec();
            let bytes = t.bytes().ok()?;
            let each = bytes.len() / dims[0] as usize;
            dims[0] = 1;
            Tensor::from_bytes(t.dtype(), dims, bytes[..each].to_vec()).ok()
        };
        self.inputs.first()?.iter().zip(graph.inputs()).map(one).collect()
    }

    /// Number of samples in a batch, 0 after the last.
    pub fn samples_of(&self, batch: usize) -> usize {
        self.samples.saturating_sub(batch.saturating_mul(self.batch)).min(self.batch)
    }
}

/// The array of each input, in order, and the labels.
fn assigned(
    inputs: &[(&str, &Type)],
    arrays: Vec<(String, Tensor)>,
) -> Result<(Vec<Tensor>, Option<(String, Tensor)>), DatasetError> {
    let is_label =
        |name: &str| LABELS.contains(&name) && inputs.iter().all(|(input, _)| *input != name);
    let (mut labels, mut rest): (Vec<_>, Vec<_>) =
        arrays.into_iter().partition(|(name, _)| is_label(name));
    if let [a, b, ..] = &labels[..] {
        return Err(DatasetError::TwoLabels(a.0.clone(), b.0.clone()));
    }
    if let ([(input, _)], [(name, _)]) = (inputs, &mut rest[..]) {
        *name = (*input).to_owned();
    }
    let names: Vec<String> = rest.iter().map(|(name, _)| name.clone()).collect();
    let mut out = Vec::with_capacity(inputs.len());
    for &(input, ty) in inputs {
        let Some(at) = rest.iter().position(|(name, _)| name == input) else {
            return Err(DatasetError::Missing(input.into(), ty.clone(), names));
        };
        out.push(rest.swap_remove(at).1);
    }
    if !rest.is_empty() {
        let inputs = inputs.iter().map(|(input, _)| (*input).to_owned()).collect();
        return Err(DatasetError::Extra(rest.into_iter().map(|(name, _)| name).collect(), inputs));
    }
    Ok((out, labels.pop()))
}

/// How an array is cut for an input of this type; `None` if it does not fit.
fn cut(ty: &Type, array: &Tensor) -> Option<Cut> {
    let Type::Tensor(t) = ty else { return None };
    if t.dtype != array.dtype() || array.dims().is_empty() {
        return None;
    }
    let Some(dims) = &t.shape else { return Some(Cut::Rows(None)) };
    let fits = |dims: &[Dim]| {
        let extents = &array.dims()[1..];
        let same = |(d, n): (&Dim, &u64)| d.known().is_none_or(|d| d == *n);
        dims.len() == extents.len() && dims.iter().zip(extents).all(same)
    };
    match dims.split_first() {
        Some((first, rest)) if fits(rest) => Some(Cut::Rows(first.known())),
        _ => fits(dims).then_some(Cut::One),
    }
}

/// What [`cut`] accepts for an input of this type.
fn expected(ty: &Type) -> String {
    let (Some(dtype), Some(dims)) = (ty.dtype(), ty.dims()) else { return ty.to_string() };
    let of = |dims: &[Dim]| {
        let dims: Vec<String> = dims.iter().map(|d| format!(",{d}")).collect();
        format!("{dtype}[samples{}]", dims.concat())
    };
    match dims.split_first() {
        Some((_, rest)) => format!("{} or {}", of(rest), of(dims)),
        None => of(dims),
    }
}

/// Number of samples in one run, if an input fixes it.
fn fixed<'a>(
    names: impl Iterator<Item = &'a str>,
    cuts: &[Cut],
) -> Result<Option<u64>, DatasetError> {
    let mut all = names.zip(cuts).filter_map(|(name, cut)| match cut {
        Cut::Rows(n) => Some((name, (*n)?)),
        Cut::One => Some((name, 1)),
    });
    let Some((name, n)) = all.next() else { return Ok(None) };
    match all.find(|(_, m)| *m != n) {
        Some((other, m)) => Err(DatasetError::Batches(name.into(), n, other.into(), m)),
        None if n == 0 => Err(DatasetError::Batch),
        None => Ok(Some(n)),
    }
}

/// The array with its elements in memory, if they can be cut at every one.
fn loaded(t: &Tensor) -> Result<Tensor, TensorError> {
    if t.dtype() == DType::String || !t.dtype().bits().is_multiple_of(8) {
        return Err(TensorError::Type(t.dtype(), "numbers of whole bytes"));
    }
    Tensor::new(t.dtype(), t.dims().to_vec(), Data::Bytes(t.bytes()?))
}

/// `len` samples from this one on; with `drop`, without the axis of samples.
fn rows(t: &Tensor, at: u64, len: u64, drop: bool) -> Result<Tensor, TensorError> {
    let bytes = t.bytes()?;
    let row = bytes.len() / t.dims()[0].max(1) as usize;
    let range = at as usize * row..(at + len) as usize * row;
    let part = bytes.slice(range).ok_or_else(|| TensorError::Overflow(t.dims().to_vec()))?;
    let mut dims = t.dims()[1..].to_vec();
    if !drop {
        dims.insert(0, len);
    }
    Tensor::new(t.dtype(), dims, Data::Bytes(part))
}

#[cfg(test)]
mod tests {
    use graph_opt_ir::text::parse;

    use super::*;

    fn graph(inputs: &str) -> Graph {
        let first = inputs.split(':').next().unwrap();
        parse(&format!(
            "graph @g({inputs}) -> (%out) opset 13 {{\n %out = Identity {first} : ?\n}}"
        ))
        .unwrap()
    }

    /// Elements 0, 1, 2 and so on.
    fn array(dims: &[u64]) -> Tensor {
        let n = dims.iter().product::<u64>();
        Tensor::f32s(dims, &(0..n).map(|i| i as f32).collect::<Vec<_>>()).unwrap()
    }

    fn dataset(
        inputs: &str,
        arrays: &[(&str, Tensor)],
        batch: usize,
    ) -> Result<Dataset, DatasetError> {
        let arrays = arrays.iter().map(|(name, t)| ((*name).to_owned(), t.clone())).collect();
        Dataset::new(&graph(inputs), arrays, batch)
    }

    #[test]
    fn fixed_batches_drop_what_does_not_fill_the_last() {
        let labels = Tensor::i64s(&[0, 1, 2, 3, 4, 5, 6]);
        let arrays = [("images", array(&[7, 2])), ("y", labels)];
        let d = dataset("%x: f32[3,2]", &arrays, 64).unwrap();
        assert_eq!((d.inputs.len(), d.samples, d.dropped), (2, 6, 1));
        assert_eq!(d.inputs[1][0].dims(), [3, 2]);
        assert_eq!(d.inputs[1][0].to_f32s().unwrap(), [6., 7., 8., 9., 10., 11.]);
        assert_eq!(d.labels.as_ref().unwrap()[1], Tensor::i64s(&[3, 4, 5]));
        assert_eq!([d.samples_of(0), d.samples_of(1), d.samples_of(2)], [3, 3, 0]);
    }

    #[test]
    fn a_symbolic_axis_takes_batches_of_any_size() {
        let d = dataset("%x: f32[N,2]", &[("x", array(&[5, 2]))], 2).unwrap();
        assert_eq!((d.inputs.len(), d.samples, d.dropped), (3, 5, 0));
        assert_eq!(d.inputs[2][0].dims(), [1, 2]);
        assert_eq!(d.inputs[2][0].to_f32s().unwrap(), [8., 9.]);
        assert_eq!([d.samples_of(1), d.samples_of(2), d.samples_of(3)], [2, 1, 0]);
        assert!(d.labels.is_none());
    }

    #[test]
    fn inputs_without_a_batch_axis_take_one_sample_a_run() {
        let d = dataset("%x: f32[3,4]", &[("x", array(&[5, 3, 4]))], 8).unwrap();
        assert_eq!((d.inputs.len(), d.samples), (5, 5));
        assert_eq!(d.inputs[4][0].dims(), [3, 4]);
        assert_eq!(d.inputs[4][0].to_f32s().unwrap()[0], 48.0);
        // Together with an input that has the axis, of any extent or of 1.
        for other in ["N", "1"] {
            let arrays = [("x", array(&[5, 40])), ("z", array(&[5, 2]))];
            let d = dataset(&format!("%x: f32[40], %z: f32[{other},2]"), &arrays, 8).unwrap();
            assert_eq!(d.inputs.len(), 5);
            assert_eq!((d.inputs[3][0].dims(), d.inputs[3][1].dims()), (&[40][..], &[1, 2][..]));
        }
    }

    #[test]
    fn inputs_are_in_the_order_of_the_graph() {
        let arrays = [("b", array(&[2, 1])), ("labels", array(&[2])), ("a", array(&[2, 3]))];
        let d = dataset("%a: f32[N,3], %b: f32[N,1]", &arrays, 2).unwrap();
        assert_eq!(d.inputs[0][0].dims(), [2, 3]);
        assert_eq!(d.inputs[0][1].dims(), [2, 1]);
        // `y` is an input here, not labels.
        let arrays = [("x", array(&[2, 3])), ("y", array(&[2, 3]))];
        let d = dataset("%x: f32[N,3], %y: f32[N,3]", &arrays, 2).unwrap();
        assert!(d.labels.is_none());
    }

    #[test]
    fn errors_say_what_was_expected() {
        let why = |inputs: &str, arrays: &[(&str, Tensor)], batch| {
            dataset(inputs, arrays, batch).unwrap_err().to_string()
        };
        let x = || ("x", array(&[4, 3]));
        assert!(why("%x: f32[N,3]", &[x()], 0).contains("at least 1"));
        let e = why("%x: f32[N,1,3]", &[x()], 1);
        let want = "input \"x\" is f32[4,3], expected f32[samples,1,3] or f32[samples,N,1,3]";
        assert!(e.contains(want), "{e}");
        let e = why("%x: f32[N,3]", &[("x", Tensor::i64s(&[1]))], 1);
        assert!(e.contains("is i64[1], expected f32[samples,3]"), "{e}");
        let e = why("%a: f32[N,3], %b: f32[N,3]", &[("a", array(&[4, 3])), x()], 1);
        assert!(e.contains("\"b\", which is an input of type f32[N,3]"), "{e}");
        let e = why("%a: f32[N,3]", &[("a", array(&[4, 3])), x()], 1);
        assert!(e.contains("[\"x\"] belong to no input"), "{e}");
        let e = why("%x: f32[N,3]", &[x(), ("y", array(&[4])), ("labels", array(&[4]))], 1);
        assert!(e.contains("\"y\" and \"labels\""), "{e}");
        let e = why("%x: f32[N,3]", &[x(), ("y", array(&[5]))], 1);
        assert!(e.contains("\"x\" has 4 samples along its first axis, \"y\" has 5"), "{e}");
        let e = why("%x: f32[8,3]", &[x()], 1);
        assert!(e.contains("4 samples, but a run takes 8"), "{e}");
        let arrays = [("a", array(&[4, 3])), ("b", array(&[4, 3]))];
        let e = why("%a: f32[1,3], %b: f32[2,3]", &arrays, 1);
        assert!(e.contains("are 1 for input \"a\" but 2 for \"b\""), "{e}");
        assert!(why("%x: f32[N,3]", &[("x", array(&[0, 3]))], 1).contains("0 samples"));
    }
}
