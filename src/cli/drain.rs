//! `drain`: moves everything off a cell, by the broker, and waits until it is safe to reboot. The broker goes on with it
//! whatever becomes of the command.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use argh::FromArgs;
use serde_json::{Value, json};

use super::Failure;
use super::broker_client::{Client, LATER, SOON};
use super::output::{Output, print, print_json};
use super::parsed;
use crate::model::CellGuid;

/// Move everything off a cell, and wait until it is safe to reboot. It takes no new nodes until it is uncordoned. Ask
/// again to try again what was stuck.
#[derive(FromArgs)]
#[argh(subcommand, name = "drain")]
pub(super) struct Arguments {
    /// the cell's guid
    #[argh(positional)]
    cell: String,
    /// how many instances move at the same time; defaults to 2, or to what was asked for before
    #[argh(option, arg_name = "number")]
    at_once: Option<u64>,
    /// print what would be done, and change nothing
    #[argh(switch)]
    dry_run: bool,
    /// how many seconds to wait; defaults to a day
    #[argh(option, default = "86_400", arg_name = "seconds")]
    timeout: u32,
    /// the broker, such as http://user:password@host:3000; defaults to what BROKER_URI says, then to what the
    /// configuration says
    #[argh(option, arg_name = "url")]
    broker: Option<String>,
    /// the PEM file of the authority of the broker's certificate; defaults to the publicly known ones
    #[argh(option, arg_name = "file")]
    cacert: Option<PathBuf>,
    /// table or json; defaults to table
    #[argh(option, default = "Output::Table")]
    output: Output,
}

pub(super) fn run(arguments: &Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    let cell = parsed(CellGuid::parse(&arguments.cell))?;
    let client = Client::new(arguments.broker.as_deref(), arguments.cacert.as_deref(), config)?;
    let path = format!("/admin/cells/{cell}/drain");
    if arguments.dry_run {
        let reply = client.expect(&[200], "POST", &path, Some(&json!({"dry_run": true})), LATER)?;
        return rehearsed(&cell, &reply.body, arguments.output);
    }
    let until = Instant::now() + Duration::from_secs(arguments.timeout.into());
    let wish = arguments.at_once.map_or_else(|| json!({}), |at_once| json!({"at_once": at_once}));
    client.expect(&[200, 202], "POST", &path, Some(&wish), SOON)?;
    let mut said = String::new();
    let ended = client.poll(&format!("/admin/cells/{cell}"), until, |reply| {
        if reply.status != 200 {
            return Err(client.refusal(reply));
        }
        let now = progress(&reply.body);
        if now != said {
            eprintln!("{cell}: {now}");
            said = now;
        }
        Ok(has_ended(&reply.body).then(|| reply.body.clone()))
    })?;
    let is_safe = ended["safe_to_reboot"] == true;
    match arguments.output {
        Output::Table => print(&format!("{cell}: {}", last_word(&ended)))?,
        Output::Json => print_json(&ended)?,
    }
    if is_safe { Ok(()) } else { Err(Failure::Reported) }
}

fn has_ended(cell: &Value) -> bool {
    let is_stuck = cell["drain"]["ended"] == true && has_stuck(cell);
    cell["safe_to_reboot"] == true || is_stuck || cell["drain"].is_null()
}

fn has_stuck(cell: &Value) -> bool {
    cell["drain"]["stuck"].as_object().is_some_and(|stuck| !stuck.is_empty())
}

