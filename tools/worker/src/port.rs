//! Between dora's messages and the protocol's: the only file of the nodes that knows dora.

use std::time::Duration;

use dora_node_api::arrow_v59::array::{Array, BinaryArray};
use dora_node_api::dora_core::config::DataId;
use dora_node_api::{
    DoraArray, DoraNode, Event, EventStream, IntoArrow, MetadataParameters, Parameter,
    get_integer_param, get_string_param,
};
use graph_opt_ir::tensor::Bytes;
use graph_opt_ir::{DType, Tensor};
use graph_opt_passes::devices::codec::Codec;

use crate::failure::{Result, check};
use crate::protocol::Ack;
use crate::protocol::wire::{Header, Piece, cut};

/// What comes in.
#[derive(Debug)]
pub enum Incoming {
    /// A piece of a tensor, on an input.
    Piece(usize, Piece),
    /// The source asks where the sink stands, and says how many frames there are in all.
    Ask(Option<u64>),
    /// The sink says where it stands.
    Ack(Ack),
    /// Nothing within the time, or nothing that matters.
    Nothing,
    /// No more will come: all senders are done, or the dataflow is stopped.
    End,
}

/// A node's connection.
pub struct Port {
    node: DoraNode,
    events: EventStream,
    limit: usize,
}

fn failed(e: impl std::fmt::Display) -> crate::failure::Failure {
    check(format!("dora: {e:#}"))
}

impl Port {
    /// Connects to the daemon that started this process. Messages are cut at `limit` bytes.
    pub fn open(limit: usize) -> Result<Self> {
        if std::env::var_os("DORA_NODE_CONFIG").is_none() {
            return Err(crate::failure::usage(
                "this is started by a dora daemon, as the dataflow says: see graph-opt-worker start",
            ));
        }
        let (node, events) = DoraNode::init_from_env().map_err(failed)?;
        Ok(Self { node, events, limit })
    }

    /// How often the daemon has started this node before.
    pub fn restarts(&self) -> u32 {
        self.node.restart_count()
    }

    /// To the log.
    pub fn say(&self, text: &str) {
        self.node.log_info(text);
    }

    /// What comes next, within a time or however late.
    pub fn next(&mut self, within: Option<Duration>) -> Incoming {
        let event = match within {
            Some(t) => self.events.recv_timeout(t),
            None => self.events.recv(),
        };
        match event {
            None | Some(Event::Stop(_)) => Incoming::End,
            // The source has ended, and with it all that others wait for from each other.
            Some(Event::InputClosed { id }) if *id == *"ask" => Incoming::End,
            Some(Event::Input { id, metadata, data }) => {
                read(id.as_ref(), &metadata.parameters, &data).unwrap_or_else(|| {
                    self.say(&format!("a message on {id} is none of ours"));
                    Incoming::Nothing
                })
            }
            Some(Event::NodeRestarted { id }) => {
                self.say(&format!("{id} was restarted"));
                Incoming::Nothing
            }
            Some(_) => Incoming::Nothing,
        }
    }

    /// Sends a value on an output, in its form.
    pub fn tensor(
        &mut self,
        (output, codec): (usize, Option<Codec>),
        sequence: u64,
        attempt: u64,
        name: &str,
        tensor: &Tensor,
    ) -> Result {
        for p in cut(sequence, attempt, name, tensor, codec, self.limit).map_err(check)? {
            let id = DataId::from(format!("out{output}"));
            // One row: an array of bytes would bring a bit along for each of them.
            let row = DoraArray::from_array(BinaryArray::from_vec(vec![&p.bytes]));
            self.node.send_output(id, parameters(&p.header), row).map_err(failed)?;
        }
        Ok(())
    }

    /// Asks the sink where it stands.
    pub fn ask(&mut self, total: Option<u64>) -> Result {
        let mut p = MetadataParameters::new();
        p.extend(total.map(|t| ("total".into(), Parameter::Integer(t as i64))));
        self.node.send_output(DataId::from("ask".to_owned()), p, 0u8.into_arrow()).map_err(failed)
    }

    /// Acknowledges.
    pub fn ack(&mut self, ack: Ack) -> Result {
        let mut p = MetadataParameters::new();
        p.insert("next".into(), Parameter::Integer(ack.next as i64));
        p.extend(ack.got.map(|g| ("got".into(), Parameter::Integer(g as i64))));
        self.node.send_output(DataId::from("ack".to_owned()), p, 0u8.into_arrow()).map_err(failed)
    }
}

fn parameters(h: &Header) -> MetadataParameters {
    let number = |n: u64| Parameter::Integer(n as i64);
    let shape = h.shape.iter().map(|&d| d as i64).collect();
    let mut p = MetadataParameters::from([
        ("sequence".into(), number(h.sequence)),
        ("attempt".into(), number(h.attempt)),
        ("name".into(), Parameter::String(h.name.clone())),
        ("type".into(), Parameter::String(h.dtype.name().into())),
        ("shape".into(), Parameter::ListInt(shape)),
        ("checksum".into(), Parameter::String(format!("{:032x}", h.checksum))),
        ("pieces".into(), number(h.pieces)),
        ("piece".into(), number(h.piece)),
    ]);
    p.extend(h.codec.map(|c| ("codec".into(), Parameter::String(c.name().into()))));
    p
}

fn read(input: &str, p: &MetadataParameters, data: &DoraArray) -> Option<Incoming> {
    let number = |key: &str| get_integer_param(p, key).and_then(|n| u64::try_from(n).ok());
    match input {
        "ask" => return Some(Incoming::Ask(number("total"))),
        "ack" => return Some(Incoming::Ack(Ack { next: number("next")?, got: number("got") })),
        _ => {}
    }
    let shape = match p.get("shape")? {
        Parameter::ListInt(dims) => dims.iter().map(|&d| u64::try_from(d).ok()).collect(),
        _ => None,
    };
    let header = Header {
        sequence: number("sequence")?,
        attempt: number("attempt")?,
        name: get_string_param(p, "name")?.to_owned(),
        dtype: DType::from_name(get_string_param(p, "type")?)?,
        shape: shape?,
        checksum: u128::from_str_radix(get_string_param(p, "checksum")?, 16).ok()?,
        pieces: number("pieces")?,
        piece: number("piece")?,
        codec: match get_string_param(p, "codec") {
            Some(name) => Some(Codec::from_name(name)?),
            None => None,
        },
    };
    let row: &BinaryArray = data.as_array().as_any().downcast_ref()?;
    if row.len() != 1 || row.is_null(0) {
        return None;
    }
    let piece = Piece { header, bytes: Bytes::from(row.value(0).to_vec()) };
    Some(Incoming::Piece(input.strip_prefix("in")?.parse().ok()?, piece))
}
