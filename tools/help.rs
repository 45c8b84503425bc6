//! Help in groups, with examples.

use clap::Command;

/// The commands by what people want to do.
const GROUPS: &[(&str, &[&str])] = &[
    ("Make a model fit", &["opt", "inspect", "view", "explain", "passes"]),
    ("See whether the answer is the same", &["verify", "diff", "check"]),
    ("Run it here", &["run", "bench", "print"]),
    ("Run it over several devices", &["plan", "cluster", "profile", "split", "simulate", "worker"]),
    ("Make it smaller, at a measured loss", &["blocks", "scale"]),
    ("Find what is at fault", &["bisect", "reduce", "repro"]),
    ("Set it up", &["completions", "man"]),
];

/// Examples of each command.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "opt",
        &[
            "graph-opt opt model.onnx --memory 50% -o small.onnx --verify",
            "graph-opt opt model.onnx --memory 8MiB -o small.onnx --verify --report small.html",
            "graph-opt opt model.onnx --memory 8MiB --dim h=480 --dim w=640 -o small.onnx",
            "graph-opt opt model.onnx -O -o clean.onnx --verify",
            "graph-opt opt model.onnx -p 'simplify,tile-conv{axis=h parts=4}' -o tiled.onnx",
            "graph-opt opt model.onnx -p 'fuse-tiles{front=list}'",
        ],
    ),
    (
        "inspect",
        &[
            "graph-opt inspect model.onnx",
            "graph-opt inspect model.onnx --nodes --runtime onnxruntime-default",
            "graph-opt inspect model.onnx --json | jq .result.peak_activation_bytes",
        ],
    ),
    (
        "view",
        &["graph-opt view model.onnx -o model.html", "graph-opt view model.onnx -o model.json"],
    ),
    ("explain", &["graph-opt explain model.onnx -p 'simplify,fuse-tiles{memory=8MiB}'"]),
    ("passes", &["graph-opt passes", "graph-opt passes fuse-tiles"]),
    (
        "verify",
        &[
            "graph-opt verify original.onnx rewritten.onnx",
            "graph-opt verify a.onnx b.onnx --proof proof.txt",
            "graph-opt verify a.onnx b.onnx --report verdict.html",
            "graph-opt verify a.onnx b.onnx --by run --backend cpu,wgpu --input frame.npz",
        ],
    ),
    ("diff", &["graph-opt diff original.onnx rewritten.onnx"]),
    ("check", &["graph-opt check", "graph-opt check ci/graph-opt.toml --json"]),
    (
        "run",
        &[
            "graph-opt run model.onnx --input x=frame.npy -o outputs/",
            "graph-opt run model.onnx --dim batch=4",
            "graph-opt run model.onnx --input cat.jpg --image-norm imagenet --top 5 --labels synset.txt",
        ],
    ),
    ("bench", &["graph-opt bench model.onnx --threads 2"]),
    ("print", &["graph-opt print model.onnx | less"]),
    (
        "plan",
        &[
            "graph-opt plan model.onnx --cluster cluster.toml -o plan.json",
            "graph-opt plan model.onnx --cluster cluster.toml --objective throughput --max-latency 50ms",
            "graph-opt plan model.onnx --cluster cluster.toml --front -o front.csv",
        ],
    ),
    (
        "cluster",
        &[
            "graph-opt cluster probe --listen 0.0.0.0:7000",
            "graph-opt cluster probe pi1=10.0.0.2:7000 -o links.toml",
            "graph-opt cluster from-positions positions.csv -o cluster.toml",
        ],
    ),
    (
        "profile",
        &[
            "graph-opt profile model.onnx -o camera.json",
            "graph-opt profile model.onnx --backend onnxruntime -o camera.json",
        ],
    ),
    ("split", &["graph-opt split model.onnx --plan plan.json -o stages/"]),
    ("simulate", &["graph-opt simulate stages/ --model model.onnx"]),
    ("blocks", &["graph-opt blocks model.onnx --data calibration.npz -o blocks/"]),
    ("scale", &["graph-opt scale blocks/ --memory 4MiB -o small.onnx"]),
    ("bisect", &["graph-opt bisect model.onnx -p 'simplify,tile-conv{axis=h parts=4}'"]),
    ("reduce", &["graph-opt reduce model.onnx --check 'python3 fails.py {}' -o least.onnx"]),
    ("repro", &["graph-opt repro graph-opt-repro-0123456789abcdef.txt"]),
    (
        "completions",
        &[
            "graph-opt completions bash > ~/.local/share/bash-completion/completions/graph-opt",
            "graph-opt completions fish > ~/.config/fish/completions/graph-opt.fish",
        ],
    ),
    ("man", &["graph-opt man -o man1/"]),
];

/// The command line with its help in groups, and examples for each command.
pub fn with_help(mut cli: Command) -> Command {
    let mut groups = String::new();
    for (what, names) in GROUPS {
        groups.push_str(&format!("\n{what}:\n"));
        for name in *names {
            let command = cli.find_subcommand(name);
            let about = command.and_then(Command::get_about).map(ToString::to_string);
            groups.push_str(&format!("  {name:<11} {}\n", about.unwrap_or_default()));
        }
    }
    for (name, examples) in EXAMPLES {
        let lines: String = examples.iter().map(|e| format!("  {e}\n")).collect();
        if cli.find_subcommand(name).is_some() {
            cli = cli.mut_subcommand(name, |c| c.after_help(format!("Examples:\n{lines}")));
        }
    }
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{groups}\nOptions:\n{{options}}{{after-help}}"
    );
    cli.help_template(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group_and_has_an_example_that_it_accepts() {
        let cli = crate::command();
        for c in cli.get_subcommands().map(Command::get_name).filter(|n| *n != "help") {
            let groups = GROUPS.iter().filter(|(_, names)| names.contains(&c)).count();
            assert_eq!(groups, 1, "{c}");
            let examples = EXAMPLES.iter().filter(|(name, _)| *name == c).count();
            // The worker's options are those of a program of its own.
            assert_eq!(examples, usize::from(c != "worker"), "{c}");
        }
        for (name, examples) in EXAMPLES {
            for e in *examples {
                let words = shell(e);
                let parsed = cli.clone().try_get_matches_from(words);
                assert!(parsed.is_ok(), "{e}: {:?}", parsed.err().map(|e| e.to_string()));
                assert!(e.starts_with(&format!("graph-opt {name}")), "{e}");
            }
        }
    }

    /// The words of a line, up to a pipe or a redirection.
    fn shell(line: &str) -> Vec<String> {
        let line = line.split(" | ").next().unwrap_or_default();
        let line = line.split(" > ").next().unwrap_or_default();
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        words
    }
}
