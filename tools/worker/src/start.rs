//! The driver: writes the dataflow, starts it, and watches it. dora itself waits for ever for a
//! machine that is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use graph_opt_passes::devices::files::dataflow::{self, Options};

use crate::failure::{Failure, Result, Tone, differs, out, usage};
use crate::folder::Folder;
use crate::{Link, frames, key, output, sink, stage};

/// What `dora` is given to answer.
const ANSWER: Duration = Duration::from_secs(20);

/// A coordinator takes 20 connections in this time from another machine, and any number from its own.
const MINUTE: Duration = Duration::from_secs(60);

/// How often the driver looks.
const LOOK: Duration = Duration::from_secs(4);

/// How a dataflow is written.
#[derive(clap::Args)]
pub struct Nodes {
    /// The folder that `graph-opt split` made
    folder: String,
    /// Where the folder is on the machines, if not where it is here
    #[arg(long, value_name = "DIR")]
    at: Option<String>,
    /// The worker on the machines: a path, or a name on the PATH of the daemons
    #[arg(long, default_value = "graph-opt-worker", value_name = "PROGRAM")]
    program: String,
    /// Machine of the source; by default that of the first part
    #[arg(long, value_name = "MACHINE")]
    source: Option<String>,
    /// Machine of the sink; by default that of the last part
    #[arg(long, value_name = "MACHINE")]
    sink: Option<String>,
    /// Seconds in which at least one frame must arrive
    #[arg(long, default_value_t = 120, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    patience: u32,
    #[command(flatten)]
    frames: frames::Wanted,
    #[command(flatten)]
    results: sink::Results,
    #[command(flatten)]
    engine: stage::Engine,
    #[command(flatten)]
    link: Link,
}

/// Writes dataflow.yml only.
#[derive(clap::Args)]
pub struct Write {
    #[command(flatten)]
    nodes: Nodes,
}

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    nodes: Nodes,
    /// Address of the coordinator
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    coordinator: String,
    /// Port of the coordinator
    #[arg(long, default_value_t = 6013, value_name = "PORT")]
    port: u16,
    /// dora's command line
    #[arg(long, default_value = "dora", value_name = "PROGRAM")]
    dora: String,
    /// Seconds without a sign of life after which a machine counts as gone
    #[arg(long, default_value_t = 15, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    silence: u64,
}

/// Writes dataflow.yml; gives it, and the machines that it takes.
fn write(n: &Nodes) -> Result<(PathBuf, BTreeSet<String>)> {
    let folder = Folder::open(&n.folder)?;
    let here =
        std::fs::canonicalize(&folder.path).map_err(|e| usage(format!("{}: {e}", n.folder)))?;
    let key = folder.key(&n.link);
    if key::make(&key)? {
        out(
            Tone::Plain,
            format!("{}: a new key; all machines of the dataflow need a copy\n", key.display()),
        )?;
    }
    let mut link = vec![format!("--message={}", n.link.message)];
    link.extend(n.link.key.as_ref().map(|k| format!("--key={k}")));
    let mut source = link.clone();
    source.extend([format!("--patience={}", n.patience), format!("--seed={}", n.frames.seed)]);
    source.extend(n.frames.frames.map(|f| format!("--frames={f}")));
    // The source runs in the folder. What is not here may be on its machine.
    let inputs = n.frames.inputs.as_ref().map(|i| match std::fs::canonicalize(i) {
        Ok(path) => path.to_string_lossy().into_owned(),
        Err(_) => i.clone(),
    });
    source.extend(inputs.map(|i| format!("--inputs={i}")));
    let mut stage = link.clone();
    stage.extend([
        format!("--backend={}", n.engine.backend),
        format!("--threads={}", n.engine.threads),
        format!("--ort-level={}", n.engine.ort_level),
    ]);
    let mut sink = link;
    sink.push(format!("--results={}", n.results.results));
    sink.extend(n.results.tensors.then(|| "--tensors".to_owned()));
    let options = Options {
        program: n.program.clone(),
        folder: n.at.clone().unwrap_or_else(|| here.to_string_lossy().into_owned()),
        source: n.source.clone(),
        sink: n.sink.clone(),
        window: n.link.window,
        arguments: [source, stage, sink],
    };
    let text = dataflow::text(&folder.manifest, &options).map_err(usage)?;
    let path = folder.path.join("dataflow.yml");
    output::whole(&path, text.as_bytes())?;
    let stages = folder.manifest.plan.stages.iter().map(|s| s.device.clone());
    let machines = stages.chain(n.source.clone()).chain(n.sink.clone()).collect();
    Ok((path, machines))
}

