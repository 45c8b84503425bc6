//! graph-opt for C: the commands, and runs of models, behind opaque handles. `graph_opt.h` is written from this file;
//! what holds for all functions stands in its head, in `cbindgen.toml`.
#![allow(unsafe_code)]
// Pointers from C.
// C's callers promise what the header's head says; NULL is answered, not trusted.
#![allow(clippy::not_unsafe_ptr_arg_deref)]

mod boundary;

use std::ffi::{CString, c_char, c_void};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use graph_opt::{Kind, MEMORY, Models};
use graph_opt_ir::tensor::Bytes;
use graph_opt_ir::{DType, Tensor};

use crate::boundary::{c_text, caught, handle, list, text};

/// How a command ended.
#[repr(C)]
#[derive(Clone, Copy)]
pub enum GraphOptExit {
    /// It did what was asked.
    Done = 0,
    /// Models or results differ.
    Differs = 1,
    /// Wrong usage, or input that cannot be read.
    Usage = 2,
    /// Valid, but not supported.
    Unsupported = 3,
    /// A limit cannot be met: the model does not fit, or there is no plan.
    DoesNotFit = 4,
    /// Neither equality nor a difference could be shown.
    Undecided = 5,
    /// A file cannot be written, or a device cannot be read.
    InputOutput = 6,
    /// A bug in graph-opt.
    Internal = 70,
    /// Ended by a signal.
    Interrupted = 130,
}

const _: () = {
    assert!(GraphOptExit::Done as u8 == Kind::Done.code());
    assert!(GraphOptExit::Differs as u8 == Kind::Differs.code());
    assert!(GraphOptExit::Usage as u8 == Kind::Usage.code());
    assert!(GraphOptExit::Unsupported as u8 == Kind::Unsupported.code());
    assert!(GraphOptExit::DoesNotFit as u8 == Kind::DoesNotFit.code());
    assert!(GraphOptExit::Undecided as u8 == Kind::Undecided.code());
    assert!(GraphOptExit::InputOutput as u8 == Kind::InputOutput.code());
    assert!(GraphOptExit::Internal as u8 == Kind::Internal.code());
    assert!(GraphOptExit::Interrupted as u8 == Kind::Interrupted.code());
};

/// Types of elements, with ONNX's numbers (TensorProto.DataType). Others of ONNX's numbers may be used as well, but
/// for strings.
#[repr(C)]
#[derive(Clone, Copy)]
pub enum GraphOptType {
    /// float
    F32 = 1,
    /// uint8_t
    U8 = 2,
    /// int8_t
    I8 = 3,
    /// uint16_t
    U16 = 4,
    /// int16_t
    I16 = 5,
    /// int32_t
    I32 = 6,
    /// int64_t
    I64 = 7,
    /// One byte, 0 or 1.
    Bool = 9,
    /// IEEE 754's half precision.
    F16 = 10,
    /// double
    F64 = 11,
    /// uint32_t
    U32 = 12,
    /// uint64_t
    U64 = 13,
    /// The upper half of a float.
    Bf16 = 16,
}

const _: () = {
    assert!(GraphOptType::F32 as i32 == DType::F32 as i32);
    assert!(GraphOptType::U8 as i32 == DType::U8 as i32);
    assert!(GraphOptType::I8 as i32 == DType::I8 as i32);
    assert!(GraphOptType::U16 as i32 == DType::U16 as i32);
    assert!(GraphOptType::I16 as i32 == DType::I16 as i32);
    assert!(GraphOptType::I32 as i32 == DType::I32 as i32);
    assert!(GraphOptType::I64 as i32 == DType::I64 as i32);
    assert!(GraphOptType::Bool as i32 == DType::Bool as i32);
    assert!(GraphOptType::F16 as i32 == DType::F16 as i32);
    assert!(GraphOptType::F64 as i32 == DType::F64 as i32);
    assert!(GraphOptType::U32 as i32 == DType::U32 as i32);
    assert!(GraphOptType::U64 as i32 == DType::U64 as i32);
    assert!(GraphOptType::Bf16 as i32 == DType::BF16 as i32);
};

/// A named tensor.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GraphOptTensor {
    /// Name of the model's input or output.
    pub name: *const c_char,
    /// Type of the elements, a GraphOptType.
    pub dtype: i32,
    /// Number of axes.
    pub rank: usize,
    /// Extent of each axis.
    pub dims: *const u64,
    /// The elements by rows, little-endian.
    pub data: *const c_void,
    /// Number of bytes at `data`.
    pub size: usize,
}

