//! Seed corpora and dictionaries of the fuzz targets.
//!
//! Nothing is kept by hand: the seeds are the texts that documentation and tests quote, with what the tool makes
//! of them, and small models of `../shared` where there are any. Words come from the tool's own tables.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cluster::chain;
use crate::read::exported;
use crate::text::read;
use graph_opt_ir::{Graph, op};
use graph_opt_passes::devices::cluster::Cluster;
use graph_opt_passes::devices::files::{Manifest, PartFile, PlanFile};
use graph_opt_passes::devices::graph::{PlanRequest, ProfiledCosts, pipeline};
use graph_opt_passes::devices::{Effort, Objective};
use graph_opt_passes::{Pipeline, registry};

/// Largest file that is a seed, in bytes.
const LARGEST: u64 = 50_000;

/// Where graphs, pipelines and clusters are quoted.
const SOURCES: [&str; 4] =
    ["../../tests", "../../ir/src", "../../passes/src", "../../backends/src"];

/// Pipelines for graphs, besides passes without options.
const PIPELINES: [&str; 6] = [
    "tile-conv{axis=h parts=2}",
    "tile-conv{axis=c-out parts=2},untile",
    "fuse-tiles{memory=1KiB best-effort=yes}",
    "fuse-tiles{memory=256B best-effort=yes reuse=rows}",
    "inline-functions{operators=yes},simplify",
    "eqsat{objective=macs},schedule",
];

/// Writes `corpus/TARGET/…` and `dictionaries/TARGET` into a folder. The working folder is this package's.
///
/// # Errors
/// If a file cannot be read or written.
pub fn write(out: PathBuf) -> io::Result<()> {
    let mut seeds = Seeds { out, turn: 0, attributes: BTreeSet::new() };
    let mut strings = Vec::new();
    for file in SOURCES.iter().flat_map(|dir| files(Path::new(dir))) {
        let ends = |e: &str| file.extension().is_some_and(|x| x == e);
        if ends("rs") {
            let all = literals(&fs::read_to_string(&file)?);
            strings.extend(operators(&all));
            strings.extend(all);
        } else if ends("gir") {
            let text = fs::read_to_string(&file)?;
            let input = text.split("// expect:").next().unwrap_or(&text);
            seeds.add("pipeline", input.as_bytes())?;
            strings.push(input[input.find("graph @").unwrap_or(0)..].to_owned());
        } else if ends("json") {
            strings.push(fs::read_to_string(&file)?);
        }
    }
    for file in files(Path::new("src/graphs")) {
        strings.push(fs::read_to_string(file)?);
    }
    for file in files(Path::new("../../docs")) {
        let text = fs::read_to_string(file).unwrap_or_default();
        strings.extend(text.split("```").skip(1).step_by(2).map(|block| {
            let (_, body) = block.split_once('\n').unwrap_or((block, ""));
            body.to_owned()
        }));
        strings.extend(text.split(['`', '\'', '\n']).map(str::to_owned));
    }
    for text in &strings {
        seeds.text(text)?;
    }
    for info in registry::PASSES {
        let option = |o: &graph_opt_passes::OptionInfo| format!("{}={}", o.name, o.value);
        let options: Vec<String> = info.options.iter().map(option).collect();
        for text in options.iter().map(|o| format!("{}{{{o}}}", info.name)) {
            seeds.text(&text)?;
        }
    }
    for file in ["../../../shared/hostile", "../../../shared/models"]
        .iter()
        .flat_map(|d| files(Path::new(d)))
    {
        if file.extension().is_some_and(|e| e == "onnx") && fs::metadata(&file)?.len() < LARGEST {
            seeds.add("import", &fs::read(file)?)?;
        }
    }
    seeds.dictionaries()
}

struct Seeds {
    out: PathBuf,
    /// The pipeline that the next graph gets, besides that of `-O`.
    turn: usize,
    attributes: BTreeSet<String>,
}

impl Seeds {
    /// Adds a seed, named after its content.
    fn add(&self, target: &str, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() || bytes.len() as u64 > LARGEST {
            return Ok(());
        }
        let dir = self.out.join("corpus").join(target);
        fs::create_dir_all(&dir)?;
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        fs::write(dir.join(format!("{hash:016x}")), bytes)
    }

