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
fn one_service_cannot_have_all_blocks() {
    let mut spawner = Spawner::new(Way::Forking).unwrap();
    let (greedy, other) = (prepared("/bin/cat"), prepared("/bin/date"));
    for pid in 1..=PER_SERVICE {
        assert!(!spawner.has_its_share(&greedy));
        let block = spawner.blocks.take(ChildSlot::new).unwrap();
        let (pid, prepared) = (i32::try_from(pid).unwrap(), Some(Rc::clone(&greedy)));
        spawner.in_flight.push(InFlight { pid, prepared, block, channel: None });
    }
    assert!(spawner.has_its_share(&greedy));
    assert!(!spawner.has_its_share(&other));
    assert!(spawner.blocks.take(ChildSlot::new).is_some(), "there are some for others");
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