/// A range of bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GraphOptBytes {
    /// The first one.
    pub data: *const u8,
    /// How many there are.
    pub size: usize,
}

/// Models that commands read, by names that begin with "memory:".
pub struct GraphOptModels(Mutex<Models>);

/// What a command came to.
#[derive(Default)]
pub struct GraphOptAnswer {
    exit: i32,
    error: CString,
    json: CString,
    text: CString,
    said: CString,
    written: Vec<(CString, Arc<Vec<u8>>)>,
    outputs: Vec<Output>,
}

/// An output of a run.
struct Output {
    name: CString,
    dtype: i32,
    dims: Vec<u64>,
    bytes: Bytes,
}

/// Is told what a command is doing, on the thread that called it. `what` is valid during the call.
pub type GraphOptProgress = Option<unsafe extern "C" fn(what: *const c_char, context: *mut c_void)>;

/// The version of graph-opt, such as "0.1.0". It is valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// A set of models, which has none yet. Free it with graph_opt_models_free.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_models_new() -> *mut GraphOptModels {
    Box::into_raw(Box::new(GraphOptModels(Mutex::default())))
}

/// Frees a set of models; NULL is none.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_models_free(models: *mut GraphOptModels) {
    if !models.is_null() {
        // SAFETY: the caller promises that it is of graph_opt_models_new, was not freed, and is in no use.
        drop(unsafe { Box::from_raw(models) });
    }
}

/// Copies a model in ONNX's form into the set, in the place of one of that name if there is one. The name begins with
/// "memory:". Gives NULL, or why it is not done. Free that with graph_opt_text_free.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_models_put(
    models: *const GraphOptModels,
    name: *const c_char,
    bytes: *const u8,
    size: usize,
) -> *mut c_char {
    refused(|| {
        let (models, name) = (handle("models", models)?, text("name", name)?);
        if !name.starts_with(MEMORY) {
            return Err(format!("expected a name that begins with {MEMORY:?}, found {name:?}"));
        }
        let bytes = list("bytes", bytes, size)?.to_vec();
        models.lock().insert(name.to_owned(), Arc::new(bytes));
        Ok(())
    })
}

/// Adds the models that a command wrote to the set, without copying them. Gives NULL, or why it is not done. Free that
/// with graph_opt_text_free.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_models_add(
    models: *const GraphOptModels,
    answer: *const GraphOptAnswer,
) -> *mut c_char {
    refused(|| {
        let (models, answer) = (handle("models", models)?, handle("answer", answer)?);
        let mut models = models.lock();
        for (name, bytes) in &answer.written {
            models.insert(name.to_string_lossy().into_owned(), bytes.clone());
        }
        Ok(())
    })
}

/// Frees a text that a function whose comment says so gave; NULL is none.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_text_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: the caller promises that such a function gave it, and that it was not freed.
        drop(unsafe { CString::from_raw(text) });
    }
}

/// Runs a command as the command line does, in this process: `count` words without the program's name, such as
/// "inspect", "memory:model.onnx". Models whose names begin with "memory:" are read from `models`, which may be NULL,
/// and written to the answer; others are files. `progress` may be NULL. Nothing is printed. Free the answer, which is
/// never NULL, with graph_opt_answer_free.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_call(
    words: *const *const c_char,
    count: usize,
    models: *const GraphOptModels,
    progress: GraphOptProgress,
    context: *mut c_void,
) -> *mut GraphOptAnswer {
    answered(|| {
        let words = list("words", words, count)?.iter().enumerate();
        let words = words.map(|(i, &w)| text(&format!("word {i}"), w).map(str::to_owned));
        Ok(call(&words.collect::<Result<Vec<_>, _>>()?, held(models), progress, context))
    })
}

/// Rewrites a model in ONNX's form so that a run takes at most so much memory, such as "12MiB" or "50%", and compares
/// the two. The answer has the new model under the name "memory:fitted.onnx". It is graph_opt_call of
/// `opt MODEL --memory MEMORY -o memory:fitted.onnx --verify`. Free the answer, which is never NULL, with
/// graph_opt_answer_free.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_fit(
    model: *const u8,
    size: usize,
    memory: *const c_char,
) -> *mut GraphOptAnswer {
    answered(|| {
        let models = named([("memory:model.onnx", list("model", model, size)?)]);
        let memory = format!("--memory={}", text("memory", memory)?);
        let words = ["opt", "memory:model.onnx", &memory, "-o", "memory:fitted.onnx", "--verify"];
        Ok(call(&words.map(str::to_owned), models, None, std::ptr::null_mut()))
    })
}

