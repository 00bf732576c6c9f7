//! A broker as its users reach it, wherever it runs.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::shell::{bash, ensure, until};

/// The service of PostgreSQL, and its plans in scripts/lib/lab-services.toml.
pub const SERVICE: &str = "0f5c1670-6dc3-11e5-bc08-6c4008a663f0";
pub const CLUSTER: &str = "1545e30e-6dc3-11e5-826a-6c4008a663f0";
pub const SMALL: &str = "2f3a7c52-9f2e-4a6e-8a35-0c2b8d0f7a01";
pub const LARGE: &str = "2f3a7c52-9f2e-4a6e-8a35-0c2b8d0f7a02";
pub const MAINTAINED: &str = "2f3a7c52-9f2e-4a6e-8a35-0c2b8d0f7a03";
pub const MISTAKEN: &str = "2f3a7c52-9f2e-4a6e-8a35-0c2b8d0f7a04";

/// As long as an operation may take on a machine that is busy.
const OPERATION: Duration = Duration::from_secs(240);

/// Where a broker is, and what it writes.
#[derive(Clone)]
pub struct Broker {
    /// The seeds' `BROKER_URI`.
    pub uri: String,
    /// Its configuration.
    pub config: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// The docker command for a cell's engine.
    pub docker: fn(&str) -> String,
}

/// A node as its record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: String,
    pub cell: String,
    /// `host:port` of its PostgreSQL.
    pub postgresql: String,
    /// `host:port` of its Patroni.
    pub rest: String,
}

