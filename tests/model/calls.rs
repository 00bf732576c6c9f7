//! What platforms ask: plain data, how it is made at random, and how it reads as something to type.

use std::fmt;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::site::{ELSEWHERE, LARGE, OTHER_SERVICE, RIGID, SERVICE, SMALL, VERSION};

/// Few ids, so that calls meet.
pub const INSTANCES: u8 = 2;
pub const BINDINGS: u8 = 2;

/// A service and a plan, each of which may be none of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offer {
    pub service: &'static str,
    pub plan: &'static str,
}

impl Offer {
    pub const SMALL: Self = Self { service: SERVICE, plan: SMALL };

    /// Whether the catalog has it.
    pub fn is_there(self) -> bool {
        match self.service {
            SERVICE => [SMALL, LARGE, RIGID].contains(&self.plan),
            OTHER_SERVICE => self.plan == ELSEWHERE,
            _ => false,
        }
    }
}

/// What the dream service takes. Nothing sent is nothing said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parameters {
    pub asynchronous: Option<bool>,
    pub delay_ms: Option<i8>,
    pub fail: Option<&'static str>,
}

impl Parameters {
    /// A delay is at least nothing.
    pub fn are_valid(self) -> bool {
        self.delay_ms.is_none_or(|delay| delay >= 0)
    }

    pub fn is_asynchronous(self) -> bool {
        self.asynchronous == Some(true)
    }

    /// Those of an update over those that there are.
    pub fn under(self, update: Self) -> Self {
        Self {
            asynchronous: update.asynchronous.or(self.asynchronous),
            delay_ms: update.delay_ms.or(self.delay_ms),
            fail: update.fail.or(self.fail),
        }
    }

    pub fn json(self) -> Value {
        let mut all = serde_json::Map::new();
        if let Some(asynchronous) = self.asynchronous {
            all.insert("asynchronous".to_owned(), json!(asynchronous));
        }
        if let Some(delay_ms) = self.delay_ms {
            all.insert("delay_ms".to_owned(), json!(delay_ms));
        }
        if let Some(fail) = self.fail {
            all.insert("fail".to_owned(), json!(fail));
        }
        Value::Object(all)
    }
}

/// Which operation is polled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// None is named.
    Last,
    /// The one that was accepted last of this instance or binding, if one was.
    Accepted,
    /// One that never was.
    Never,
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub instance: u8,
    pub what: What,
    pub accepts_incomplete: bool,
}

/// What it asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Provision {
        offer: Offer,
        parameters: Parameters,
        version: Option<&'static str>,
    },
    Update {
        service: &'static str,
        plan: Option<&'static str>,
        parameters: Option<Parameters>,
        version: Option<&'static str>,
    },
    Deprovision {
        offer: Option<Offer>,
    },
    Fetch {
        offer: Option<Offer>,
    },
    Poll {
        which: Which,
    },
    Bind {
        binding: u8,
        offer: Offer,
        parameters: Parameters,
    },
    Rotate {
        binding: u8,
        predecessor: u8,
    },
    FetchBinding {
        binding: u8,
    },
    PollBinding {
        binding: u8,
        which: Which,
    },
    Unbind {
        binding: u8,
        offer: Option<Offer>,
    },
}

/// A step of a sequence.
#[derive(Clone, Debug)]
pub enum Step {
    Ask(Call),
    /// Until no operation of the instance is in progress.
    Settle(u8),
    /// The broker stops and another one starts.
    Restart,
}

/// As it is sent.
pub struct Request {
    pub method: &'static str,
    pub target: String,
    pub body: Option<Value>,
}

