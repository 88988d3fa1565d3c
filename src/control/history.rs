//! What `status --watch` has seen: how often clients were let in, look after look. Whoever
//! watches keeps that; the server counts, and remembers nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::answer::{ServiceStatus, Status};

/// How many looks are remembered, which is as wide as a plot is.
pub(crate) const LOOKS: usize = 20;

/// From one look at a server to the next.
#[derive(Debug, Default)]
pub struct History {
    last: Option<Look>,
    rates: BTreeMap<String, VecDeque<Option<f64>>>,
}

/// The counters at one moment.
#[derive(Debug)]
struct Look {
    at: Duration,
    server: (u32, u64),
    counted: BTreeMap<String, u64>,
}

impl History {
    /// A look at everything, at a moment of any clock that only goes forward.
    pub fn see(&mut self, at: Duration, status: &Status) {
        let mut counted = counted(&status.services);
        counted.insert(String::new(), status.accepted);
        self.note(Look { at, server: (status.pid, status.started), counted });
    }

    /// The same of one service.
    pub fn see_service(&mut self, at: Duration, service: &ServiceStatus) {
        let services = [std::slice::from_ref(service), &service.others].concat();
        self.note(Look { at, server: (0, 0), counted: counted(&services) });
    }

    fn note(&mut self, look: Look) {
        // After a restart everything begins afresh.
        let last = self.last.take().filter(|last| last.server == look.server);
        self.rates.retain(|name, _| look.counted.contains_key(name));
        for (name, count) in &look.counted {
            let rate = last.as_ref().and_then(|last| {
                let more = count.checked_sub(*last.counted.get(name)?)?;
                let time = look.at.checked_sub(last.at)?.as_secs_f64();
                (time > 0.0).then_some(precise(more) / time)
            });
            let rates = self.rates.entry(name.clone()).or_default();
            if rates.len() == LOOKS {
                rates.pop_front();
            }
            rates.push_back(rate);
        }
        self.last = Some(look);
    }

    /// Starts a second since the last looks at the server, the newest one last.
    pub fn of_all(&self) -> Vec<Option<f64>> {
        self.of("")
    }

    /// Likewise of one service.
    pub fn of_service(&self, service: &ServiceStatus) -> Vec<Option<f64>> {
        self.of(&key(service))
    }

    fn of(&self, name: &str) -> Vec<Option<f64>> {
        self.rates.get(name).map(|rates| rates.iter().copied().collect()).unwrap_or_default()
    }
}

/// Several services may have one label, and then they have different addresses.
fn key(service: &ServiceStatus) -> String {
    format!("{} {}", service.service, service.addresses.join(" "))
}

fn counted(services: &[ServiceStatus]) -> BTreeMap<String, u64> {
    services.iter().map(|service| (key(service), service.accepted)).collect()
}

/// No counter of ours is greater than what this has digits for.
fn precise(number: u64) -> f64 {
    u32::try_from(number).map_or(f64::from(u32::MAX), f64::from)
}

/// How plots are drawn: by blocks, where the terminal has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pen {
    /// `▁▂▃▄▅▆▇`
    Blocks,
    /// `_.:-=+#`
    Ascii,
}

impl Pen {
    /// Its strokes, from nothing at all to the most.
    fn strokes(self) -> [char; 7] {
        match self {
            Self::Blocks => ['▁', '▂', '▃', '▄', '▅', '▆', '▇'],
            Self::Ascii => ['_', '.', ':', '-', '=', '+', '#'],
        }
    }

    /// A character for each value, the last `width` of them; a blank for what is not known.
    #[must_use]
    pub fn plot(self, values: &[Option<f64>], width: usize) -> String {
        let shown = values.get(values.len().saturating_sub(width)..).unwrap_or_default();
        let most = shown.iter().flatten().fold(0.0, |most: f64, value| most.max(*value));
        let missing = width.saturating_sub(shown.len());
        let strokes = shown.iter().map(|value| value.map_or(' ', |it| self.stroke(it, most)));
        std::iter::repeat_n(' ', missing).chain(strokes).collect()
    }

    /// What is more than nothing is seen.
    fn stroke(self, value: f64, most: f64) -> char {
        let strokes = self.strokes();
        let steps = (1u8..).zip(strokes.iter().skip(1));
        let reached = steps.filter(|(step, _)| value * 6.0 > most * f64::from(step - 1));
        let highest = reached.last().filter(|_| value > 0.0).map(|(_, stroke)| *stroke);
        highest.unwrap_or(strokes[0])
    }
}

/// How what was seen is shown.
#[derive(Debug, Clone, Copy)]
pub struct WatchedRates<'a> {
    /// What.
    pub history: &'a History,
    /// By whom it is drawn.
    pub pen: Pen,
    /// How wide a plot is.
    pub width: usize,
}

impl WatchedRates<'_> {
    /// The last rate and a plot of all: ` 0.5 __#_`; nothing before the second look.
    pub fn shown(&self, rates: &[Option<f64>]) -> String {
        let now = rates.last().copied().flatten().map(rate).unwrap_or_default();
        format!("{now:>5} {}", self.pen.plot(rates, self.width))
    }
}

/// `0`, `0.3`, `12`.
pub(crate) fn rate(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value < 9.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    #[test]
    fn the_most_is_highest_and_a_little_is_seen() {
        let values = [None, Some(0.0), Some(0.01), Some(3.0), Some(6.0)];
        assert_eq!(Pen::Blocks.plot(&values, 5), " ▁▂▄▇");
        assert_eq!(Pen::Ascii.plot(&values, 7), "   _.-#");
        assert_eq!(Pen::Ascii.plot(&values, 2), "-#");
        assert_eq!(Pen::Blocks.plot(&[Some(0.0); 3], 3), "▁▁▁");
        assert_eq!([0.0, 0.04, 9.94, 12.4].map(rate), ["0", "0.0", "9.9", "12"]);
    }

    #[test]
    fn rates_are_what_came_between_two_looks() {
        let mut history = History::default();
        let look = |at, pid, count| Look {
            at: Duration::from_secs(at),
            server: (pid, 0),
            counted: BTreeMap::from([("a".to_owned(), count)]),
        };
        for (at, pid, count) in [(0, 1, 5), (2, 1, 9), (4, 1, 9), (6, 2, 3), (8, 2, 2), (10, 2, 3)]
        {
            history.note(look(at, pid, count));
        }
        // Nobody knows what was before the first look, and at a restart.
        assert_eq!(history.of("a"), [None, Some(2.0), Some(0.0), None, None, Some(0.5)]);
        history.note(Look { counted: BTreeMap::new(), ..look(12, 2, 0) });
        assert_eq!(history.of("a"), []);
    }

    proptest! {
        #[test]
        fn a_plot_is_as_wide_as_it_is_said(values: Vec<Option<f64>>, width in 0usize..40) {
            for pen in [Pen::Blocks, Pen::Ascii] {
                let plot = pen.plot(&values, width);
                prop_assert_eq!(plot.chars().count(), width);
                prop_assert!(pen == Pen::Blocks || plot.is_ascii());
            }
        }

        #[test]
        fn no_more_looks_are_kept_than_are_shown(counts: Vec<u64>) {
            let mut history = History::default();
            for (at, count) in (0u64..).zip(counts) {
                let counted = BTreeMap::from([("a".to_owned(), count)]);
                history.note(Look { at: Duration::from_secs(at), server: (1, 1), counted });
                prop_assert!(history.of("a").len() <= LOOKS);
            }
        }
    }
}
