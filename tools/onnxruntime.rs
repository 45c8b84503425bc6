//! An installed ONNX Runtime, by the Python that has it: as a backend, and what runs its scripts.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use graph_opt_backends::inputs::required;
use graph_opt_backends::{Backend, Executable, PrepareError, RunError};
use graph_opt_ir::{DType, Graph, Tensor, Type, ValueId, atomic};

use crate::{model, npy};

/// Levels of graph optimization, as options name them.
pub const LEVELS: [&str; 4] = ["disable", "basic", "extended", "all"];

/// The script that keeps a session, in Python.
const SCRIPT: &str = include_str!("session.py");

/// The Python that has onnxruntime: what `GRAPH_OPT_PYTHON` names, or `python3`.
pub fn python() -> OsString {
    std::env::var_os("GRAPH_OPT_PYTHON").unwrap_or_else(|| "python3".into())
}

/// Why a Python could not be started, and what to do.
pub fn unstarted(python: &OsStr, e: &io::Error) -> String {
    format!(
        "{} cannot be run ({e}); name a Python with onnxruntime in GRAPH_OPT_PYTHON",
        python.display()
    )
}

/// Why a script ended without an answer, by what it wrote to standard error, and what to do.
pub fn ended(python: &OsStr, said: &str) -> String {
    let python = python.display();
    let missing = |name: &str| said.contains(&format!("No module named '{name}'"));
    match ["onnxruntime", "numpy"].into_iter().find(|m| missing(m)) {
        Some(module) => format!(
            "{module} is not installed for {python}; run {python} -m pip install {module}, or name \
             another Python in GRAPH_OPT_PYTHON"
        ),
        None => format!(
            "ONNX Runtime in {python} ended: {}",
            said.lines().last().unwrap_or("it gave no reason")
        ),
    }
}

/// ONNX Runtime's CPU provider, in a process of its own for each graph.
#[derive(Clone, Debug)]
pub struct OnnxRuntime {
    /// Level of graph optimization, one of [`LEVELS`].
    pub level: String,
    /// Threads of a node; 0 for as many as there are cores.
    pub threads: u16,
}

impl Backend for OnnxRuntime {
    fn name(&self) -> &str {
        "onnxruntime"
    }

    fn prepare(&self, graph: Arc<Graph>) -> Result<Box<dyn Executable>, PrepareError> {
        let values = graph.inputs().iter().chain(graph.outputs()).map(|&v| graph.value(v));
        let foreign = values.into_iter().find(|v| !v.ty.dtype().is_some_and(has_numpy_type));
        if let Some(v) = foreign {
            return Err(PrepareError::Other(format!(
                "{:?} is {}: values reach ONNX Runtime as NumPy arrays of numbers or booleans only",
                v.name, v.ty
            )));
        }
        let channel = Channel::open(&graph, self).map_err(PrepareError::Other)?;
        Ok(Box::new(Session { graph, channel: RefCell::new(channel) }))
    }
}

/// Whether NumPy has this type of numbers or booleans.
fn has_numpy_type(ty: DType) -> bool {
    use DType::*;
    matches!(ty, F16 | F32 | F64 | I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64 | Bool)
}

/// A graph in a session of ONNX Runtime.
struct Session {
    graph: Arc<Graph>,
    channel: RefCell<Channel>,
}

impl Executable for Session {
    fn run(&self, inputs: &[Tensor], wanted: &[ValueId]) -> Result<Vec<Tensor>, RunError> {
        let g = &self.graph;
        if let Some(v) = wanted.iter().find(|v| !g.outputs().contains(v)) {
            return Err(RunError::Unsupported(format!(
                "{:?}: ONNX Runtime gives outputs only",
                g.value(*v).name
            )));
        }
        let mut given = g.inputs().to_vec();
        if inputs.len() != given.len() {
            given = required(g);
        }
        if inputs.len() != given.len() {
            let (want, found) = (given.len(), inputs.len());
            return Err(RunError::Invalid(format!("expected {want} inputs, found {found}")));
        }
        let names = |all: &[ValueId]| -> Vec<String> {
            all.iter().map(|&v| g.value(v).name.to_string()).collect()
        };
        let request = serde_json::json!({ "inputs": names(&given), "outputs": names(wanted) });
        let mut parts = vec![request.to_string().into_bytes()];
        for t in inputs {
            parts.push(npy::write(t).map_err(RunError::Invalid)?);
        }
        let types: Vec<&Type> = wanted.iter().map(|&v| &g.value(v).ty).collect();
        self.channel.borrow_mut().ask(&parts, &types)
    }
}

/// A session's process, and the pipes to it.
struct Channel {
    python: OsString,
    child: Child,
    /// Taken to end the process.
    to: Option<BufWriter<ChildStdin>>,
    from: BufReader<ChildStdout>,
    /// What it writes to standard error; taken when it has ended.
    said: Option<JoinHandle<String>>,
}

