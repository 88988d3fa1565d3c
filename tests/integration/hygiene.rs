//! The state a program starts in: descriptors, signals, session, environment, limits.

use crate::child_checks;
use crate::common::Setup;

#[test]
fn descriptors_are_0_1_and_2_only() {
    child_checks::descriptors_are_0_1_and_2_only(Setup::new());
}

#[test]
fn no_signal_is_blocked_ignored_or_caught() {
    child_checks::no_signal_is_blocked_ignored_or_caught(Setup::new());
}

#[test]
fn the_connection_is_in_blocking_mode() {
    child_checks::the_connection_is_in_blocking_mode(Setup::new());
}

#[test]
fn each_child_leads_its_own_session_and_group() {
    child_checks::each_child_leads_its_own_session_and_group(Setup::new());
}

#[test]
fn the_environment_of_a_tcp_program_is_exact() {
    child_checks::the_environment_of_a_tcp_program_is_exact(Setup::new());
}

#[test]
fn the_environment_of_a_udp_program_is_exact() {
    child_checks::the_environment_of_a_udp_program_is_exact(Setup::new());
}

#[test]
fn the_environment_of_a_unix_program_is_exact() {
    child_checks::the_environment_of_a_unix_program_is_exact(Setup::new());
}

#[test]
fn the_users_variables_are_the_passwd_entrys() {
    child_checks::the_users_variables_are_the_passwd_entrys(Setup::new());
}

#[test]
fn the_open_files_limit_is_the_one_the_server_was_started_with() {
    child_checks::the_open_files_limit_is_the_one_the_server_was_started_with(Setup::new());
}

#[test]
fn resource_limits_are_what_the_attributes_say() {
    child_checks::resource_limits_are_what_the_attributes_say(Setup::new());
}

#[test]
fn umask_folder_and_nice_have_their_defaults_and_are_settable() {
    child_checks::umask_folder_and_nice_have_their_defaults_and_are_settable(Setup::new());
}

#[test]
fn no_new_privs_is_set_where_asked_for_only() {
    child_checks::no_new_privs_is_set_where_asked_for_only(&Setup::new());
}

#[test]
fn argv_is_the_one_of_the_line() {
    child_checks::argv_is_the_one_of_the_line(Setup::new());
}
