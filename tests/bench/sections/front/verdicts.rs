//! What was to be reached, and whether it was.

use crate::figures::Table;

/// One line for each target.
pub(super) struct Verdicts(Table);

impl Verdicts {
    pub(super) fn new() -> Self {
        Self(Table::new("front: targets", &["figure", "is", "wanted", ""]))
    }

    pub(super) fn at_least(&mut self, what: &str, value: f64, wanted: f64) {
        self.row(what, value, format!(">= {wanted}"), value >= wanted);
    }

    pub(super) fn at_most(&mut self, what: &str, value: f64, wanted: f64) {
        self.row(what, value, format!("<= {wanted}"), value <= wanted);
    }

    fn row(&mut self, what: &str, value: f64, wanted: String, met: bool) {
        let met = if met { "met" } else { "missed" };
        self.0.row([what.to_owned(), format!("{value:.2}"), wanted, met.to_owned()]);
    }

    pub(super) fn print(&self) {
        self.0.print();
    }
}