impl Call {
    /// `prefix` begins the instance's id; `operation` is what [`Which::Accepted`] means.
    pub fn request(&self, prefix: &str, operation: Option<&str>) -> Request {
        let instance = format!("/v2/service_instances/{prefix}{}", self.instance);
        let of = |binding: u8| format!("{instance}/service_bindings/x{binding}");
        let mut query: Vec<String> = Vec::new();
        if self.accepts_incomplete && self.what.may_take_a_while() {
            query.push("accepts_incomplete=true".to_owned());
        }
        let ask_for = |which: Which| match which {
            Which::Last => None,
            Which::Accepted => operation.map(|operation| format!("operation={operation}")),
            Which::Never => Some("operation=never".to_owned()),
        };
        let offered = |offer: &Offer| format!("service_id={}&plan_id={}", offer.service, offer.plan);
        let (method, path, body) = match &self.what {
            What::Provision { offer, parameters, version } => {
                let mut body = json!({
                    "service_id": offer.service, "plan_id": offer.plan, "organization_guid": "o",
                    "space_guid": "s", "parameters": parameters.json(),
                });
                if let Some(version) = version {
                    body["maintenance_info"] = json!({"version": version});
                }
                ("PUT", instance, Some(body))
            }
            What::Update { service, plan, parameters, version } => {
                let mut body = json!({"service_id": service});
                if let Some(plan) = plan {
                    body["plan_id"] = json!(plan);
                }
                if let Some(parameters) = parameters {
                    body["parameters"] = parameters.json();
                }
                if let Some(version) = version {
                    body["maintenance_info"] = json!({"version": version});
                }
                ("PATCH", instance, Some(body))
            }
            What::Deprovision { offer } => {
                query.extend(offer.as_ref().map(offered));
                ("DELETE", instance, None)
            }
            What::Fetch { offer } => {
                query.extend(offer.as_ref().map(offered));
                ("GET", instance, None)
            }
            What::Poll { which } => {
                query.extend(ask_for(*which));
                ("GET", format!("{instance}/last_operation"), None)
            }
            What::Bind { binding, offer, parameters } => {
                let body = json!({"service_id": offer.service, "plan_id": offer.plan, "parameters": parameters.json()});
                ("PUT", of(*binding), Some(body))
            }
            What::Rotate { binding, predecessor } => {
                ("PUT", of(*binding), Some(json!({"predecessor_binding_id": format!("x{predecessor}")})))
            }
            What::FetchBinding { binding } => ("GET", of(*binding), None),
            What::PollBinding { binding, which } => {
                query.extend(ask_for(*which));
                ("GET", format!("{}/last_operation", of(*binding)), None)
            }
            What::Unbind { binding, offer } => {
                query.extend(offer.as_ref().map(offered));
                ("DELETE", of(*binding), None)
            }
        };
        let mark = if query.is_empty() { "" } else { "?" };
        Request { method, target: format!("{path}{mark}{}", query.join("&")), body }
    }
}

impl What {
    fn may_take_a_while(&self) -> bool {
        !matches!(
            self,
            Self::Fetch { .. } | Self::Poll { .. } | Self::FetchBinding { .. } | Self::PollBinding { .. }
        )
    }

    /// The binding that it is about.
    pub fn binding(&self) -> Option<u8> {
        match self {
            Self::Bind { binding, .. }
            | Self::Rotate { binding, .. }
            | Self::FetchBinding { binding }
            | Self::PollBinding { binding, .. }
            | Self::Unbind { binding, .. } => Some(*binding),
            _ => None,
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "curl -X {} \"$BROKER_URI{}\"", self.method, self.target)?;
        self.body.as_ref().map_or(Ok(()), |body| write!(f, " -d '{body}'"))
    }
}

// Boxed: a test's thread has not the stack for all of them in one value.

