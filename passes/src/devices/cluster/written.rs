//! Parts of a `cluster.toml` as text, and clusters of wireless nodes by their positions.

use super::cluster_file::Cluster;
use super::error::PositionsError;

/// A `[[link]]` of `cluster.toml` between two devices, of so many bit/s and seconds.
pub fn link_table(between: [&str; 2], bandwidth: f64, latency: f64) -> String {
    let [a, b] = between.map(quoted);
    let mut text =
        format!("[[link]]\nbetween = [{a}, {b}]\nbandwidth = \"{:.3}Mbit/s\"\n", bandwidth / 1e6);
    if latency > 0.0 {
        text.push_str(&format!("latency = \"{:.3}ms\"\n", latency * 1e3));
    }
    text
}

/// A string of TOML. What JSON escapes, TOML does, too, in the same way.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Bandwidth in bit/s between wireless nodes at two places, in metres: log2(1 + 283230 / d²) Mibit/s
/// at the distance d, by Shannon's capacity with free-space loss; `None` at the same place.
///
/// Source: Parthasarathy and Krishnamachari, "SEIFER" (2022).
pub fn wireless_bandwidth(a: (f64, f64), b: (f64, f64)) -> Option<f64> {
    /// Ratio of signal to noise at 1 m.
    const SNR_AT_1_M: f64 = 283_230.0;
    const MEBI: f64 = 1_048_576.0;
    let square = (a.0 - b.0).powi(2) + (a.1 - b.1).powi(2);
    (square > 0.0).then(|| (1.0 + SNR_AT_1_M / square).log2() * MEBI)
}

/// A `cluster.toml` of like wireless nodes by a CSV with the columns `name`, `x` and `y`, in
/// metres. `memory` is as in `cluster.toml`, and `rate` is in multiply-accumulates a second.
///
/// # Errors
/// The column that is missing, or the line, node or quantity that is wrong.
pub fn cluster_at(positions: &str, memory: &str, rate: f64) -> Result<String, PositionsError> {
    let syntax = |e: csv::Error| PositionsError::Syntax(e.to_string());
    let mut rows = csv::Reader::from_reader(positions.as_bytes());
    let header = rows.headers().map_err(syntax)?.clone();
    let column = |name: &'static str| {
        let at = header.iter().position(|h| h.trim() == name);
        at.ok_or(PositionsError::MissingColumn(name))
    };
    let (name, x, y) = (column("name")?, column("x")?, column("y")?);
    let mut nodes: Vec<(String, (f64, f64))> = Vec::new();
    for row in rows.records() {
        let row = row.map_err(syntax)?;
        let line = row.position().map_or(0, csv::Position::line);
        let cell = |i: usize| row.get(i).unwrap_or("").trim();
        let metres = |i: usize| {
            let place = cell(i).parse::<f64>().ok().filter(|x| x.abs() <= MOST_METRES);
            place.ok_or_else(|| PositionsError::Place { line, cell: cell(i).into() })
        };
        nodes.push((cell(name).to_owned(), (metres(x)?, metres(y)?)));
        if nodes.len() > MOST_NODES {
            return Err(PositionsError::TooMany(MOST_NODES));
        }
    }
    let mut text = String::new();
    for (name, _) in &nodes {
        let (name, memory) = (quoted(name), quoted(memory));
        text.push_str(&format!(
            "[[device]]\nname = {name}\nmemory = {memory}\nmacs-per-second = {rate:e}\n"
        ));
    }
    for (i, (a, from)) in nodes.iter().enumerate() {
        for (b, to) in &nodes[i + 1..] {
            let same = || PositionsError::SamePlace(a.clone(), b.clone());
            let bandwidth = wireless_bandwidth(*from, *to).ok_or_else(same)?;
            text.push_str(&link_table([a, b], bandwidth, 0.0));
        }
    }
    Cluster::parse(&text)?;
    Ok(text)
}

/// Farthest place from the origin in metres, where links still have 1 bit/s.
const MOST_METRES: f64 = 1e5;

/// Most nodes, as there are links between all of them.
const MOST_NODES: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_nodes_have_faster_links() {
        let text = cluster_at("name,x,y\na,1,1\nb,4,5\n\"c\"\"\",100,1\n", "32MiB", 1e9).unwrap();
        let c = Cluster::parse(&text).unwrap();
        assert_eq!((c.devices.len(), &*c.devices[2].name), (3, "c\""));
        let mbit = |i: usize| (c.links[i].unwrap().bandwidth / 1e3).round() / 1e3;
        // log2(1 + 283230 / 25) Mibit/s over 5 m.
        assert_eq!((mbit(1), mbit(3)), (14.122, 14.122));
        assert!(mbit(2) < mbit(1));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, what) in [
            ("name,x\na,1\n", "expected a column y"),
            ("name,x,y\na,1,north\n", "line 2: expected metres"),
            ("name,x,y\na,1,2\nb,1,2\n", "a and b are at the same place"),
            ("name,x,y\na,1,2\na,1,3\n", "two devices are called a"),
            ("name,x,y\n", "expected at least one [[device]]"),
        ] {
            let e = cluster_at(text, "32MiB", 1e9).unwrap_err().to_string();
            assert!(e.contains(what), "{what}: {e}");
        }
        assert!(cluster_at("name,x,y\na,1,2\n", "32", -1.0).is_err());
    }
}
