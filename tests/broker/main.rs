//! What the broker does when things go well and when they do not, over stateful stand-ins.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod binding_operations;
mod bindings;
mod cancelled_updates;
mod cancels;
mod clock;
mod cluster;
mod cordons;
mod demotes;
mod drains;
mod dream;
mod dreams;
mod fake_config;
mod fake_guests;
mod fake_patroni;
mod forced;
mod gate;
mod healing;
mod isolation;
mod journal;
mod lab;
mod leaving;
mod leftovers;
mod lost_answers;
mod orders;
mod orphans;
mod plan_changes;
mod polls;
mod rehearsals;
mod reshapes;
mod rotations;
mod routes;
mod safe_to_reboot;
mod schemas;
mod sizes;
mod spared;
mod store_secrets;
mod sweeps;
mod troubles;
mod update_crashes;
mod updates;
mod upgrades;
mod views;
