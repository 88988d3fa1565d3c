use std::cell::RefCell;

use super::*;
use crate::config::model::{Action, Program, Service};
use crate::sys::capabilities::Own;

fn prepared(path: &str) -> Rc<Prepared> {
    let program = Program { path: path.into(), argv: vec!["any".into()] };
    let service = Service::unwritten("any", Action::Program(program.clone()));
    let server = ServerFacts {
        nofile: None,
        nice: 0,
        umask: 0o022,
        groups: Vec::new(),
        ids: (None, None),
        capabilities: Own::default(),
        in_root: true,
        environment: Vec::new(),
        last: RefCell::default(),
    };
    Rc::new(Prepared::new(&service, &program, &server, Confinement::in_group(None)).unwrap())
}

#[test]
fn one_service_cannot_have_all_slots() {
    let (greedy, other) = (prepared("/bin/cat"), prepared("/bin/date"));
    let all = |count| std::iter::repeat_n(&greedy, count).chain([&other]);
    assert!(!are_a_share(all(PER_SERVICE - 1), &greedy));
    assert!(are_a_share(all(PER_SERVICE), &greedy));
    assert!(!are_a_share(all(PER_SERVICE), &other));
}

#[test]
fn who_has_said_why_it_failed_and_was_killed_is_not_heard_of_again() {
    let mut spawner = Spawner::new(Way::Forking).unwrap();
    let said = Failure { stage: Stage::Exec, errno: libc::ENOENT };
    spawner.take_over([(7, said), (8, said)].into_iter(), None);
    spawner.forget_failure(7);
    assert_eq!(spawner.failure_of(7), None, "the next one with this pid");
    assert_eq!(spawner.failure_of(8), Some(said));
}
