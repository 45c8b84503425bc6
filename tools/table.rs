//! Tables for people: a rule below the header, and numbers to the right.

use std::fmt;

use comfy_table::{CellAlignment, LineStyle, Row, Table, TableStyle};

/// A table in the making.
pub struct Rows(Table);

/// A table with this header.
pub fn rows(header: &[&str]) -> Rows {
    let mut t = Table::new();
    let below = LineStyle::none().fill('─').junction('─');
    t.load_style(TableStyle::new().header_separator(below));
    t.set_header(header);
    Rows(t)
}

impl Rows {
    /// Adds a row.
    pub fn add_row(&mut self, row: impl Into<Row>) {
        self.0.add_row(row);
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut t = self.0.clone();
        for i in 0..t.column_count() {
            let cells = self.0.column_cells_iter(i).flatten().map(|c| c.content());
            // A number and its unit.
            let number = |c: &str| {
                let digit =
                    c.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit());
                digit && c.split(' ').count() <= 2
            };
            if cells.filter(|c| !c.is_empty()).all(|c| number(&c))
                && let Some(column) = t.column_mut(i)
            {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        t.fmt(f)
    }
}

/// A count with three digits and a unit, as people write MACs and parameters: `2.89 G`.
pub fn scaled(n: u64) -> String {
    let (scale, unit) = match n {
        0..10_000 => return n.to_string(),
        10_000..1_000_000 => (1e3, "k"),
        1_000_000..1_000_000_000 => (1e6, "M"),
        _ => (1e9, "G"),
    };
    let x = n as f64 / scale;
    let digits = match x {
        x if x < 10.0 => 2,
        x if x < 100.0 => 1,
        _ => 0,
    };
    format!("{x:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right() {
        let mut t = rows(&["block", "bytes"]);
        t.add_row(["a", "7.19 MiB"]);
        t.add_row(["long", "22.41 MiB"]);
        let want =
            " block  bytes     \n───────────────────\n a       7.19 MiB \n long   22.41 MiB ";
        let text = t.to_string();
        assert_eq!(text.replace(' ', ""), want.replace(' ', ""));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].trim_end().len() == lines[3].trim_end().len(), "{text}");
    }
}
