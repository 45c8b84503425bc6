//! `graph-opt cluster`

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use graph_opt_passes::devices::cluster::{cluster_at, link_table, seconds};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Answer;
use crate::failure::{Failure, Kind, Result, io, say, usage};
use crate::progress::Progress;
use crate::{input, output};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Measures the links between this machine and others, as [[link]] tables of cluster.toml
    ///
    /// `graph-opt cluster probe --listen 0.0.0.0:7000` on the others, then `graph-opt cluster probe
    /// pi1=10.0.0.2:7000 pi2=10.0.0.3:7000` here. The bandwidth is that of the slower direction over
    /// TCP, the latency half a round trip.
    Probe(Probe),
    /// Makes a cluster of like wireless nodes: a CSV with name, x and y in metres gives the bandwidths
    FromPositions(Positions),
}

#[derive(clap::Args)]
struct Probe {
    /// The machines to measure links with
    #[arg(value_name = "NAME=HOST:PORT", value_parser = peer, required_unless_present = "listen")]
    peers: Vec<(String, String)>,
    /// Answer others that probe, at this address; anyone who reaches it can make it send and receive
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["peers", "output", "name"])]
    listen: Option<String>,
    /// Name of this machine in the links
    #[arg(long, value_name = "NAME", default_value = "here")]
    name: String,
    /// How long to send in each direction, such as 2s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    time: Duration,
    /// Where to write the links; without it, they go to standard output
    #[arg(short, long, value_name = "FILE.toml")]
    output: Option<PathBuf>,
    /// When to stop answering
    #[arg(long, value_name = "TIME", default_value = "3600s", value_parser = duration)]
    until: Duration,
}

#[derive(clap::Args)]
struct Positions {
    /// The nodes
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    /// Memory of each device
    #[arg(long, value_name = "SIZE", default_value = "32MiB")]
    memory: String,
    /// Multiply-accumulates a second of each device
    #[arg(long, value_name = "RATE", default_value_t = 1e9)]
    macs_per_second: f64,
    /// Where to write the cluster; without it, it goes to standard output
    #[arg(short, long, value_name = "FILE.toml")]
    output: Option<PathBuf>,
}

fn peer(text: &str) -> std::result::Result<(String, String), String> {
    let (name, at) = text.split_once('=').ok_or("expected NAME=HOST:PORT")?;
    Ok((name.into(), at.into()))
}

/// A time of 10 ms to a day.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    match seconds(text).map_err(|e| e.to_string())? {
        s if (0.01..=86_400.0).contains(&s) => Ok(Duration::from_secs_f64(s)),
        _ => Err("expected 10ms to 86400s".into()),
    }
}

/// Links that were measured.
#[derive(Serialize, JsonSchema)]
pub struct Links {
    /// The links.
    links: Vec<Link>,
}

/// A measured link.
#[derive(Serialize, JsonSchema)]
struct Link {
    /// Name of this machine.
    from: String,
    /// Name of the other machine.
    to: String,
    /// Bandwidth of the slower direction, in bit/s.
    bandwidth: f64,
    /// Half of the median round trip, in seconds.
    latency_s: f64,
}

pub fn main(args: &Args) -> Result<Answer> {
    match &args.command {
        Command::Probe(probe) => match &probe.listen {
            Some(at) => answer(at, probe.until),
            None => measure(probe),
        },
        Command::FromPositions(positions) => {
            let Positions { file, memory, macs_per_second, output } = positions;
            let at = |e| usage(format!("{}: {e}", file.display()));
            let text = cluster_at(&input::text(file)?, memory, *macs_per_second).map_err(at)?;
            written(output.as_deref(), &text)?;
            Ok(Answer::text(if output.is_some() { String::new() } else { text }))
        }
    }
}

fn written(path: Option<&Path>, text: &str) -> Result {
    path.map_or(Ok(()), |path| output::whole(path, text.as_bytes()))
}

