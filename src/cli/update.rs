//! `update`: changes an instance, by the broker, and waits until that is done.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use argh::FromArgs;
use serde_json::{Map, Value, json};

use super::Failure;
use super::broker_client::{Client, LATER, SOON};
use super::last_operation::{Ended, wait};
use super::output::{Output, print, print_json};
use super::parsed;
use crate::model::{CellGuid, InstanceId, PlanId};

/// Change a service instance, and wait until that is done. What is not named stays as it is.
#[derive(FromArgs)]
#[argh(subcommand, name = "update")]
pub(super) struct Arguments {
    /// the instance's id
    #[argh(positional)]
    instance: String,
    /// the id of the plan that it is to have
    #[argh(option, arg_name = "id")]
    plan: Option<String>,
    /// how many nodes it is to have
    #[argh(option, arg_name = "number")]
    node_count: Option<u32>,
    /// the cells that its nodes are to be on, with commas between
    #[argh(option, arg_name = "guids")]
    cells: Option<String>,
    /// bring it to the version that the catalog offers of its plan
    #[argh(switch)]
    upgrade: bool,
    /// print the steps that it would take, and change nothing
    #[argh(switch)]
    dry_run: bool,
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
    let plan = arguments.plan.as_deref().map(PlanId::parse).transpose();
    let plan = parsed(plan)?;
    let parameters = parameters(arguments)?;
    if plan.is_none() && parameters.is_empty() && !arguments.upgrade {
        let wanted = "name what is to change: --plan, --node-count, --cells or --upgrade";
        return Err(Failure::Usage(wanted.to_owned()));
    }
    let client = Client::new(arguments.broker.as_deref(), arguments.cacert.as_deref(), config)?;
    let until = Instant::now() + Duration::from_secs(arguments.timeout.into());
    let known = client.expect(&[200], "GET", &format!("/admin/service_instances/{instance}"), None, SOON)?;
    let service = known.body["service_id"].clone();
    let mut wish = json!({"service_id": service});
    if let Some(plan) = &plan {
        wish["plan_id"] = json!(plan);
    }
    if arguments.upgrade {
        let plan = plan.as_ref().map_or(&known.body["plan_id"], |_| &wish["plan_id"]).clone();
        wish["maintenance_info"] = json!({"version": offered(&client, &service, &plan)?});
    }
    let mut parameters = parameters;
    if arguments.dry_run {
        parameters.insert("dry-run".to_owned(), Value::Bool(true));
    }
    if !parameters.is_empty() {
        wish["parameters"] = Value::Object(parameters);
    }
    let path = format!("/v2/service_instances/{instance}?accepts_incomplete=true");
    let reply = client.expect(&[200, 202], "PATCH", &path, Some(&wish), LATER)?;
    if arguments.dry_run {
        return rehearsed(&reply.body, arguments.output);
    }
    if reply.status == 200 {
        return tell(&instance, "it is so", arguments.output);
    }
    let operation = reply.body["operation"].as_str().unwrap_or_default();
    match wait(&client, &instance, operation, until)? {
        Ended::Succeeded(description) => tell(&instance, &description, arguments.output),
        Ended::Failed(description) => Err(Failure::Failed(format!("{instance}: {description}"))),
        Ended::Gone => Err(Failure::Failed(format!("{instance}: it was deleted meanwhile"))),
    }
}

fn parameters(arguments: &Arguments) -> Result<Map<String, Value>, Failure> {
    let mut parameters = Map::new();
    if let Some(count) = arguments.node_count {
        parameters.insert("node-count".to_owned(), json!(count));
    }
    if let Some(list) = &arguments.cells {
        let cells: Result<Vec<CellGuid>, _> =
            list.split(',').map(|cell| CellGuid::parse(cell.trim())).collect();
        parameters.insert("cells".to_owned(), json!(parsed(cells)?));
    }
    Ok(parameters)
}

/// The version that the catalog offers of a plan.
fn offered(client: &Client, service: &Value, plan: &Value) -> Result<Value, Failure> {
    let catalog = client.expect(&[200], "GET", "/v2/catalog", None, SOON)?.body;
    let find = |list: &Value, id: &Value| {
        list.as_array().into_iter().flatten().find(|one| one["id"] == *id).cloned().unwrap_or_default()
    };
    let plan_found = find(&find(&catalog["services"], service)["plans"], plan);
    let version = plan_found["maintenance_info"]["version"].clone();
    if version.is_string() {
        return Ok(version);
    }
    let plan = plan.as_str().unwrap_or_default();
    Err(Failure::Failed(format!("the catalog names no version of the plan {plan} to upgrade to")))
}

fn rehearsed(body: &Value, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return print_json(body);
    }
    let steps: Vec<&str> = body["steps"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if steps.is_empty() {
        return print("nothing has to be done\n");
    }
    print(&steps.iter().map(|step| format!("{step}\n")).collect::<String>())
}

fn tell(instance: &InstanceId, description: &str, output: Output) -> Result<(), Failure> {
    match output {
        Output::Table => print(&format!("{instance}: {description}\n")),
        Output::Json => {
            print_json(&json!({"instance_id": instance, "state": "succeeded", "description": description}))
        }
    }
}
