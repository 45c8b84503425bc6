//! What the Python package `graph_opt` calls: commands, and runs of models.
#![allow(missing_docs)] // The package's own docstrings say what these do.

use std::collections::BTreeMap;
use std::sync::Arc;

use graph_opt_ir::{DType, Tensor};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Models by name, as Python gives them.
type Models = BTreeMap<String, Vec<u8>>;

/// Models by name, as commands read them.
fn held(models: Models) -> graph_opt::Models {
    models.into_iter().map(|(name, bytes)| (name, Arc::new(bytes))).collect()
}

/// A tensor: NumPy's name of its type, its extents, and its elements by rows.
type Array = (String, Vec<u64>, Vec<u8>);

/// A tensor that Python gets.
type Given<'py> = (&'static str, Vec<u64>, Bound<'py, PyBytes>);

/// Runs a command. Gives its exit code, its envelope as JSON, its answer as text, what it said, and the models
/// that it wrote.
#[pyfunction]
fn call(
    py: Python<'_>,
    words: Vec<String>,
    models: Models,
    progress: Option<Py<PyAny>>,
) -> PyResult<(u8, String, String, String, BTreeMap<String, Py<PyBytes>>)> {
    // What the callback raised ends the command's answer, not the command.
    let raised = std::sync::Arc::new(std::sync::Mutex::new(None));
    let called = py.detach(|| {
        let told = raised.clone();
        let progress = progress.map(|callback| {
            let tell = move |what: &str| {
                Python::attach(|py| {
                    let done = py.check_signals().and_then(|()| callback.call1(py, (what,)));
                    if let (Err(e), Ok(mut first)) = (done, told.lock()) {
                        first.get_or_insert(e);
                    }
                });
            };
            std::rc::Rc::new(tell) as std::rc::Rc<dyn Fn(&str)>
        });
        graph_opt::call(&words, held(models), progress)
    });
    if let Some(e) = raised.lock().ok().and_then(|mut e| e.take()) {
        return Err(e);
    }
    let bytes = |(name, bytes): (String, Arc<Vec<u8>>)| (name, PyBytes::new(py, &bytes).unbind());
    let written = called.written.into_iter().map(bytes).collect();
    Ok((called.exit, called.envelope, called.text, called.said, written))
}

/// Runs a model on the CPU; gives its outputs by name, or an exit code and why there are none.
#[pyfunction]
fn run<'py>(
    py: Python<'py>,
    model: String,
    models: Models,
    inputs: Vec<(String, Array)>,
    threads: usize,
) -> PyResult<(Vec<(String, Given<'py>)>, Option<(u8, String)>)> {
    let tensor = |(name, (dtype, dims, bytes)): (String, Array)| {
        let known = TYPES.iter().find(|t| t.0 == dtype);
        let known = known.ok_or_else(|| format!("{name}: {dtype} is no type of ONNX"))?;
        let tensor = Tensor::from_bytes(known.1, dims, bytes);
        Ok::<_, String>((name.clone(), tensor.map_err(|e| format!("{name}: {e}"))?))
    };
    let inputs = inputs.into_iter().map(tensor).collect::<Result<Vec<_>, _>>();
    let inputs = inputs.map_err(PyValueError::new_err)?;
    let outputs = match py.detach(|| graph_opt::run_on(&model, held(models), &inputs, threads)) {
        Ok(all) => all,
        Err(failed) => return Ok((Vec::new(), Some(failed))),
    };
    let array = |(name, t): (String, Tensor)| {
        let known = TYPES.iter().find(|k| k.1 == t.dtype());
        let known = known.ok_or_else(|| format!("{name}: NumPy has no {}", t.dtype()))?;
        let bytes = t.bytes().map_err(|e| format!("{name}: {e}"))?;
        Ok((name, (known.0, t.dims().to_vec(), PyBytes::new(py, &bytes))))
    };
    let outputs = outputs.into_iter().map(array).collect::<Result<Vec<_>, String>>();
    Ok((outputs.map_err(PyValueError::new_err)?, None))
}

/// Types by NumPy's names.
const TYPES: [(&str, DType); 12] = [
    ("float16", DType::F16),
    ("float32", DType::F32),
    ("float64", DType::F64),
    ("int8", DType::I8),
    ("int16", DType::I16),
    ("int32", DType::I32),
    ("int64", DType::I64),
    ("uint8", DType::U8),
    ("uint16", DType::U16),
    ("uint32", DType::U32),
    ("uint64", DType::U64),
    ("bool", DType::Bool),
];

#[pymodule]
fn _native(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(call, m)?)?;
    m.add_function(wrap_pyfunction!(run, m)?)?;
    m.add("VERSION", env!("CARGO_PKG_VERSION"))
}