pub fn write_only(args: &Write) -> Result {
    let (path, machines) = write(&args.nodes)?;
    let machines: Vec<String> = machines.into_iter().collect();
    out(Tone::Plain, format!("{}: for the machines {}\n", path.display(), machines.join(", ")))
}

/// dora's command line, on a coordinator.
struct Dora<'a>(&'a Args);

impl Dora<'_> {
    /// What a command prints. Where the coordinator has had too many connections, it waits.
    fn run(&self, command: &[&str]) -> Result<String> {
        let begin = Instant::now();
        loop {
            match self.once(command) {
                Err(e) if e.message.contains("429 Too Many") && begin.elapsed() < MINUTE => {
                    std::thread::sleep(MINUTE / 10);
                }
                done => return done,
            }
        }
    }

    /// What a command prints. It is ended if it takes too long.
    fn once(&self, command: &[&str]) -> Result<String> {
        let a = self.0;
        let line = format!("{} {}", a.dora, command.join(" "));
        let failed = |e: &dyn std::fmt::Display| differs(format!("{line}: {e}"));
        let mut child = Command::new(&a.dora)
            .args(command)
            .args(["--coordinator-addr", &a.coordinator])
            .args(["--coordinator-port", &a.port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| usage(format!("{}: {e}; it is in the package dora-rs-cli 1.1", a.dora)))?;
        // What it prints is read by threads, or a full pipe would stop it.
        let read = |mut from: Box<dyn std::io::Read + Send>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = from.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            })
        };
        let stdout = child.stdout.take().map(|s| read(Box::new(s)));
        let stderr = child.stderr.take().map(|s| read(Box::new(s)));
        let begin = Instant::now();
        let status = loop {
            match child.try_wait().map_err(|e| failed(&e))? {
                Some(status) => break status,
                None if begin.elapsed() > ANSWER => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(failed(&format!("no answer in {} s", ANSWER.as_secs())));
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let text = |t: Option<std::thread::JoinHandle<String>>| {
            t.and_then(|t| t.join().ok()).unwrap_or_default()
        };
        let (stdout, stderr) = (text(stdout), text(stderr));
        if status.success() {
            return Ok(stdout);
        }
        Err(failed(&format!("{status}\n{}{}", stdout.trim(), stderr.trim())))
    }

    /// The status of a dataflow, as `dora list` says it, and its identifier.
    fn status(&self, name: &str) -> Result<Option<(String, String)>> {
        let text = self.run(&["list", "--format", "json", "--name", name])?;
        Ok(text.lines().find_map(|l| {
            let row: serde_json::Value = serde_json::from_str(l).ok()?;
            let text = |key: &str| row.get(key).and_then(|s| s.as_str()).unwrap_or("").to_owned();
            (text("name") == name).then(|| (text("status"), text("uuid")))
        }))
    }
}

/// What `dora cluster status` says.
#[derive(Debug, Default, PartialEq)]
struct Cluster {
    /// Machines whose daemons are connected, and how long ago each gave a sign of life.
    machines: BTreeMap<String, Duration>,
    /// The line about dataflows.
    dataflows: String,
}

/// Reads it.
fn cluster(table: &str) -> Cluster {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let daemon = words.next()?;
        let ms: u64 = words.next()?.strip_suffix("ms")?.parse().ok()?;
        // The machine's name, and an identifier of the daemon: a UUID of 36 characters.
        let machine = daemon.len().checked_sub(37).and_then(|n| daemon.get(..n))?;
        Some((machine.to_owned(), Duration::from_millis(ms)))
    };
    let dataflows = table.lines().find(|l| l.starts_with("Active dataflows")).unwrap_or("");
    Cluster { machines: table.lines().filter_map(row).collect(), dataflows: dataflows.to_owned() }
}