    /// Adds a text as what it is, if it is something.
    fn text(&mut self, text: &str) -> io::Result<()> {
        if let Some(at) = text.find("graph @")
            && let Some(graph) = read(&text[at..])
        {
            self.graph(text, &graph)?;
        } else if text.contains("[[device]]") || text.starts_with("name,x,y") {
            self.add("cluster", text.as_bytes())?;
            Cluster::parse(text).map_or(Ok(()), |c| self.plans(&c))?;
        } else if text.trim_start().starts_with(['{', '[']) && text.contains('"')
            || text.contains("seconds,")
        {
            self.add("plan_files", text.as_bytes())?;
        } else if Pipeline::parse(text).is_ok() {
            self.add("pipeline", text.trim().as_bytes())?;
        }
        Ok(())
    }

    fn graph(&mut self, text: &str, graph: &Graph) -> io::Result<()> {
        graph.any_node(&mut |g, n| {
            self.attributes.extend(g.node(n).op.attrs().iter().map(|a| a.0.to_string()));
            false
        });
        self.add("text", text.as_bytes())?;
        let plain = registry::PASSES.iter().map(|p| p.name).filter(|p| Pipeline::parse(p).is_ok());
        let turn = plain.chain(PIPELINES).nth(self.turn);
        self.turn = if turn.is_some() { self.turn + 1 } else { 0 };
        for pipeline in [Some(registry::OPTIMISE), turn].into_iter().flatten() {
            self.add("pipeline", format!("{pipeline}\n{text}").as_bytes())?;
        }
        exported(graph).map_or(Ok(()), |bytes| self.add("import", &bytes))
    }

    /// Plans over the cluster, and the manifest of a model that is split so.
    fn plans(&self, cluster: &Cluster) -> io::Result<()> {
        let (graph, network) = chain();
        let Ok(costs) = ProfiledCosts::new(graph, network, cluster, &[]) else { return Ok(()) };
        let effort = Effort { labels: 10_000, nodes: 10_000 };
        for objective in Objective::ALL {
            let request = PlanRequest { objective, ..PlanRequest::default() };
            let Ok((_, plan)) = pipeline(graph, network, cluster, &costs, &request, &effort) else {
                continue;
            };
            self.add("plan_files", json(&plan)?.as_bytes())?;
            self.add("plan_files", json(&manifest(plan))?.as_bytes())?;
        }
        Ok(())
    }

    fn dictionaries(&self) -> io::Result<()> {
        let operators = || op::TABLE.iter().map(|(_, name, _)| (*name).to_owned());
        let attributes = || self.attributes.iter().cloned();
        let words = |s: &str| s.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let types = words(
            "f32[ f16[ f64[ i64[ i32[ i8[ u8[ i4[ bool[ string[ seq( optional( N .. ? _ %x %y",
        );
        let syntax = words(
            "graph -> opset const random( hex\" ; tensor( then_branch=graph else_branch=graph body=graph",
        );
        let mut text: Vec<String> = types.into_iter().chain(syntax).collect();
        text.extend(operators().map(|o| format!("{o} ")));
        text.extend(attributes().map(|a| format!("{a}=")));
        let mut passes =
            words("fixpoint( only( conv conv1 add pool relu h w c c-out hxw 2x2 yes no 1KiB 50%");
        for info in registry::PASSES {
            passes.push(info.name.to_owned());
            passes.extend(info.options.iter().map(|o| format!("{}=", o.name)));
            passes.extend(info.options.iter().map(|o| o.value.to_owned()));
        }
        passes.extend(text.iter().cloned());
        let cluster = words(
            "[[device]] [[link]] [default-link] name= memory= macs-per-second= per-node= profile= watts= mode= \
             speed= between= bandwidth= latency= medium= source= sink= MiB KiB Mbit/s kbit/s bit/s ms us ns 1e308 1e-308",
        );
        let mut files = words(
            "version plan inputs outputs stages file objective value bound gap proved latency_s interval_s energy_j \
             rewrite pipelined device mode nodes compute_s compute_j memory_bytes receives from values over bytes \
             codecs sent_bytes seconds lz4 f16 int8 backend threads runs stretches first last spread count joules \
             null true false 1e308 1e-320",
        );
        files
            .extend(words("args op_name input_type_shape output_type_shape cat dur ts node_index"));
        let import = operators().chain(attributes()).collect();
        for (target, words) in [
            ("import", import),
            ("text", text),
            ("pipeline", passes),
            ("cluster", cluster),
            ("plan_files", files),
        ] {
            let dir = self.out.join("dictionaries");
            fs::create_dir_all(&dir)?;
            let entry =
                |w: &String| format!("\"{}\"\n", w.replace('\\', "\\\\").replace('"', "\\\""));
            let words: BTreeSet<String> =
                words.into_iter().filter(|w| !w.is_empty() && w.is_ascii()).collect();
            fs::write(dir.join(target), words.iter().map(entry).collect::<String>())?;
        }
        Ok(())
    }
}

