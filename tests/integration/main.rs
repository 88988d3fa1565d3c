//! Everything a user can do, done as the user would: the real binary, a real
//! configuration, a real client, the real program.

#![cfg_attr(
    not(feature = "tls"),
    allow(dead_code, unused_imports, reason = "what tests of TLS use is there, and they are not")
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the tests' own threads read logs and put load on; only the server must not have any"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a failed helper is a failed test, and the message belongs on standard error"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../src/config/tests/fake.rs"]
mod fake;

mod access;
mod adopting;
mod answer_rate;
mod answer_schema;
mod answers;
mod apart;
mod background;
mod balance;
mod banners;
mod beside;
mod beside_xinetd;
mod broken_calls;
mod budget;
mod builtin;
mod calling;
mod cgroups;
mod child_checks;
mod circles;
mod class_notes;
mod closing_waits;
mod command_line;
mod completion;
mod config_properties;
mod confinement;
mod containers;
mod controlling;
mod dashboards;
mod descriptors;
mod dgram;
mod dgram_addresses;
mod dgram_unix;
mod dialects;
mod docs;
mod docs_of_others;
mod draining;
mod drop_in;
mod drop_in_files;
mod drop_in_likeness;
mod fairness;
mod feeding;
mod first_mistakes;
#[cfg(feature = "tls")]
mod front_limits;
mod full_descriptors;
mod fuzz_inputs;
mod golden;
#[cfg(feature = "tls")]
mod hanging_workers;
mod hostile_clients;
mod hygiene;
mod idle_exit;
mod idling;
mod keepalive;
mod layering;
mod leftovers;
mod limits;
mod lingering;
mod lingering_at_workers;
mod link_local;
mod loading;
mod loading_first;
mod log_bounds;
mod log_files;
mod log_json;
mod log_order;
mod log_targets;
mod logging;
mod low_limits;
mod lying_server;
#[cfg(feature = "tls")]
mod lying_workers;
mod made_ahead;
mod manual;
mod many_machines;
mod max_clients;
mod mending;
mod metrics;
mod names;
mod newcomers;
mod next_client;
mod notifying;
mod occupied;
mod outliving;
mod page;
mod privileges;
mod promises;
mod proxy_costs;
mod proxy_headers;
mod proxy_peers;
mod proxy_rules;
mod proxy_waiting;
mod quiet;
mod real_programs;
mod relay_deadlocks;
mod relay_rights;
mod relay_rings;
mod relaying;
mod reload;
mod reload_faults;
mod resilience;
mod resilience_load;
mod returning;
mod ruining;
#[cfg(feature = "tls")]
mod seized_workers;
mod shared_causes;
mod shares;
mod signals;
mod spawn_paths;
mod starting;
mod status;
mod stderr_log;
mod straying;
mod stream;
mod taken_ports;
mod tcpmux;
mod terminal_programs;
mod terminals;
mod terminating;
mod timeouts;
mod times;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_audit;
#[cfg(feature = "tls")]
mod tls_clients;
#[cfg(feature = "tls")]
mod tls_costs;
#[cfg(feature = "tls")]
mod tls_crowds;
#[cfg(feature = "tls")]
mod tls_endings;
#[cfg(feature = "tls")]
mod tls_leaving;
#[cfg(feature = "tls")]
mod tls_mistakes;
#[cfg(feature = "tls")]
mod tls_pieces;
#[cfg(feature = "tls")]
mod tls_reloads;
#[cfg(feature = "tls")]
mod tls_upgrades;
mod traced;
mod trusted_files;
mod units;
mod unix;
mod unix_swaps;
mod upgrading;
mod upgrading_faults;
mod upgrading_server;
mod upgrading_stored;
mod upgrading_waiters;
mod urgent;
mod vsock;
mod waiting;
mod withheld;
#[cfg(not(feature = "tls"))]
mod without_tls;
mod xinetd_files;
mod xinetd_served;