/// In a line, how far it is.
fn progress(cell: &Value) -> String {
    let drain = &cell["drain"];
    let mut said = format!("instances left: {}", drain["left"].as_u64().unwrap_or_default());
    for (field, what) in [("moving", "moving"), ("waiting", "waiting for what is under way on")] {
        let named = drain[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        let named: Vec<&str> = named.collect();
        if !named.is_empty() {
            said.push_str(&format!("; {what} {}", named.join(", ")));
        }
    }
    if let Some(stuck) = drain["stuck"].as_object().filter(|stuck| !stuck.is_empty()) {
        let stuck: Vec<&str> = stuck.keys().map(String::as_str).collect();
        said.push_str(&format!("; stuck {}", stuck.join(", ")));
    }
    match cell["owed"].as_u64() {
        None | Some(0) => {}
        Some(owed) => said.push_str(&format!("; containers to be removed when it answers: {owed}")),
    }
    said
}

fn last_word(cell: &Value) -> String {
    if cell["safe_to_reboot"] == true {
        return "safe to reboot\n".to_owned();
    }
    if cell["drain"].is_null() {
        return "not safe to reboot: it was uncordoned meanwhile\n".to_owned();
    }
    let mut said = "not safe to reboot: not everything could be moved\n".to_owned();
    for (instance, reason) in cell["drain"]["stuck"].as_object().into_iter().flatten() {
        said.push_str(&format!("  {instance}: {}\n", reason.as_str().unwrap_or_default()));
    }
    said
}

fn rehearsed(cell: &CellGuid, body: &Value, output: Output) -> Result<(), Failure> {
    let moves = body["service_instances"].as_array().cloned().unwrap_or_default();
    let left_off = body["left_off"].as_u64().unwrap_or_default();
    let mut said = String::new();
    for one in &moves {
        said.push_str(&format!("{}\n", one["instance_id"].as_str().unwrap_or_default()));
        if let Some(reason) = one["stuck"].as_str() {
            said.push_str(&format!("  stays: {reason}\n"));
        }
        if let Some(reason) = one["waits"].as_str() {
            said.push_str(&format!("  is moved later: {reason}\n"));
        }
        for step in one["steps"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            said.push_str(&format!("  {step}\n"));
        }
    }
    if moves.is_empty() {
        said = format!("{cell}: nothing is there to be moved\n");
    }
    if left_off > 0 {
        said.push_str(&format!("instances that were not looked at, since it took too long: {left_off}\n"));
    }
    match output {
        Output::Table => print(&said)?,
        Output::Json => print_json(body)?,
    }
    let all_go = left_off == 0 && moves.iter().all(|one| one["stuck"].is_null());
    if all_go { Ok(()) } else { Err(Failure::Reported) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{has_ended, last_word, progress};

    #[test]
    fn how_far_a_drain_is() {
        let check = |cell: Value, ended: bool, said: &str, last: &str| {
            assert_eq!(has_ended(&cell), ended, "{cell}");
            assert_eq!(progress(&cell), said, "{cell}");
            assert!(!ended || last_word(&cell) == last, "{cell}: {}", last_word(&cell));
        };
        let drain = |moving: &[&str], stuck: Value, left: usize, ended: bool| json!({"at_once": 2, "left": left, "moving": moving, "stuck": stuck, "ended": ended});
        let cell = |drain: Value, owed: usize, safe: bool| json!({"guid": "c1", "cordoned": true, "drain": drain, "owed": owed, "safe_to_reboot": safe});
        let going = drain(&["b1", "b2"], json!({"b3": "pinned"}), 4, false);
        check(cell(going, 0, false), false, "instances left: 4; moving b1, b2; stuck b3", "");
        check(
            cell(drain(&[], json!({"b3": "pinned"}), 1, true), 0, false),
            true,
            "instances left: 1; stuck b3",
            "not safe to reboot: not everything could be moved\n  b3: pinned\n",
        );
        let mut waits = drain(&["b1"], json!({}), 3, false);
        waits["waiting"] = json!(["b4", "b5"]);
        let said = "instances left: 3; moving b1; waiting for what is under way on b4, b5";
        check(cell(waits, 0, false), false, said, "");
        // It may answer yet.
        let owed = cell(drain(&[], json!({}), 0, true), 2, false);
        check(owed, false, "instances left: 0; containers to be removed when it answers: 2", "");
        let safe = cell(drain(&[], json!({}), 0, true), 0, true);
        check(safe, true, "instances left: 0", "safe to reboot\n");
        check(
            json!({"guid": "c1", "cordoned": false, "safe_to_reboot": false}),
            true,
            "instances left: 0",
            "not safe to reboot: it was uncordoned meanwhile\n",
        );
    }
}
