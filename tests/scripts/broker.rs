//! A stand-in for any Open Service Broker: one service of two plans, kept in memory. It answers at once or later, and does
//! one thing wrong if it is told to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// What it is like.
#[derive(Clone, Copy, Default)]
pub struct Manner {
    /// Whether changes go on after the answer, until they have been asked for twice.
    pub later: bool,
    /// What it does wrong.
    pub fault: &'static str,
    /// Whether the catalog has neither of what may be left out.
    pub bare: bool,
}

/// What somebody made, and how often its state is still told to be in progress.
#[derive(Clone, Default)]
struct Thing {
    plan: String,
    looks: u32,
    gone: bool,
}

pub struct StandIn {
    pub url: String,
    /// Whether what it begins does not end.
    pub hangs: bool,
    things: Arc<Mutex<BTreeMap<String, Thing>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl StandIn {
    /// For `somebody`, whose password holds what quoting gets wrong.
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (things, asked) = (Arc::default(), Arc::default());
        let hangs = manner.fault == "hangs";
        let stand_in = Self { url, hangs, things: Arc::clone(&things), asked: Arc::clone(&asked) };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let desk = Desk { manner, things: &things };
                serve(&stream.unwrap(), &desk, &asked);
            }
        });
        stand_in
    }

    /// What is there and was not given back.
    pub fn left(&self) -> Vec<String> {
        let things = self.things.lock().unwrap();
        things.iter().filter(|(_, thing)| !thing.gone).map(|(path, _)| path.clone()).collect()
    }

    /// Each request's method and body.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

pub const PASSWORD: &str = "a \"b\\c'd";

fn serve(stream: &TcpStream, desk: &Desk<'_>, asked: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let field = |name: &str| {
        let found = head
            .iter()
            .find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| value.to_owned())
    };
    let length = field("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut words = head[0].split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    asked.lock().unwrap().push(format!("{method} {body}"));
    let right = format!("Basic {}", STANDARD.encode(format!("somebody:{PASSWORD}")));
    let (status, answer) = if field("authorization") != Some(right) && desk.manner.fault != "open" {
        (401, json!({"description": "who are you?"}))
    } else if field("x-broker-api-version").as_deref() != Some("2.17") {
        (412, json!({"description": "which version?"}))
    } else {
        desk.answer(method, target, &body)
    };
    let answer = answer.to_string();
    let length = answer.len();
    let response = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nRetry-After: 0\r\nConnection: close\r\n\r\n{answer}"
    );
    let mut stream = stream;
    stream.write_all(response.as_bytes()).unwrap();
}

struct Desk<'a> {
    manner: Manner,
    things: &'a Mutex<BTreeMap<String, Thing>>,
}

impl Desk<'_> {
    fn answer(&self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let path = target.split('?').next().unwrap();
        let fault = self.manner.fault;
        if path == "/v2/catalog" {
            return (200, self.catalog());
        }
        let mut things = self.things.lock().unwrap();
        let last_operation = path.ends_with("/last_operation");
        let path = path.trim_end_matches("/last_operation");
        let found =
            things.get(path).cloned().filter(|thing| !thing.gone || last_operation && thing.looks > 0);
        let bound = path.contains("/service_bindings/");
        match (method, found) {
            ("GET", Some(mut thing)) if last_operation => {
                thing.looks = thing.looks.saturating_sub(1);
                let state = match (thing.looks, fault) {
                    (0, "fails") if !thing.gone => "failed",
                    (0, _) => "succeeded",
                    (_, "hangs") if !thing.gone => {
                        thing.looks += 1;
                        "in progress"
                    }
                    _ => "in progress",
                };
                things.insert(path.to_owned(), thing);
                (200, json!({"state": state, "description": "the stand-in's"}))
            }
            ("GET", Some(_)) if bound => (200, json!({"credentials": {"password": "hush"}})),
            ("GET", Some(thing)) => {
                let plan = if fault == "forgets-plan" { "p0" } else { &thing.plan };
                (200, json!({"service_id": "s1", "plan_id": plan}))
            }
            ("PUT", Some(thing)) => {
                let same = body["plan_id"] == thing.plan || fault == "takes-anything";
                if same { (200, json!({"credentials": {"password": "hush"}})) } else { (409, json!({})) }
            }
            ("PUT", None) => {
                if fault == "refuses-bindings" && bound {
                    return (500, json!({"description": "no", "credentials": {"password": "hush"}}));
                }
                let plan = body["plan_id"].as_str().unwrap().to_owned();
                self.change(&mut things, path, Thing { plan, ..Thing::default() }, 201)
            }
            ("PATCH", Some(mut thing)) => {
                let version = &body["maintenance_info"]["version"];
                if fault != "any-version" && !version.is_null() && version != "1.0.0" {
                    return (422, json!({"error": "MaintenanceInfoConflict"}));
                }
                if let Some(plan) = body["plan_id"].as_str() {
                    thing.plan = plan.to_owned();
                }
                self.change(&mut things, path, thing, 200)
            }
            ("DELETE", Some(thing)) => {
                if fault == "keeps" && !bound {
                    return (500, json!({"description": "it stays"}));
                }
                self.change(&mut things, path, Thing { gone: true, ..thing }, 200)
            }
            ("DELETE", None) if fault == "forgives" => (200, json!({})),
            ("DELETE", None) => (410, json!({})),
            _ => (404, json!({"description": "there is no such thing"})),
        }
    }

    fn change(
        &self,
        things: &mut BTreeMap<String, Thing>,
        path: &str,
        thing: Thing,
        done: u16,
    ) -> (u16, Value) {
        let looks = if self.manner.later { 2 } else { 0 };
        things.insert(path.to_owned(), Thing { looks, ..thing });
        if self.manner.later { (202, json!({"operation": "task 1&2"})) } else { (done, json!({})) }
    }

    fn catalog(&self) -> Value {
        let plan = |id: &str| {
            json!({"id": id, "name": format!("plan-{id}"), "description": "x",
                   "maintenance_info": {"version": "1.0.0"}})
        };
        let mut service = json!({
            "id": "s1", "name": "dream", "description": "x", "bindable": true, "plan_updateable": true,
            "instances_retrievable": true, "bindings_retrievable": true, "allow_context_updates": true,
            "plans": [plan("p1"), plan("p2")],
        });
        if self.manner.bare {
            service = json!({
                "id": "s1", "name": "dream", "description": "x", "bindable": false,
                "plans": [{"id": "p1", "name": "plan-p1", "description": "x"}],
            });
        }
        if self.manner.fault == "no-description" {
            service.as_object_mut().unwrap().remove("description");
        }
        json!({"services": [service]})
    }
}
