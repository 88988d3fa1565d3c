//! An upgrade in the turns of the loop: tried out, judged, executed.

use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::{Duration, Instant};

use super::Trying;
use crate::control::answer::{self, RequestRefusal};
use crate::log::{events, sink};
use crate::server::Server;
use crate::server::control::connection::ControlStage;
use crate::server::programs::watching::Tidy;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;
use crate::upgrade::executable;
use crate::upgrade::{UpgradeRefusal, snapshot};

/// How long a trial may take: it reads the configuration, and names may be slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// How soon a trial that has said everything is looked at again.
const LOOK: Duration = Duration::from_millis(10);

/// How soon, and how often, it is looked whether children that are just being made have
/// become their programs.
const SETTLING: Duration = Duration::from_millis(1);

const LOOKS: u32 = 1000;

impl Server {
    /// To be kept open for whoever goes on in our place: the locked pid file.
    pub(crate) fn keep_pid_file(&mut self, number: RawFd) {
        self.upgrading.pid_file = Some(number);
    }

    /// `upgrade`: the answer comes from the new program, or says why there is none.
    pub(in crate::server) fn upgrade_for(&mut self, key: Key) {
        if let Some(reason) = self.why_no_upgrade() {
            let error = reason.to_string();
            events::upgrade_refused(&error);
            return self.send_answer(key, answer::line(&RequestRefusal { error }));
        }
        if let Some(connection) = self.control.connections.get_mut(key) {
            connection.stage = ControlStage::AwaitsUpgrade;
        }
        events::upgrading(self.upgrading.image.path());
        if let Err(error) = self.begin_trial() {
            self.refuse_execution(error);
        }
    }

    fn why_no_upgrade(&self) -> Option<UpgradeRefusal> {
        let under_way = self.upgrading.trial.is_some() || self.upgrading.tried.is_some();
        if under_way {
            return Some(UpgradeRefusal::UnderWay);
        }
        (self.life.drain.is_announced() || self.life.stop.is_some())
            .then_some(UpgradeRefusal::Draining)
    }

    fn begin_trial(&mut self) -> io::Result<()> {
        let state = self.save_state(None);
        let image = &self.upgrading.image;
        let trial = self.facts.reserve.with(|| image.try_out(snapshot::pack(&state)?))?;
        let deadline = self.reactor.now + PATIENCE;
        let descriptor = trial.as_raw_fd();
        self.upgrading.trial = Some(Trying { trial, deadline, late: false });
        self.reactor.timers.set(deadline, Timer::Trial);
        self.reactor.watch(&descriptor, Owner::Trial)
    }

    /// The trial has said something or has ended, or has had its time.
    pub(in crate::server) fn look_at_trial(&mut self) {
        let now = self.reactor.now;
        let Some(trying) = &mut self.upgrading.trial else { return };
        match trying.trial.look() {
            None if trying.late => self.reactor.after(LOOK, Timer::Trial),
            None if trying.deadline <= now => {
                trying.late = true;
                trying.trial.kill();
                self.reactor.after(LOOK, Timer::Trial);
            }
            None if trying.trial.is_unannounced() => self.reactor.after(LOOK, Timer::Trial),
            None => {}
            Some(verdict) => {
                let late = trying.late;
                self.reactor.timers.cancel(trying.deadline, Timer::Trial);
                self.upgrading.trial = None;
                match verdict {
                    _ if late => self.refuse_upgrade(&UpgradeRefusal::Late(PATIENCE)),
                    Ok(()) => self.upgrading.tried = Some(0),
                    Err(reason) => self.refuse_upgrade(&reason),
                }
            }
        }
    }

    /// The program that runs goes on, and whoever asked is told why.
    fn refuse_upgrade(&mut self, reason: &UpgradeRefusal) {
        self.upgrading.tried = None;
        let error = reason.to_string();
        events::upgrade_refused(&error);
        self.answer_upgrade(&answer::line(&RequestRefusal { error }));
    }

    fn refuse_execution(&mut self, error: io::Error) {
        let program = self.upgrading.image.path().to_owned();
        self.refuse_upgrade(&UpgradeRefusal::Program(program, error));
    }

    /// Tells everybody who waits for it how the upgrade has ended.
    pub(in crate::server::upgrade) fn answer_upgrade(&mut self, words: &[u8]) {
        self.answer_those(|stage| stage == ControlStage::AwaitsUpgrade, words);
    }

    /// At the end of a turn: has the trial gone well, and is this a good moment?
    pub(in crate::server) fn upgrade_if_tried(&mut self) {
        let Some(looks) = self.upgrading.tried else { return };
        if self.life.drain.is_announced() || self.life.stop.is_some() {
            return self.refuse_upgrade(&UpgradeRefusal::Draining);
        }
        if !self.reloading.is_idle() {
            return self.reactor.after(LOOK, Timer::Trial);
        }
        // One that still shares our memory would keep it, but what becomes of it before it
        // is its program would not be known. Whoever is held is let in or not in a moment.
        let is_settled = self.connectors_are_gone()
            && self.programs.spawner.is_settled()
            && self.sessions.holding.is_empty()
            && self.sessions.fronting.len() == 0;
        if !is_settled && looks < LOOKS {
            self.upgrading.tried = Some(looks.saturating_add(1));
            return self.reactor.after(SETTLING, Timer::Trial);
        }
        self.services.naming.stop();
        self.tidy(Tidy::Everything);
        self.close_all_that_ended();
        self.turn_held_away();
        for key in self.services.all.keys() {
            self.services.log_all_refusals(key);
        }
        // The next begins with the whole limit, too.
        let reserve = self.facts.reserve;
        let error = reserve.with(|| self.execute()).unwrap_or_else(|error| error);
        self.refuse_execution(error);
        self.services.expect_names(&mut self.reactor);
    }

    /// Comes back only with an error; everything is as before then.
    fn execute(&mut self) -> io::Result<io::Error> {
        self.upgrading.began = Instant::now();
        let own = executable::open_own()?;
        sink::flush();
        let state = self.save_state(Some(own.as_raw_fd()));
        let parcel = snapshot::pack(&state)?;
        let kept = [own.as_raw_fd(), parcel.as_raw_fd()];
        let kept: Vec<RawFd> = state.descriptors.iter().copied().chain(kept).collect();
        let open = kept.iter().try_for_each(|number| executable::stay_open(*number, true));
        let error = match open {
            Ok(()) => {
                // The new program says when it is over.
                self.reload_begins();
                let error = self.upgrading.image.execute(&snapshot::invite(&parcel, &own));
                self.announce();
                error
            }
            Err(error) => error,
        };
        for number in kept {
            executable::stay_open(number, false)?;
        }
        Ok(error)
    }
}