impl Channel {
    /// Loads the graph in a process of its own. The file that it is loaded from is gone after that.
    fn open(graph: &Graph, how: &OnnxRuntime) -> Result<Self, String> {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let place = format!("graph-opt-session-{}-{number}", atomic::process());
        let folder = atomic::Folder::begin(&atomic::temporary().join(place));
        let folder = folder.map_err(|e| format!("a folder for the model: {e}"))?;
        let (script, path) = (folder.path().join("session.py"), folder.path().join("model.onnx"));
        std::fs::write(&script, SCRIPT).map_err(|e| format!("{}: {e}", script.display()))?;
        model::save_onnx(graph, &path).map_err(|e| e.message)?;
        let python = python();
        let mut child = Command::new(&python)
            .arg(script)
            .arg(path)
            .args([&how.level, &how.threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| unstarted(&python, &e))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(to), Some(from), Some(errors)) = pipes else {
            return Err("the process has no pipes".into());
        };
        let (to, from) = (Some(BufWriter::new(to)), BufReader::new(from));
        // Read meanwhile, or a full pipe would stop it.
        let said = Some(std::thread::spawn(move || last(errors)));
        let mut channel = Self { python, child, to, from, said };
        let mut version = None;
        channel.answer(|_, part| {
            let mut text = String::new();
            part.read_to_string(&mut text).map_err(|e| e.to_string())?;
            version = Some(text);
            Ok(())
        })?;
        tracing::info!("ONNX Runtime {}", version.unwrap_or_default());
        Ok(channel)
    }

    /// Sends a request; gives the tensors of its answer, which are of these types.
    fn ask(&mut self, parts: &[Vec<u8>], types: &[&Type]) -> Result<Vec<Tensor>, RunError> {
        // Where the process has ended, reading says why.
        let _ = self.send(parts);
        let mut tensors = Vec::new();
        let answered = self.answer(|i, part| {
            let ty = types.get(i).ok_or("it gave more outputs than were wanted")?;
            let limit = ty.bytes().unwrap_or(part.limit());
            tensors.push(npy::read(part, limit, Some(ty))?);
            Ok(())
        });
        answered.map_err(RunError::Invalid)?;
        match tensors.len() == types.len() {
            true => Ok(tensors),
            false => Err(RunError::Invalid("it gave fewer outputs than were wanted".into())),
        }
    }

    fn send(&mut self, parts: &[Vec<u8>]) -> io::Result<()> {
        let Some(to) = &mut self.to else { return Ok(()) };
        to.write_all(&(parts.len() as u32).to_le_bytes())?;
        for part in parts {
            to.write_all(&(part.len() as u64).to_le_bytes())?;
            to.write_all(part)?;
        }
        to.flush()
    }

    /// Reads an answer, and calls `take` with the number of each part and the part. All of it is read in any case.
    fn answer(
        &mut self,
        mut take: impl FnMut(usize, &mut io::Take<&mut BufReader<ChildStdout>>) -> Result<(), String>,
    ) -> Result<(), String> {
        let (mut good, mut done) = (true, Ok(()));
        let count = self.number::<4>()?;
        for i in 0..count {
            let length = self.number::<8>()?;
            let mut part = (&mut self.from).take(length);
            if i == 0 || !good {
                let mut text = Vec::new();
                part.read_to_end(&mut text).map_err(|e| e.to_string())?;
                let text = String::from_utf8_lossy(&text);
                match i {
                    0 => good = text == "ok",
                    _ => done = Err(format!("ONNX Runtime: {text}")),
                }
            } else if done.is_ok() {
                done = take(i as usize - 1, &mut part);
            }
            io::copy(&mut part, &mut io::sink()).map_err(|e| e.to_string())?;
        }
        done
    }

    /// A number of so many bytes; why the process ended, if it did.
    fn number<const N: usize>(&mut self) -> Result<u64, String> {
        let mut bytes = [0; 8];
        match self.from.read_exact(&mut bytes[..N]) {
            Ok(()) => Ok(u64::from_le_bytes(bytes)),
            Err(_) => {
                let said = self.said.take().and_then(|s| s.join().ok());
                Err(ended(&self.python, &said.unwrap_or_default()))
            }
        }
    }
}

/// The end of what is written there, read until it is closed.
fn last(mut from: impl Read) -> String {
    /// Enough for a reason.
    const KEPT: usize = 1 << 14;
    let (mut all, mut buffer) = (Vec::new(), [0; 1 << 12]);
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        all.extend_from_slice(&buffer[..n]);
        all.drain(..all.len().saturating_sub(KEPT));
    }
    String::from_utf8_lossy(&all).into_owned()
}

impl Drop for Channel {
    fn drop(&mut self) {
        // It ends with its input. What hangs is killed.
        self.to = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_say_what_to_do() {
        let python = OsStr::new("python3");
        let missing = "Traceback\nModuleNotFoundError: No module named 'onnxruntime'\n";
        assert!(ended(python, missing).contains("python3 -m pip install onnxruntime"));
        assert!(ended(python, "one\ntwo\n").ends_with("ended: two"));
        assert_eq!(last(&b"x".repeat(1 << 20)[..]).len(), 1 << 14);
    }
}