/// What a connection begins with.
const HELLO: &[u8; 8] = b"go-probe";

/// What is asked of the other side; eight bytes of a number follow.
const ECHO: u8 = 0;
/// To read so many bytes, and then to answer with one.
const TAKE: u8 = 1;
/// To send so many bytes.
const GIVE: u8 = 2;

/// Most bytes of one question.
const MOST: u64 = 1 << 30;

/// How long a read or write may wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may last, however slowly it goes on.
const SESSION: Duration = Duration::from_secs(300);

/// Bytes that are sent at once.
const CHUNK: usize = 64 << 10;

/// Answers probes, one after the other, until the time is over.
fn answer(at: &str, until: Duration) -> Result<Answer> {
    let listener = TcpListener::bind(at).map_err(|e| io(at, &e))?;
    let bound = listener.local_addr().map_err(|e| io(at, &e))?;
    listener.set_nonblocking(true).map_err(|e| io(at, &e))?;
    say(format!("answers probes at {bound}; Ctrl-C ends it"));
    let end = Instant::now() + until;
    while Instant::now() < end {
        match listener.accept() {
            Ok((stream, from)) => match serve(stream, end) {
                Ok(()) => say(format!("{from} was answered")),
                Err(e) => say(format!("{from}: {e}")),
            },
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(e) => return Err(io(at, &e)),
        }
    }
    Ok(Answer::text(String::new()))
}

