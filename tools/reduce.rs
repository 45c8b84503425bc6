//! `graph-opt reduce`

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use graph_opt_backends::faults::reduce::{self, ReduceError, reduce};
use graph_opt_ir::{Graph, atomic, onnx};
use graph_opt_passes::count;
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Answer;
use crate::failure::{Result, say, unsupported, usage};
use crate::progress::Progress;
use crate::{model, output};

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// The command; {} stands for the file to check
    #[arg(long, value_name = "CMD")]
    check: String,
    /// Where to write the smallest model on which it fails
    #[arg(short, long, value_name = "FILE")]
    output: String,
    /// Where to write the largest model on which it works: the whole without one node of the
    /// smallest, or else what nodes can be put together, until no single one can be added
    #[arg(long, value_name = "FILE")]
    works: Option<String>,
    /// Most models to try
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tries: u32,
    /// Most seconds to search
    #[arg(long, default_value_t = 3600, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Most seconds of one check; a model on which it takes longer is passed over
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    timeout: u32,
}

/// What a reduction found.
#[derive(Serialize, JsonSchema)]
pub struct Reduced {
    /// Number of nodes of the model.
    nodes: usize,
    /// The smallest model on which the command fails.
    fails: Part,
    /// The largest model on which it works; `null` if none was looked for or found.
    works: Option<Part>,
    /// Number of models that were tried.
    tries: usize,
    /// Whether the search came to its end.
    finished: bool,
}

/// A part of a model.
#[derive(Serialize, JsonSchema)]
struct Part {
    /// The file.
    file: String,
    /// Number of nodes.
    nodes: usize,
}

pub fn main(args: &Args, json: bool, verbose: bool) -> Result<Answer> {
    if !args.check.contains("{}") {
        return Err(usage("--check: the command has no {} for the file"));
    }
    for name in [Some(&args.output), args.works.as_ref()].into_iter().flatten() {
        output::probe_model(name, json)?;
    }
    let graph = model::load(&args.model)?;
    // It is never finished, and so removed at the end.
    let target = graph_opt_ir::atomic::temporary().join("graph-opt-reduce");
    let dir = atomic::Folder::begin(&target).map_err(|e| output::failed(&target, &e))?;
    let shell = Shell {
        file: dir.path().join("model.onnx"),
        text: args.check.replace("{}", &quoted(&dir.path().join("model.onnx"))),
        timeout: Duration::from_secs(args.timeout.into()),
        verbose,
    };
    let end = Instant::now() + Duration::from_secs(args.seconds.into());
    let progress = Progress::new();
    let mut failure = None;
    let mut check_one = |g: &Graph, s: &reduce::Status| {
        if s.tries > 0 && Instant::now() > end {
            return reduce::Answer::Stop;
        }
        progress.say(&format!("{} tried, {} nodes fail, trying {}", s.tries, s.nodes, g.len()));
        match shell.check(g) {
            Ok(answer) => answer,
            // Of parts that cannot be checked, nothing is said.
            Err(why) => {
                failure = failure.take().or(Some(why).filter(|_| s.tries == 0));
                reduce::Answer::Neither
            }
        }
    };
    let found = reduce(&graph, args.tries as usize, args.works.is_some(), &mut check_one);
    drop(progress);
    let found = found.map_err(|e| match (e, failure) {
        (ReduceError::Neither, Some(why)) => usage(why),
        (e, _) => usage(e),
    })?;
    model::save(&found.smallest, &args.output)?;
    let mut text = format!(
        "{}: it fails on {} of {}\n",
        args.output,
        found.smallest.len(),
        count(graph.len(), "node")
    );
    let mut largest = None;
    match (&args.works, &found.works) {
        (Some(name), Some(works)) => {
            model::save(works, name)?;
            text.push_str(&format!("{name}: it works on {}\n", count(works.len(), "node")));
            largest = Some(Part { file: name.clone(), nodes: works.len() });
        }
        (Some(_), None) => say("no model was found on which it works"),
        (None, _) => {}
    }
    if !found.finished {
        say(format!("the search stopped after {} models: more nodes may be left out", found.tries));
    }
    let result = Reduced {
        nodes: graph.len(),
        fails: Part { file: args.output.clone(), nodes: found.smallest.len() },
        works: largest,
        tries: found.tries,
        finished: found.finished,
    };
    Ok(Answer::new(result, text))
}

struct Shell {
    file: PathBuf,
    text: String,
    timeout: Duration,
    verbose: bool,
}

impl Shell {
    fn check(&self, graph: &Graph) -> std::result::Result<reduce::Answer, String> {
        onnx::save(graph, &self.file).map_err(|e| unsupported(e).message)?;
        let status = self.run().map_err(|e| format!("--check: {e}"))?;
        let Some(status) = status else {
            return Err(format!("--check: it takes over {} s", self.timeout.as_secs()));
        };
        match status.code() {
            Some(0) => Ok(reduce::Answer::Works),
            Some(126 | 127) => Err(format!("--check: the shell cannot run {:?}", self.text)),
            // No code: a signal ended it, which is a failure like any other.
            _ => Ok(reduce::Answer::Fails),
        }
    }

    /// `None` if it takes too long.
    fn run(&self) -> std::io::Result<Option<ExitStatus>> {
        let mut command = if cfg!(windows) {
            let mut c = Command::new("cmd");
            c.args(["/C", &self.text]);
            c
        } else {
            let mut c = Command::new("sh");
            c.args(["-c", &self.text]);
            c
        };
        // A group of its own, to end all that the command has started.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stdin(Stdio::null());
        if !self.verbose {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        } else {
            command.stdout(std::io::stderr());
        }
        let mut child = command.spawn()?;
        CHECK.store(child.id(), Ordering::SeqCst);
        let end = Instant::now() + self.timeout;
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = child.try_wait()? {
                CHECK.store(0, Ordering::SeqCst);
                return Ok(Some(status));
            }
            if Instant::now() > end {
                stop(&mut child);
                return Ok(None);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

fn stop(child: &mut Child) {
    stop_check();
    let _ = child.kill();
    let _ = child.wait();
}

/// The check that runs, by its process; 0 if none does.
static CHECK: AtomicU32 = AtomicU32::new(0);

/// Ends the check that runs, with all that it has started.
pub fn stop_check() {
    let id = CHECK.swap(0, Ordering::SeqCst);
    if cfg!(unix) && id != 0 {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{id}")]).status();
    }
}

/// The path as the shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if cfg!(windows) || text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