/// Compares two models in ONNX's form: exit code GRAPH_OPT_EXIT_DONE if they are equal, GRAPH_OPT_EXIT_DIFFERS,
/// GRAPH_OPT_EXIT_UNDECIDED. It is graph_opt_call of `verify ORIGINAL REWRITTEN`. Free the answer, which is never NULL,
/// with graph_opt_answer_free.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_verify(
    original: *const u8,
    original_size: usize,
    rewritten: *const u8,
    rewritten_size: usize,
) -> *mut GraphOptAnswer {
    answered(|| {
        let original = list("original", original, original_size)?;
        let rewritten = list("rewritten", rewritten, rewritten_size)?;
        let words = ["verify", "memory:original.onnx", "memory:rewritten.onnx"];
        let models = named([(words[1], original), (words[2], rewritten)]);
        Ok(call(&words.map(str::to_owned), models, None, std::ptr::null_mut()))
    })
}

/// Runs a model on the reference interpreter, on `count` inputs, which must be all that it takes, on so many threads, 0
/// for as many as there are cores. The model is named as in graph_opt_call. The answer has the outputs. Free it, which is
/// never NULL, with graph_opt_answer_free.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_run(
    model: *const c_char,
    models: *const GraphOptModels,
    inputs: *const GraphOptTensor,
    count: usize,
    threads: usize,
) -> *mut GraphOptAnswer {
    answered(|| {
        let inputs = list("inputs", inputs, count)?.iter().map(tensor);
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let outputs = graph_opt::run_on(text("model", model)?, held(models), &inputs, threads);
        let outputs = match outputs {
            Ok(outputs) => outputs.into_iter().map(output).collect::<Result<Vec<_>, _>>(),
            Err((exit, why)) => return Ok(failed(exit.into(), &why)),
        };
        Ok(match outputs {
            Ok(outputs) => GraphOptAnswer { outputs, ..GraphOptAnswer::default() },
            Err(why) => failed(GraphOptExit::Unsupported as i32, &why),
        })
    })
}

/// The exit code, a GraphOptExit; GRAPH_OPT_EXIT_USAGE for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_answer_exit(answer: *const GraphOptAnswer) -> i32 {
    handle("answer", answer).map_or(GraphOptExit::Usage as i32, |a| a.exit)
}

/// Why the exit code is not GRAPH_OPT_EXIT_DONE, in words; empty if it is.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_answer_error(answer: *const GraphOptAnswer) -> *const c_char {
    let none = c"answer: expected a handle, found NULL";
    handle("answer", answer).map_or(none, |a| &a.error).as_ptr()
}

/// What the command line prints with --json, which docs/schema.json describes; empty for graph_opt_run, and for words
/// that cannot be read.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_answer_json(answer: *const GraphOptAnswer) -> *const c_char {
    handle("answer", answer).map_or(c"", |a| &a.json).as_ptr()
}

/// What the command line prints for people.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_answer_text(answer: *const GraphOptAnswer) -> *const c_char {
    handle("answer", answer).map_or(c"", |a| &a.text).as_ptr()
}

/// What the command line prints to standard error, besides the error.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_answer_said(answer: *const GraphOptAnswer) -> *const c_char {
    handle("answer", answer).map_or(c"", |a| &a.said).as_ptr()
}

/// How many models the command wrote under names that begin with "memory:".
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_answer_model_count(answer: *const GraphOptAnswer) -> usize {
    handle("answer", answer).map_or(0, |a| a.written.len())
}

/// The name of one of them, by the alphabet; NULL if there are not so many.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_answer_model_name(
    answer: *const GraphOptAnswer,
    index: usize,
) -> *const c_char {
    let found = handle("answer", answer).ok().and_then(|a| a.written.get(index));
    found.map_or(std::ptr::null(), |(name, _)| name.as_ptr())
}

/// The model of this name, in ONNX's form; `data` is NULL if the command wrote none.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_answer_model(
    answer: *const GraphOptAnswer,
    name: *const c_char,
) -> GraphOptBytes {
    let none = GraphOptBytes { data: std::ptr::null(), size: 0 };
    let (Ok(answer), Ok(name)) = (handle("answer", answer), text("name", name)) else {
        return none;
    };
    let found = answer.written.iter().find(|(n, _)| n.as_bytes() == name.as_bytes());
    found.map_or(none, |(_, b)| GraphOptBytes { data: b.as_ptr(), size: b.len() })
}

/// How many outputs a run gave.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_answer_output_count(answer: *const GraphOptAnswer) -> usize {
    handle("answer", answer).map_or(0, |a| a.outputs.len())
}

