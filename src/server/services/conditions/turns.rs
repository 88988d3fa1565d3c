//! When the server looks at the clock and the load, and for whom.

use std::time::Duration;

use nix::sys::sysinfo::sysinfo;

use super::minute_of_day;
use crate::reload::Overview;
use crate::server::Server;

/// The load average of a minute does not change faster.
const LOAD_AGE: Duration = Duration::from_secs(5);

impl Server {
    /// After the services have changed: what do they ask for?
    pub(in crate::server::services) fn look_what_to_observe(&mut self, overview: &Overview) {
        self.services.conditions.asks_for_time = overview.asks_for_time;
        self.services.conditions.asks_for_load = overview.asks_for_load;
        self.observe();
    }

    /// At the beginning of a turn.
    pub(in crate::server) fn observe(&mut self) {
        if self.services.conditions.asks_for_time {
            self.services.conditions.minute_of_day = minute_of_day(self.clock());
        }
        let old = |seen| self.reactor.now.saturating_duration_since(seen) >= LOAD_AGE;
        if self.services.conditions.asks_for_load
            && self.services.conditions.load_seen.is_none_or(old)
        {
            self.services.conditions.load_seen = Some(self.reactor.now);
            // The call fails for a wrong pointer only.
            self.services.conditions.load = sysinfo().map_or(0.0, |system| system.load_average().0);
        }
    }
}