pub fn main(args: &Args) -> Result {
    let (path, wanted) = write(&args.nodes)?;
    let dora = Dora(args);
    let there = cluster(&dora.run(&["cluster", "status"])?);
    if let Some(lacks) = wanted.iter().find(|m| !there.machines.contains_key(*m)) {
        return Err(differs(format!(
            "machine {lacks}: no daemon of this name is connected to the coordinator at {}:{}; start \
             one there with: dora daemon --machine-id {lacks} --coordinator-addr {}",
            args.coordinator, args.port, args.coordinator
        )));
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let name = format!("graph-opt-{}", now.map_or(0, |d| d.as_millis()));
    let file = path.to_string_lossy().into_owned();
    let began = dora.run(&["start", &file, "--detach", "--name", &name]);
    let done = began.and_then(|_| watch(&dora, &name, &wanted, &path));
    if done.is_err() {
        // Whatever is left of it. What is gone does not answer.
        let _ = dora.run(&["stop", "--name", &name, "--force"]);
    }
    done
}

/// Until the dataflow ends, or a machine is gone.
fn watch(dora: &Dora<'_>, name: &str, wanted: &BTreeSet<String>, file: &Path) -> Result {
    let silence = Duration::from_secs(dora.0.silence);
    let mut before = Cluster::default();
    let (mut answered, mut listed) = (Instant::now(), Instant::now());
    loop {
        let there = match dora.run(&["cluster", "status"]) {
            Ok(table) => cluster(&table),
            Err(_) if answered.elapsed() < silence => {
                std::thread::sleep(LOOK);
                continue;
            }
            Err(e) => return Err(differs(format!("the coordinator is gone: {}", e.message))),
        };
        answered = Instant::now();
        for machine in wanted {
            let why = match there.machines.get(machine) {
                None => "its daemon is no longer connected".to_owned(),
                // Perhaps it is only out of reach: then its nodes wait for frames.
                Some(ago) if *ago > silence => format!(
                    "its daemon has given no sign of life for {} s (once it does, what is left there \
                     is ended by: {} stop --name {name} --force)",
                    ago.as_secs(),
                    dora.0.dora
                ),
                Some(_) => continue,
            };
            return Err(differs(format!("machine {machine}: {why}; the dataflow is stopped")));
        }
        if there.dataflows != before.dataflows || listed.elapsed() > MINUTE / 2 {
            listed = Instant::now();
            let (status, id) = dora.status(name)?.unwrap_or_default();
            match &*status {
                "Running" => {}
                "Finished" => return out(Tone::Plain, format!("{name}: finished\n")),
                "Failed" => return Err(broken(dora, name, &id)),
                other => {
                    let other = if other.is_empty() { "nothing" } else { other };
                    return Err(differs(format!(
                        "{}: dora knows {other} of {name}",
                        file.display()
                    )));
                }
            }
        }
        before = there;
        std::thread::sleep(LOOK);
    }
}

/// A dataflow failed: what its nodes said last, or where it is, as dora forgets those that ended.
fn broken(dora: &Dora<'_>, name: &str, id: &str) -> Failure {
    let logs = dora.run(&["logs", name, "--all-nodes", "--tail", "20"]);
    let at = || {
        format!(
            "what it said is on its machine, in out/{id}/log_NODE.jsonl in the folder of the stages; NODE is \
             source, sink, device0, device1, …"
        )
    };
    let logs = logs.unwrap_or_else(|_| at());
    differs(format!("{name}: a node failed\n{}", logs.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_machines_are_read() {
        let table = "DAEMON ID                                   LAST HEARTBEAT  RESTARTS\n\
             box-a-019309a1-3c35-7f5b-b9a5-5d6a3b2c1d0e  1203ms ago      0\n\
             b-019309a1-3c35-7f5b-b9a5-5d6a3b2c1d0f      12ms ago        -\n\nActive dataflows: 1\n";
        let read = cluster(table);
        assert_eq!(read.dataflows, "Active dataflows: 1");
        let all = read.machines;
        assert_eq!(all["box-a"], Duration::from_millis(1203));
        assert_eq!(all["b"], Duration::from_millis(12));
        assert_eq!(all.len(), 2);
    }
}