/// One of them, in the model's order; its `name` is NULL if there are not so many.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_answer_output(
    answer: *const GraphOptAnswer,
    index: usize,
) -> GraphOptTensor {
    let none = GraphOptTensor {
        name: std::ptr::null(),
        dtype: 0,
        rank: 0,
        dims: std::ptr::null(),
        data: std::ptr::null(),
        size: 0,
    };
    let found = handle("answer", answer).ok().and_then(|a| a.outputs.get(index));
    found.map_or(none, |o| GraphOptTensor {
        name: o.name.as_ptr(),
        dtype: o.dtype,
        rank: o.dims.len(),
        dims: o.dims.as_ptr(),
        data: o.bytes.as_ptr().cast(),
        size: o.bytes.len(),
    })
}

/// Frees an answer; NULL is none.
#[unsafe(no_mangle)]
pub extern "C" fn graph_opt_answer_free(answer: *mut GraphOptAnswer) {
    if !answer.is_null() {
        // SAFETY: the caller promises that a function gave it, that it was not freed, and is in no use.
        drop(unsafe { Box::from_raw(answer) });
    }
}

impl GraphOptModels {
    fn lock(&self) -> std::sync::MutexGuard<'_, Models> {
        // No panic happens while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The models of a set, which others may change meanwhile; of NULL, none.
fn held(models: *const GraphOptModels) -> Models {
    handle("models", models).map(|m| m.lock().clone()).unwrap_or_default()
}

/// Copies of these models.
fn named<const N: usize>(models: [(&str, &[u8]); N]) -> Models {
    models.map(|(name, bytes)| (name.to_owned(), Arc::new(bytes.to_vec()))).into()
}

fn call(
    words: &[String],
    models: Models,
    progress: GraphOptProgress,
    context: *mut c_void,
) -> GraphOptAnswer {
    let progress = progress.map(|tell| {
        let progress = move |what: &str| {
            // SAFETY: the caller promises a function that takes these; the text lives until it returns.
            unsafe { tell(c_text(what).as_ptr(), context) };
        };
        Rc::new(progress) as Rc<dyn Fn(&str)>
    });
    let called = graph_opt::call(words, models, progress);
    GraphOptAnswer {
        exit: called.exit.into(),
        error: c_text(&called.error),
        json: c_text(&called.envelope),
        text: c_text(&called.text),
        said: c_text(&called.said),
        written: called.written.iter().map(|(n, b)| (c_text(n), b.clone())).collect(),
        outputs: Vec::new(),
    }
}

/// A tensor that C gives.
fn tensor(given: &GraphOptTensor) -> Result<(String, Tensor), String> {
    let name = text("name of an input", given.name)?;
    let dtype = DType::from_onnx(given.dtype.into()).filter(|&d| d != DType::String);
    let dtype = dtype.ok_or_else(|| {
        format!("{name}: expected the number of an ONNX type of numbers, found {}", given.dtype)
    })?;
    let dims = list(&format!("extents of {name}"), given.dims, given.rank)?;
    let data = list(&format!("elements of {name}"), given.data.cast::<u8>(), given.size)?;
    let tensor = Tensor::from_bytes(dtype, dims.to_vec(), data.to_vec());
    Ok((name.to_owned(), tensor.map_err(|e| format!("{name}: {e}"))?))
}

/// A tensor that C gets.
fn output((name, t): (String, Tensor)) -> Result<Output, String> {
    let bytes = t.bytes().map_err(|e| format!("output {name}: {e}"))?;
    let (dtype, dims) = (t.dtype() as i32, t.dims().to_vec());
    Ok(Output { name: c_text(&name), dtype, dims, bytes })
}

fn failed(exit: i32, why: &str) -> GraphOptAnswer {
    GraphOptAnswer { exit, error: c_text(why), ..GraphOptAnswer::default() }
}

/// The answer for C. What C gives wrong is wrong usage; a panic is an internal error.
fn answered(f: impl FnOnce() -> Result<GraphOptAnswer, String>) -> *mut GraphOptAnswer {
    Box::into_raw(Box::new(match caught(f) {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => failed(GraphOptExit::Usage as i32, &why),
        Err(panic) => failed(GraphOptExit::Internal as i32, &panic),
    }))
}

/// NULL, or for C why something is not done.
fn refused(f: impl FnOnce() -> Result<(), String>) -> *mut c_char {
    match caught(f).flatten() {
        Ok(()) => std::ptr::null_mut(),
        Err(why) => c_text(&why).into_raw(),
    }
}
