//! The same checks where children are made by plain fork, as on kernels without the
//! faster way, and where the server has many descriptors.

use std::io::Write;
use std::process::Command;

use crate::child_checks;
use crate::common::control::upgrade;
use crate::common::{
    Folder, Setup, free_port, need_program, read_all, read_line, shell, tcp, tcp_line,
};

fn forking() -> Setup {
    Setup::new().arg("--spawn").arg("fork")
}

#[test]
fn under_fork_descriptors_are_0_1_and_2_only() {
    child_checks::descriptors_are_0_1_and_2_only(forking());
}

#[test]
fn under_fork_no_signal_is_blocked_ignored_or_caught() {
    child_checks::no_signal_is_blocked_ignored_or_caught(forking());
}

#[test]
fn under_fork_the_connection_is_in_blocking_mode() {
    child_checks::the_connection_is_in_blocking_mode(forking());
}

#[test]
fn under_fork_each_child_leads_its_own_session_and_group() {
    child_checks::each_child_leads_its_own_session_and_group(forking());
}

#[test]
fn under_fork_the_environment_of_a_tcp_program_is_exact() {
    child_checks::the_environment_of_a_tcp_program_is_exact(forking());
}

#[test]
fn under_fork_the_environment_of_a_udp_program_is_exact() {
    child_checks::the_environment_of_a_udp_program_is_exact(forking());
}

#[test]
fn under_fork_the_environment_of_a_unix_program_is_exact() {
    child_checks::the_environment_of_a_unix_program_is_exact(forking());
}

#[test]
fn under_fork_the_users_variables_are_the_passwd_entrys() {
    child_checks::the_users_variables_are_the_passwd_entrys(forking());
}

#[test]
fn under_fork_the_open_files_limit_is_the_one_the_server_was_started_with() {
    child_checks::the_open_files_limit_is_the_one_the_server_was_started_with(forking());
}

#[test]
fn under_fork_resource_limits_are_what_the_attributes_say() {
    child_checks::resource_limits_are_what_the_attributes_say(forking());
}

#[test]
fn under_fork_umask_folder_and_nice_have_their_defaults_and_are_settable() {
    child_checks::umask_folder_and_nice_have_their_defaults_and_are_settable(forking());
}

#[test]
fn under_fork_no_new_privs_is_set_where_asked_for_only() {
    child_checks::no_new_privs_is_set_where_asked_for_only(&forking());
}

#[test]
fn under_fork_argv_is_the_one_of_the_line() {
    child_checks::argv_is_the_one_of_the_line(forking());
}

#[test]
fn under_fork_a_program_that_cannot_be_executed_is_logged_as_such() {
    child_checks::a_program_that_cannot_be_executed_is_logged_as_such(forking());
}

#[test]
fn under_fork_standard_error_is_logged_and_the_connection_works_both_ways() {
    child_checks::standard_error_is_logged_and_the_connection_works_both_ways(forking());
}

/// A server with so many descriptors that its children do not copy them.
fn among_many() -> Setup {
    Setup::new().among(150)
}

#[test]
fn among_many_descriptors_are_0_1_and_2_only() {
    child_checks::descriptors_are_0_1_and_2_only(among_many());
}

#[test]
fn among_many_the_connection_is_in_blocking_mode() {
    child_checks::the_connection_is_in_blocking_mode(among_many());
}

#[test]
fn among_many_each_child_leads_its_own_session_and_group() {
    child_checks::each_child_leads_its_own_session_and_group(among_many());
}

#[test]
fn among_many_the_environment_of_a_udp_program_is_exact() {
    child_checks::the_environment_of_a_udp_program_is_exact(among_many());
}

#[test]
fn among_many_a_program_that_cannot_be_executed_is_logged_as_such() {
    child_checks::a_program_that_cannot_be_executed_is_logged_as_such(among_many());
}

#[test]
fn among_many_standard_error_is_logged_and_the_connection_works_both_ways() {
    child_checks::standard_error_is_logged_and_the_connection_works_both_ways(among_many());
}

#[test]
fn among_many_a_hundred_at_once_each_get_their_own_connection() {
    let port = free_port();
    let script = shell("echo $TCPREMOTEPORT; exec cat");
    let text = tcp_line(port, &script) + "    instances = unlimited\n";
    let daemon = among_many().start(&text);
    let mut clients: Vec<_> = (0..100).map(|_| tcp(port)).collect();
    for client in &mut clients {
        let own = client.local_addr().unwrap().port();
        assert_eq!(read_line(client), format!("{own}\n"));
    }
    for client in clients {
        let own = client.local_addr().unwrap().port();
        let mut writer = client.try_clone().unwrap();
        writeln!(writer, "to {own}").unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read_all(client), format!("to {own}\n"));
    }
    let _ = daemon.wait_count(100, |line| line.about("ended", port));
    daemon.wait_childless();
}

const THREAD: &str = r"
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
static void *rest(void *nothing) { for (;;) pause(); return nothing; }
__attribute__((constructor)) static void begin(void) {
    sigset_t all, before;
    pthread_t it;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_create(&it, 0, rest, 0);
    pthread_sigmask(SIG_SETMASK, &before, 0);
}
";

/// What emulates another processor has threads, which are there before anything of ours.
#[test]
fn threads_of_others_are_left_alone_and_programs_are_forked() {
    if !need_program("cc") {
        return;
    }
    let folder = Folder::new();
    let (source, library) = (folder.write("thread.c", THREAD), folder.name("thread.so"));
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-pthread", "-o", &library]).arg(source);
    assert!(cc.status().unwrap().success());
    let port = free_port();
    let setup = Setup::new().controlled().env("LD_PRELOAD", &library);
    let daemon = setup.start_in(folder, &tcp_line(port, "/bin/echo echo hello"));
    let tasks = || std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().count();
    for _ in 0..2 {
        assert_eq!(tasks(), 2);
        assert_eq!(read_all(tcp(port)), "hello\n");
        let _ = daemon.reload(&tcp_line(port, "/bin/echo echo hello"));
        upgrade(&daemon);
    }
    let ways = daemon.said("spawning");
    assert!(ways.iter().all(|line| line.get("way") == Some("forking")), "{ways:?}");
}
