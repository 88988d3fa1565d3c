//! Tables as wide as what is in them.

use std::fmt::Write as _;

use super::text::printable;

/// Rows of cells, under the words of the first one.
pub(super) struct Rows(Vec<Vec<String>>);

impl Rows {
    pub(super) fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(|word| (*word).to_owned()).collect()])
    }

    pub(super) fn add(&mut self, row: &[String]) {
        self.0.push(row.iter().map(|cell| printable(cell)).collect());
    }

    /// Columns of numbers stand to the right, the last column is as wide as it likes.
    pub(super) fn render(&self) -> String {
        let columns = self.0.first().map_or(0, Vec::len);
        let widths: Vec<usize> = (0..columns).map(|column| self.width(column)).collect();
        let numbers: Vec<bool> = (0..columns).map(|column| self.has_numbers(column)).collect();
        let mut out = String::new();
        for row in &self.0 {
            let mut line = String::new();
            for ((cell, width), numbers) in row.iter().zip(&widths).zip(&numbers) {
                let gap = if line.is_empty() { "" } else { "  " };
                let _ = match numbers {
                    true => write!(line, "{gap}{cell:>width$}"),
                    false => write!(line, "{gap}{cell:<width$}"),
                };
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    /// In all rows below the head.
    fn has_numbers(&self, column: usize) -> bool {
        let mut cells = self.0.iter().skip(1).filter_map(|row| row.get(column));
        cells.all(|cell| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit()))
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.0.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    }
}
