//! Questions to name services while a configuration is read: each is put once, and all of
//! them together have one deadline.
//!
//! Hosts are not waited for where they are met: reading goes on as if they had no address,
//! then all are asked at the same time, and it is read once more with the answers. Users and
//! groups, whom every service has and who are near, are waited for, until one of them is
//! not answered: from then on they are asked as hosts are.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::question::{NameAnswer, NameQuestion};
use super::worker::{Asker, ask_together};

/// How long one question about an account is waited for where it is met.
const NEAR: Duration = Duration::from_secs(1);
/// What is left to questions that come up when the deadline is over: those that are
/// answered from a file are.
const GRACE: Duration = Duration::from_millis(500);

/// Questions and answers of one reading.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// None: in this process, which waits as long as it takes.
    by: Option<Instant>,
    /// None where nobody has answered in time.
    answers: RefCell<HashMap<NameQuestion, Option<NameAnswer>>>,
    /// Those that are still to be asked.
    open: RefCell<BTreeSet<NameQuestion>>,
    /// Who asks about accounts.
    near: RefCell<Option<Asker>>,
    /// Somebody has not answered about an account.
    is_slow: Cell<bool>,
}

impl Asking {
    /// Other processes ask, until then.
    pub(super) fn until(by: Instant) -> Self {
        Self { by: Some(by), ..Self::default() }
    }

    /// The answer; none if there is none yet, or will be none.
    pub(super) fn ask(&self, question: NameQuestion) -> Option<NameAnswer> {
        if let Some(known) = self.answers.borrow().get(&question) {
            return known.clone();
        }
        let answer = match self.by {
            None => Some(question.ask()),
            Some(by) if !question.is_far() && !self.is_slow.get() => self.ask_near(&question, by),
            Some(_) => None,
        };
        match &answer {
            Some(known) => _ = self.answers.borrow_mut().insert(question, Some(known.clone())),
            None => _ = self.open.borrow_mut().insert(question),
        }
        answer
    }

    fn ask_near(&self, question: &NameQuestion, by: Instant) -> Option<NameAnswer> {
        let mut near = self.near.borrow_mut();
        if near.is_none() {
            *near = match Asker::start() {
                Ok(asker) => Some(asker),
                // Without another process, it can only be asked here.
                Err(_) => return Some(question.ask()),
            };
        }
        let time = by.saturating_duration_since(Instant::now()).clamp(GRACE, NEAR);
        let answer = near.as_ref().and_then(|asker| asker.ask(question, time));
        if answer.is_none() {
            *near = None;
            self.is_slow.set(true);
        }
        answer
    }

    /// Asks what is open, all together. True if nothing was: what has been read is right.
    pub(super) fn settle(&self) -> bool {
        let open = self.open.take();
        if open.is_empty() {
            return true;
        }
        let now = Instant::now();
        let by = self.by.unwrap_or(now).max(now + GRACE);
        let mut answers = self.answers.borrow_mut();
        let unanswered = open.iter().map(|question| (question.clone(), None));
        answers.extend(unanswered);
        ask_together(open.into_iter().collect(), by, |question, answer| {
            answers.insert(question, Some(answer));
        });
        false
    }

    /// Whether nobody has answered this in time.
    pub(super) fn is_unanswered(&self, question: &NameQuestion) -> bool {
        matches!(self.answers.borrow().get(question), Some(None))
    }

    /// Whether nobody has said in time which groups a user has.
    pub(super) fn lacks_groups_of(&self, name: &str) -> bool {
        let is_it = |question: &NameQuestion| matches!(question, NameQuestion::GroupsOf(user, _) if user == name);
        let answers = self.answers.borrow();
        self.is_slow.get() && answers.iter().any(|(it, answer)| answer.is_none() && is_it(it))
    }
}