fn json(value: &impl serde::Serialize) -> io::Result<String> {
    serde_json::to_string_pretty(value).map_err(io::Error::other)
}

/// The manifest of the chain, split as the plan says.
fn manifest(plan: PlanFile) -> Manifest {
    let (graph, _) = chain();
    let name = |v: &graph_opt_ir::ValueId| graph.value(*v).name.to_string();
    let part = |(i, row): (usize, &graph_opt_passes::devices::files::StageRow)| {
        let inputs = row.receives.iter().flat_map(|r| r.values.iter().cloned()).collect();
        let later = plan.stages.iter().flat_map(|s| &s.receives).chain(&plan.outputs);
        let outputs =
            later.filter(|r| r.from == Some(i)).flat_map(|r| r.values.iter().cloned()).collect();
        PartFile { file: format!("stage{i}.onnx"), inputs, outputs }
    };
    let stages = plan.stages.iter().enumerate().map(part).collect();
    let inputs = graph.inputs().iter().map(name).collect();
    let outputs = graph.outputs().iter().map(name).collect();
    Manifest { version: 1, plan, inputs, outputs, stages }
}

/// Files below a folder, by name; none if it is not there.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    entries.sort();
    let inner = |p: PathBuf| if p.is_dir() { files(&p) } else { vec![p] };
    // This package quotes nothing, and may be built in its own folder.
    entries.into_iter().filter(|p| !p.ends_with("fuzz")).flat_map(inner).collect()
}

/// Graphs of one node, from inputs and a node that stand one behind the other, as the samples of operators do.
fn operators(strings: &[String]) -> Vec<String> {
    let graph = |pair: &[String]| {
        let [inputs, node] = pair else { return None };
        let (results, _) = node.split_once('=').filter(|_| node.starts_with('%'))?;
        let inputs = inputs.starts_with('%') && !inputs.contains('=');
        let inputs = inputs.then(|| &*pair[0])?;
        Some(format!("graph @main({inputs}) -> ({}) opset 18 {{\n  {node}\n}}\n", results.trim()))
    };
    strings.windows(2).filter_map(graph).collect()
}

/// The string literals of a Rust file, near enough.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find('"') {
        let before = &rest[..at];
        let hashes = before.len() - before.trim_end_matches('#').len();
        let raw = before.trim_end_matches('#').ends_with('r');
        let body = &rest[at + 1..];
        if before.ends_with('\'') && body.starts_with('\'') {
            rest = body;
        } else if raw {
            let close = format!("\"{}", "#".repeat(hashes));
            let end = body.find(&close).unwrap_or(body.len());
            found.push(body[..end].to_owned());
            rest = body.get(end + close.len()..).unwrap_or("");
        } else {
            let mut text = String::new();
            let mut chars = body.char_indices();
            let mut end = body.len();
            while let Some((i, c)) = chars.next() {
                match c {
                    '"' => {
                        end = i + 1;
                        break;
                    }
                    '\\' => match chars.next().map(|c| c.1) {
                        Some('n') => text.push('\n'),
                        Some('t') => text.push('\t'),
                        Some('\n') | None => {}
                        Some(c) => text.push(c),
                    },
                    c => text.push(c),
                }
            }
            found.push(text);
            rest = &body[end..];
        }
    }
    found
}