impl Broker {
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A failure with the broker's log added.
    pub fn explained(&self, failed: Failed) -> Failed {
        // Polls would take all the room.
        let log = self.log();
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains("INFO  access")).collect();
        let last = &lines[lines.len().saturating_sub(60)..];
        let message = failed.message().unwrap_or_default();
        format!("{message}\n--- the broker's log ends:\n{}\n", last.join("\n")).into()
    }

    /// Runs what a user types, with `BROKER_URI` set, and the binary on the `PATH` as `$patroni_broker`.
    pub fn type_in(&self, script: &str) -> Result<String, Failed> {
        let binary = env!("CARGO_BIN_EXE_patroni-broker");
        bash(script, &[("BROKER_URI", &self.uri), ("patroni_broker", binary)])
            .map_err(|failed| self.explained(failed))
    }

    /// Runs `patroni-broker kv` on this broker's store, and gives what it prints.
    pub fn kv(&self, arguments: &[&str]) -> Result<String, Failed> {
        let output = Command::new(env!("CARGO_BIN_EXE_patroni-broker"))
            .arg("--config")
            .arg(&self.config)
            .arg("kv")
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            return Err(format!("kv {arguments:?}: {}\n{err}", output.status).into());
        }
        Ok(out.into_owned())
    }

    /// Sends a request; gives the status and the JSON answer.
    pub fn call(&self, method: &str, path: &str, body: &str) -> Result<(u16, Value), Failed> {
        let mut curl = Command::new("curl")
            .args(["-s", "-m", "700", "-w", "\n%{http_code}", "-X", method, "--data-binary", "@-"])
            .arg(format!("{}{path}", self.uri))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // A broker that refuses a body need not read all of it.
        drop(curl.stdin.take().ok_or("curl has no stdin")?.write_all(body.as_bytes()));
        let output = curl.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (answer, status) = text.rsplit_once('\n').ok_or("no answer")?;
        let status = status.parse().map_err(|_| format!("no status in {text:?}"))?;
        let answer = serde_json::from_str(answer).map_err(|error| format!("{error} in {answer:?}"))?;
        Ok((status, answer))
    }

    /// Polls the last operation until it has ended, and gives every distinct answer on the way.
    pub fn poll(&self, instance: &str, wait: Duration) -> Result<Vec<(String, String)>, Failed> {
        let mut seen: Vec<(String, String)> = Vec::new();
        until(wait, || {
            let (status, answer) =
                self.call("GET", &format!("/v2/service_instances/{instance}/last_operation"), "")?;
            let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
            let now = if status == 410 {
                ("gone".to_owned(), String::new())
            } else {
                (text("state"), text("description"))
            };
            if seen.last() != Some(&now) {
                seen.push(now.clone());
            }
            if now.0 == "in progress" { Err(format!("still in progress: {seen:?}").into()) } else { Ok(()) }
        })
        .map_err(|failed| self.explained(failed))?;
        Ok(seen)
    }

    /// Orders an instance and does not wait for it.
    pub fn begin(&self, instance: &str, plan: &str, parameters: &Value) -> Result<(), Failed> {
        let body = json!({"service_id": SERVICE, "plan_id": plan, "parameters": parameters,
            "accepts_incomplete": true});
        let (status, answer) =
            self.call("PUT", &format!("/v2/service_instances/{instance}"), &body.to_string())?;
        ensure(status == 202, format!("order of {instance}: {status} {answer}"))
    }

    /// Waits for what is under way to succeed.
    pub fn succeeds(&self, instance: &str) -> Result<(), Failed> {
        let seen = self.poll(instance, OPERATION)?;
        let succeeded = seen.last().is_some_and(|(state, _)| state == "succeeded");
        ensure(succeeded, format!("{instance} went by {seen:?}"))
    }

    /// Orders an instance, binds it, and gives its URI: it can be used at once.
    pub fn order(&self, instance: &str, plan: &str, parameters: &Value) -> Result<String, Failed> {
        self.begin(instance, plan, parameters)?;
        self.succeeds(instance)?;
        self.bind(instance, plan)
    }

    /// Binds an instance, and gives its URI.
    pub fn bind(&self, instance: &str, plan: &str) -> Result<String, Failed> {
        let body = json!({"service_id": SERVICE, "plan_id": plan}).to_string();
        let path = format!("/v2/service_instances/{instance}/service_bindings/app");
        let (status, bound) = self.call("PUT", &path, &body)?;
        ensure(status == 201, format!("binding of {instance}: {status} {bound}"))?;
        Ok(bound["credentials"]["uri"].as_str().ok_or("the binding has no uri")?.to_owned())
    }

    /// Asks for an update with these fields beside the service, and does not wait for it.
    pub fn ask_for(&self, instance: &str, mut fields: Value) -> Result<(u16, Value), Failed> {
        fields["service_id"] = json!(SERVICE);
        let path = format!("/v2/service_instances/{instance}?accepts_incomplete=true");
        self.call("PATCH", &path, &fields.to_string())
    }

    /// Updates an instance, and waits until that has succeeded.
    pub fn update(&self, instance: &str, fields: Value) -> Result<(), Failed> {
        let (status, answer) = self.ask_for(instance, fields)?;
        ensure(status == 202, format!("update of {instance}: {status} {answer}"))?;
        self.succeeds(instance)
    }

    pub fn delete(&self, instance: &str) -> Result<(), Failed> {
        let (status, answer) = self.call("DELETE", &format!("/v2/service_instances/{instance}"), "")?;
        ensure(status == 200, format!("delete {instance}: {status} {answer}"))
            .map_err(|failed| self.explained(failed))
    }

    pub fn record(&self, instance: &str) -> Result<Value, Failed> {
        Ok(serde_json::from_str(&self.kv(&["get", &format!("/service/{instance}/state")])?)?)
    }

    /// An instance's nodes, in the record's order.
    pub fn nodes(&self, instance: &str) -> Result<Vec<Node>, Failed> {
        let record = self.record(instance)?;
        let nodes = record["nodes"].as_array().ok_or("the record has no nodes")?;
        let node = |node: &Value| -> Option<Node> {
            let port = |container: u64| {
                let mut ports = node["ports"].as_array()?.iter();
                let port = ports.find(|port| port["container"].as_u64() == Some(container))?;
                Some(format!("{}:{}", node["host"].as_str()?, port["host"]))
            };
            Some(Node {
                id: node["node_id"].as_str()?.to_owned(),
                cell: node["backend_id"].as_str()?.to_owned(),
                postgresql: port(5432)?,
                rest: port(8008)?,
            })
        };
        Ok(nodes.iter().map(node).collect::<Option<_>>().ok_or("a node is not whole")?)
    }

    /// The cells that an instance's nodes are on, sorted.
    pub fn cells(&self, instance: &str) -> Result<Vec<String>, Failed> {
        let mut cells: Vec<String> = self.nodes(instance)?.into_iter().map(|node| node.cell).collect();
        cells.sort();
        Ok(cells)
    }

    /// The node that leads, by its id.
    pub fn leader(&self, instance: &str) -> Result<String, Failed> {
        Ok(self.kv(&["get", &format!("/service/{instance}/leader")])?.trim().to_owned())
    }

    /// What docker's inspect says of a node's container, by a format.
    pub fn inspect(&self, node: &Node, format: &str) -> Result<String, Failed> {
        let docker = (self.docker)(&node.cell);
        Ok(bash(&format!("{docker} inspect --format '{format}' pb-{}", node.id), &[])?.trim().to_owned())
    }

    /// What a node's Patroni says of itself.
    pub fn patroni(&self, node: &Node) -> Result<Value, Failed> {
        Ok(serde_json::from_str(&bash(&format!("curl -s -m 5 http://{}/patroni", node.rest), &[])?)?)
    }

    /// Nothing of any instance is in the store any more, within the time that a TTL may take: on Consul, twice its own.
    pub fn no_key_left(&self) -> Result<(), Failed> {
        until(Duration::from_secs(70), || {
            let keys = self.kv(&["ls", "/"])?;
            let fine = |key: &&str| key.starts_with("/broker/routers/") || *key == "/routing/nextport";
            let left: Vec<&str> = keys.lines().filter(|key| !fine(key)).collect();
            ensure(left.is_empty(), format!("left: {left:?}"))
        })
    }
}
