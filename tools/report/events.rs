//! Times as trace events, which Perfetto and Chrome's `about:tracing` read ("Trace Event Format").

use serde_json::{Value, json};

use super::split::SpanRow;

/// A trace: a name for each row, and what happens on it.
#[derive(Default)]
pub struct Events {
    rows: Vec<String>,
    events: Vec<Value>,
}

impl Events {
    /// Adds what happens on a row, from one time to another in seconds.
    pub fn add(&mut self, row: &str, name: &str, (begin, end): (f64, f64), args: Value) {
        let known = self.rows.iter().position(|r| r == row);
        let at = known.unwrap_or_else(|| {
            self.rows.push(row.to_owned());
            self.rows.len() - 1
        });
        // The format counts microseconds.
        self.events.push(json!({
            "name": name, "ph": "X", "pid": 1, "tid": at + 1,
            "ts": begin * 1e6, "dur": (end - begin) * 1e6, "args": args,
        }));
    }

    /// The file, with `process` as the name of it all.
    pub fn text(self, process: &str) -> String {
        let named = |what: &str, tid: usize, name: &str| json!({ "name": what, "ph": "M", "pid": 1, "tid": tid, "args": { "name": name } });
        let mut all = vec![named("process_name", 0, process)];
        for (i, row) in self.rows.iter().enumerate() {
            all.push(named("thread_name", i + 1, row));
            let order = json!({ "sort_index": i });
            all.push(json!({
                "name": "thread_sort_index", "ph": "M", "pid": 1, "tid": i + 1, "args": order,
            }));
        }
        all.extend(self.events);
        let trace = json!({ "traceEvents": all, "displayTimeUnit": "ms" });
        format!("{trace:#}\n")
    }
}

/// What devices and links do.
pub fn of_spans(spans: &[SpanRow]) -> Events {
    let mut events = Events::default();
    for s in spans.iter().filter(|s| !s.link).chain(spans.iter().filter(|s| s.link)) {
        let row = if s.link { format!("link {}", s.on) } else { s.on.clone() };
        let args = json!({ "frame": s.frame, "stage": s.stage });
        events.add(&row, &format!("frame {}", s.frame), (s.begin_s, s.end_s), args);
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_has_a_row() {
        let span = |on: &str, link, begin_s, end_s| SpanRow {
            on: on.into(),
            link,
            stage: Some(0),
            frame: 0,
            begin_s,
            end_s,
        };
        let spans = [span("wifi", true, 0.0, 0.5), span("camera", false, 0.5, 1.0)];
        let read: Value = serde_json::from_str(&of_spans(&spans).text("plan")).unwrap();
        let events = read["traceEvents"].as_array().unwrap();
        let names: Vec<&str> = events.iter().filter_map(|e| e["args"]["name"].as_str()).collect();
        assert_eq!(names, ["plan", "camera", "link wifi"]);
        let bars: Vec<&Value> = events.iter().filter(|e| e["ph"] == "X").collect();
        assert_eq!(bars[0]["ts"], 500_000.0);
        assert_eq!(bars[1]["dur"], 500_000.0);
    }
}