fn parameters() -> BoxedStrategy<Parameters> {
    let asynchronous = prop_oneof![Just(None), Just(Some(true)), Just(Some(false))];
    let delay_ms = prop_oneof![6 => Just(None), 3 => Just(Some(0)), 3 => Just(Some(15)), 1 => Just(Some(-1))];
    let fail = prop_oneof![
        10 => Just(None),
        1 => Just(Some("provision")), 1 => Just(Some("update")), 1 => Just(Some("deprovision")),
        1 => Just(Some("bind")), 1 => Just(Some("unbind")),
    ];
    (asynchronous, delay_ms, fail)
        .prop_map(|(asynchronous, delay_ms, fail)| Parameters { asynchronous, delay_ms, fail })
        .boxed()
}

fn offer() -> BoxedStrategy<Offer> {
    let of = |service, plan| Just(Offer { service, plan });
    prop_oneof![
        10 => of(SERVICE, SMALL), 5 => of(SERVICE, LARGE), 3 => of(SERVICE, RIGID), 2 => of(OTHER_SERVICE, ELSEWHERE),
        1 => of(SERVICE, ELSEWHERE), 1 => of("none", SMALL), 1 => of(SERVICE, "none"),
    ].boxed()
}

fn version() -> BoxedStrategy<Option<&'static str>> {
    prop_oneof![8 => Just(None), 2 => Just(Some(VERSION)), 1 => Just(Some("0.9.0"))].boxed()
}

fn which() -> BoxedStrategy<Which> {
    prop_oneof![3 => Just(Which::Last), 3 => Just(Which::Accepted), 1 => Just(Which::Never)].boxed()
}

pub fn call() -> BoxedStrategy<Call> {
    let hint = || prop_oneof![3 => Just(None), 3 => offer().prop_map(Some)];
    let provision = (offer(), parameters(), version())
        .prop_map(|(offer, parameters, version)| What::Provision { offer, parameters, version });
    let plan = prop_oneof![2 => Just(None), 3 => offer().prop_map(|offer| Some(offer.plan))];
    let update = (offer(), plan, prop::option::of(parameters()), version()).prop_map(
        |(offer, plan, parameters, version)| What::Update {
            service: offer.service,
            plan,
            parameters,
            version,
        },
    );
    let binding = || 0..BINDINGS;
    let bind = (binding(), offer(), parameters()).prop_map(|(binding, offer, parameters)| What::Bind {
        binding,
        offer,
        parameters,
    });
    let what = prop_oneof![
        5 => provision,
        4 => update,
        2 => hint().prop_map(|offer| What::Deprovision { offer }),
        3 => hint().prop_map(|offer| What::Fetch { offer }),
        3 => which().prop_map(|which| What::Poll { which }),
        5 => bind,
        2 => (binding(), binding()).prop_map(|(binding, predecessor)| What::Rotate { binding, predecessor }),
        2 => binding().prop_map(|binding| What::FetchBinding { binding }),
        2 => (binding(), which()).prop_map(|(binding, which)| What::PollBinding { binding, which }),
        3 => (binding(), hint()).prop_map(|(binding, offer)| What::Unbind { binding, offer }),
    ];
    // Mostly the first, so that something comes of it.
    let instance = prop_oneof![3 => Just(0), 1 => 1..INSTANCES];
    (instance, what, any::<bool>())
        .prop_map(|(instance, what, accepts_incomplete)| Call { instance, what, accepts_incomplete })
        .boxed()
}

/// A plain order, without which most of what follows is refused.
pub fn first() -> BoxedStrategy<Step> {
    parameters()
        .prop_map(|parameters| {
            let what = What::Provision { offer: Offer::SMALL, parameters, version: None };
            Step::Ask(Call { instance: 0, what, accepts_incomplete: true })
        })
        .boxed()
}

pub fn sequence(longest: usize) -> BoxedStrategy<Vec<Step>> {
    let step = prop_oneof![
        12 => call().prop_map(Step::Ask),
        2 => (0..INSTANCES).prop_map(Step::Settle),
        1 => Just(Step::Restart),
    ];
    (first(), prop::collection::vec(step, 1..longest))
        .prop_map(|(first, mut steps)| {
            steps.insert(0, first);
            steps
        })
        .boxed()
}
