//! The sink: takes the outputs in order, writes them down, and acknowledges.

use std::path::{Path, PathBuf};

use crate::failure::{Result, differs, usage};
use crate::folder::Folder;
use crate::key;
use crate::port::{Incoming, Port};
use crate::protocol::order::Order;
use crate::record::{self, Record};
use crate::tensors;
use graph_opt_passes::devices::files::Endpoint;

/// The record, in the folder of results.
pub const RECORD: &str = "frames.jsonl";

#[derive(clap::Args)]
pub struct Args {
    /// The folder that `graph-opt split` made
    #[arg(default_value = ".")]
    folder: String,
    #[command(flatten)]
    results: Results,
    #[command(flatten)]
    link: crate::Link,
}

/// Where results go.
#[derive(clap::Args, Clone, Debug)]
pub struct Results {
    /// Folder for results, on the sink's machine: frames.jsonl with the time and the checksums of
    /// each frame
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub results: String,
    /// Write the outputs of each frame, too: a folder each, with NAME.npy ("/" becomes "_")
    #[arg(long)]
    pub tensors: bool,
}

pub fn main(args: &Args) -> Result {
    let folder = Folder::open(&args.folder)?;
    let takes = folder.wiring.sink_inputs();
    let edges = folder.wiring.inputs(Endpoint::Sink);
    let results = PathBuf::from(&args.results.results);
    std::fs::create_dir_all(&results).map_err(|e| usage(format!("{}: {e}", results.display())))?;
    let key = key::load(&folder.key(&args.link))?;
    let types = folder.types(takes)?;
    let expected = takes.iter().map(|v| args.link.expected(types.get(v))).collect();
    let mut port = Port::open(Endpoint::Sink, &folder.wiring, &key, args.link.limit())?;
    let path = results.join(RECORD);
    let mut record = Record::open(&path, port.restarts() > 0)?;
    let mut order = Order::new(expected, args.link.window.into(), record.frames);
    let mut held = 0;
    loop {
        match port.next(None) {
            Incoming::Ask(ask) => {
                record.announce(ask.total)?;
                port.ack(order.answer(ask.attempt))?;
            }
            Incoming::Piece(input, piece) => {
                // The sink is one part, so an edge has one place there.
                let at = edges.get(input).and_then(|e| e.to.first());
                let got = at.and_then(|&(_, number)| order.piece(number, piece));
                held = held.max(order.held());
                port.doubt(order.dropped(), at.and_then(|a| takes.get(a.1)));
                let Some(got) = got else { continue };
                while let Some((frame, outputs)) = order.due() {
                    let named = || takes.iter().zip(&outputs);
                    if args.results.tensors {
                        let to = results.join(format!("{frame:06}"));
                        for (name, t) in named() {
                            write(&to, name, t)?;
                        }
                    }
                    let sums = named().map(|(n, t)| (n.clone(), record::checksum(t))).collect();
                    record.deliver(sums)?;
                    order.delivered();
                }
                port.ack(order.ack(got))?;
            }
            Incoming::End => break,
            _ => {}
        }
    }
    port.account(order.dropped(), held);
    match record.total {
        Some(total) if record.frames < total => {
            Err(differs(format!("the dataflow ended after {} of {total} frames", record.frames)))
        }
        _ => {
            port.say(&format!("{} frames", record.frames));
            Ok(())
        }
    }
}

fn write(folder: &Path, name: &str, t: &graph_opt_ir::Tensor) -> Result {
    std::fs::create_dir_all(folder).map_err(|e| usage(format!("{}: {e}", folder.display())))?;
    tensors::write(t, &folder.join(format!("{}.npy", name.replace('/', "_"))))
}