fn ready(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

/// Answers the questions of a connection.
fn serve(mut stream: TcpStream, end: Instant) -> std::io::Result<()> {
    ready(&stream)?;
    let end = end.min(Instant::now() + SESSION);
    let mut hello = [0; 8];
    stream.read_exact(&mut hello)?;
    if hello != *HELLO {
        return Err(ErrorKind::InvalidData.into());
    }
    stream.write_all(HELLO)?;
    let mut question = [0; 9];
    loop {
        match stream.read_exact(&mut question) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let [kind, number @ ..] = question;
        let bytes = u64::from_be_bytes(number);
        match kind {
            ECHO => stream.write_all(&[ECHO])?,
            TAKE if bytes <= MOST => {
                take(&mut stream, bytes, end)?;
                stream.write_all(&[TAKE])?;
            }
            GIVE if bytes <= MOST => give(&mut stream, bytes, end)?,
            _ => return Err(ErrorKind::InvalidData.into()),
        }
    }
}

/// Reads so many bytes.
fn take(stream: &mut TcpStream, bytes: u64, end: Instant) -> std::io::Result<()> {
    chunks(bytes, end, &mut |chunk| stream.read_exact(chunk))
}

/// Sends so many bytes.
fn give(stream: &mut TcpStream, bytes: u64, end: Instant) -> std::io::Result<()> {
    chunks(bytes, end, &mut |chunk| stream.write_all(chunk))
}

fn chunks(
    bytes: u64,
    end: Instant,
    each: &mut dyn FnMut(&mut [u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        if Instant::now() > end {
            return Err(ErrorKind::TimedOut.into());
        }
        let now = left.min(CHUNK as u64) as usize;
        each(&mut chunk[..now])?;
        left -= now as u64;
    }
    Ok(())
}

/// Measures the link to each machine.
fn measure(args: &Probe) -> Result<Answer> {
    if let Some(path) = &args.output {
        output::probe(path)?;
    }
    let progress = Progress::new();
    let mut links = Vec::new();
    for (name, at) in &args.peers {
        progress.say(&format!("measuring the link to {name}"));
        let (latency_s, bandwidth) = link(at, args.time).map_err(|e| match e.kind() {
            ErrorKind::InvalidData => Failure::new(
                Kind::InputOutput,
                format!("{at} is no graph-opt; run graph-opt cluster probe --listen there"),
            ),
            ErrorKind::ConnectionRefused => Failure::new(
                Kind::InputOutput,
                format!("{at}: {e}; run graph-opt cluster probe --listen there"),
            ),
            _ => io(at, &e),
        })?;
        links.push(Link { from: args.name.clone(), to: name.clone(), bandwidth, latency_s });
    }
    drop(progress);
    let text: String =
        links.iter().map(|l| link_table([&l.from, &l.to], l.bandwidth, l.latency_s)).collect();
    written(args.output.as_deref(), &text)?;
    let text = if args.output.is_some() { String::new() } else { text };
    Ok(Answer::new(Links { links }, text))
}

/// Half a round trip in seconds, and the bandwidth of the slower direction in bit/s.
fn link(at: &str, time: Duration) -> std::io::Result<(f64, f64)> {
    /// Round trips of which the median is taken.
    const TRIPS: usize = 21;
    let address = at.to_socket_addrs()?.next().ok_or(ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    ready(&stream)?;
    let end = Instant::now() + SESSION;
    stream.write_all(HELLO)?;
    let mut hello = [0; 8];
    stream.read_exact(&mut hello)?;
    if hello != *HELLO {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut trips = Vec::new();
    for _ in 0..TRIPS {
        trips.push(timed(&mut stream, ECHO, 0, end)?);
    }
    trips.sort_by(f64::total_cmp);
    let trip = trips[TRIPS / 2];
    let mut slower = f64::INFINITY;
    for kind in [TAKE, GIVE] {
        let mut bytes = CHUNK as u64;
        let took = loop {
            let took = timed(&mut stream, kind, bytes, end)?;
            if took >= time.as_secs_f64() / 2.0 || bytes == MOST {
                break took;
            }
            // Towards the wanted time, and never by much at once.
            let factor = (time.as_secs_f64() / took.max(1e-6)).clamp(2.0, 16.0);
            bytes = ((bytes as f64 * factor) as u64).min(MOST);
        };
        slower = slower.min(bytes as f64 * 8.0 / (took - trip).max(1e-9));
    }
    Ok((trip / 2.0, slower))
}

/// Seconds until a question is answered.
fn timed(stream: &mut TcpStream, kind: u8, bytes: u64, end: Instant) -> std::io::Result<f64> {
    let begin = Instant::now();
    let mut question = [kind; 9];
    question[1..].copy_from_slice(&bytes.to_be_bytes());
    stream.write_all(&question)?;
    match kind {
        GIVE => take(stream, bytes, end)?,
        _ => {
            let bytes = if kind == TAKE { bytes } else { 0 };
            give(stream, bytes, end)?;
            stream.read_exact(&mut [0])?;
        }
    }
    Ok(begin.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(answer: impl FnOnce(TcpStream) + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || answer(listener.accept().unwrap().0));
        at
    }

    #[test]
    fn links_are_measured() {
        let far = Instant::now() + Duration::from_secs(60);
        let at = listening(move |s| serve(s, far).unwrap());
        let (latency, bandwidth) = link(&at, Duration::from_millis(20)).unwrap();
        assert!(latency > 0.0 && latency < 1.0 && bandwidth > 1e6, "{latency} {bandwidth}");
    }

    #[test]
    fn strangers_are_refused() {
        let at = listening(|mut s| {
            let _ = s.write_all(b"HTTP/1.1 400");
        });
        let e = link(&at, Duration::from_millis(20)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidData);
        // Neither another greeting nor too many bytes are answered.
        let too_many = [&HELLO[..], &[GIVE], &u64::MAX.to_be_bytes()].concat();
        for bytes in [b"GET / HT".to_vec(), too_many] {
            let far = Instant::now() + Duration::from_secs(60);
            let (send, receive) = std::sync::mpsc::channel();
            let at = listening(move |s| send.send(serve(s, far)).unwrap());
            TcpStream::connect(at).unwrap().write_all(&bytes).unwrap();
            assert_eq!(receive.recv().unwrap().unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }
}
