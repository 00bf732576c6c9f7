//! `delete`: deletes an instance, by the broker, and waits until it is gone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use argh::FromArgs;
use serde_json::json;

use super::Failure;
use super::broker_client::{Client, SOON};
use super::last_operation::{Ended, wait};
use super::output::{Output, print, print_json};
use super::parsed;
use crate::model::InstanceId;

/// Delete a service instance with its data, whatever is under way on it, and wait until it is gone.
#[derive(FromArgs)]
#[argh(subcommand, name = "delete")]
pub(super) struct Arguments {
    /// the instance's id
    #[argh(positional)]
    instance: String,
    /// wait for no cell that does not answer: what is left there is removed when it does
    #[argh(switch)]
    force: bool,
    /// how many seconds to wait; defaults to an hour
    #[argh(option, default = "3600", arg_name = "seconds")]
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
    let instance = parsed(InstanceId::parse(&arguments.instance))?;
    let client = Client::new(arguments.broker.as_deref(), arguments.cacert.as_deref(), config)?;
    let until = Instant::now() + Duration::from_secs(arguments.timeout.into());
    let force = arguments.force;
    let path = format!("/admin/service_instances/{instance}?accepts_incomplete=true&force={force}");
    let reply = client.expect(&[200, 202], "DELETE", &path, None, SOON)?;
    if reply.status == 202 {
        let operation = reply.body["operation"].as_str().unwrap_or_default();
        if let Ended::Failed(description) = wait(&client, &instance, operation, until)? {
            return Err(Failure::Failed(format!("{instance}: {description}")));
        }
    }
    match arguments.output {
        Output::Table => print(&format!("{instance}: deleted\n")),
        Output::Json => print_json(&json!({"instance_id": instance, "state": "deleted"})),
    }
}
