//! What is offered: services and their plans, as the configuration lists them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Build, PlanId, ServiceId};

/// Every service offering. Ids and names are unique; the configuration checks that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// In the configuration's order.
    pub services: Vec<Service>,
}

/// A service offering (OSB 2.17, "Service Offering Object").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its id, fixed for ever.
    pub id: ServiceId,
    /// Its name for people and command lines.
    pub name: String,
    /// How its instances are made.
    pub driver: DriverKind,
    /// A sentence for the marketplace.
    pub description: String,
    /// Whether instances can be bound.
    pub bindable: bool,
    /// Whether an instance may change its plan.
    pub plan_updateable: bool,
    /// Whether a binding may be replaced by a successor, where a plan does not say otherwise.
    pub binding_rotatable: bool,
    /// What kind of thing it is, for platforms.
    pub tags: Vec<String>,
    /// What the platform must be permitted to grant, such as `syslog_drain`.
    pub requires: Vec<String>,
    /// Whether only applications can be bound: a binding must say which.
    pub requires_app: bool,
    /// For marketplaces; passed on as the configuration has it.
    pub metadata: Map<String, Value>,
    /// At least one.
    pub plans: Vec<Plan>,
}

/// Which driver makes a service's instances. The default is the one that the ancestors' records were made by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriverKind {
    /// Patroni clusters.
    #[default]
    Patroni,
    /// Nothing but what was posted: to test a platform with.
    Dream,
}

/// A plan of a service (OSB 2.17, "Service Plan Object").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its id, fixed for ever.
    pub id: PlanId,
    /// Its name for people and command lines.
    pub name: String,
    /// A sentence for the marketplace.
    pub description: String,
    /// Whether it costs nothing.
    pub free: bool,
    /// As the service's, where the plan differs from it.
    pub bindable: Option<bool>,
    /// As the service's, where the plan differs from it.
    pub plan_updateable: Option<bool>,
    /// As the service's, where the plan differs from it.
    pub binding_rotatable: Option<bool>,
    /// For marketplaces; passed on as the configuration has it.
    pub metadata: Map<String, Value>,
    /// Which version its instances are brought to by an upgrade; none where there is nothing to upgrade.
    pub maintenance: Option<MaintenanceInfo>,
    /// What parameters may be. The configuration may narrow what the driver takes; [`crate::broker::Broker::catalog`]
    /// has what holds.
    pub schemas: Schemas,
    /// How long an operation on it may take, in seconds; the platform is told, and the broker holds to it.
    pub maximum_polling_duration_s: u64,
    /// What its driver wants to know.
    pub settings: PlanSettings,
}

impl Plan {
    /// How long an operation may take where nobody says, in seconds.
    pub const MAXIMUM_POLLING_DURATION_S: u32 = 900;

    /// A plan for free that says no more than it must.
    #[must_use]
    pub fn of(id: PlanId, name: &str, description: &str, settings: PlanSettings) -> Self {
        Self {
            id,
            name: name.to_owned(),
            description: description.to_owned(),
            free: true,
            bindable: None,
            plan_updateable: None,
            binding_rotatable: None,
            metadata: Map::new(),
            maintenance: None,
            schemas: Schemas::default(),
            maximum_polling_duration_s: Self::MAXIMUM_POLLING_DURATION_S.into(),
            settings,
        }
    }
}

/// What an upgrade brings (OSB 2.17, "Maintenance Info Object").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaintenanceInfo {
    /// A semantic version.
    pub version: String,
    /// For people.
    pub description: String,
}

/// JSON schemas of parameters (OSB 2.17, "Schemas Object"); nothing is checked where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schemas {
    /// Of a provision.
    pub create: Option<Value>,
    /// Of an update.
    pub update: Option<Value>,
    /// Of a binding.
    pub bind: Option<Value>,
}

/// The driver's part of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanSettings {
    /// For [`DriverKind::Patroni`].
    Patroni(PatroniPlan),
    /// For [`DriverKind::Dream`].
    Dream,
}

/// A Patroni cluster's plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatroniPlan {
    /// The image of its members.
    pub image: String,
    /// How many nodes, where the request does not say.
    pub node_count: u32,
    /// Patroni's synchronous mode.
    pub synchronous: bool,
    /// The database that bindings name.
    pub database: String,
    /// Patroni's `ttl` in seconds: how long a silent leader keeps its lock.
    pub ttl_s: u32,
    /// Patroni's `loop_wait` in seconds.
    pub loop_wait_s: u32,
    /// Patroni's `retry_timeout` in seconds.
    pub retry_timeout_s: u32,
    /// The container's memory limit; none without.
    pub memory_bytes: Option<u64>,
    /// The container's `/dev/shm`.
    pub shm_bytes: u64,
    /// PostgreSQL's parameters, into Patroni's dynamic configuration.
    pub postgresql_parameters: Map<String, Value>,
}

impl PatroniPlan {
    /// What a plan is that says nothing but its image.
    #[must_use]
    pub fn of(image: &str) -> Self {
        Self {
            image: image.to_owned(),
            node_count: 2,
            synchronous: false,
            database: "postgres".to_owned(),
            ttl_s: 20,
            loop_wait_s: 3,
            retry_timeout_s: 8,
            memory_bytes: None,
            shm_bytes: 64 << 20,
            postgresql_parameters: Map::new(),
        }
    }

    /// What its nodes' containers are made as.
    #[must_use]
    pub fn build(&self) -> Build {
        Build { image: self.image.clone(), memory_bytes: self.memory_bytes, shm_bytes: self.shm_bytes }
    }
}

impl Catalog {
    /// The offering with this id.
    #[must_use]
    pub fn service(&self, id: &ServiceId) -> Option<&Service> {
        self.services.iter().find(|service| service.id == *id)
    }

    /// The service that has a plan with this id.
    #[must_use]
    pub fn service_of_plan(&self, id: &PlanId) -> Option<&Service> {
        self.services.iter().find(|service| service.plan(id).is_some())
    }
}

impl Service {
    /// The plan with this id.
    #[must_use]
    pub fn plan(&self, id: &PlanId) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.id == *id)
    }

    /// Whether instances of this plan can be bound.
    #[must_use]
    pub fn is_bindable(&self, plan: &Plan) -> bool {
        plan.bindable.unwrap_or(self.bindable)
    }

    /// Whether an instance of this plan may change to another one.
    #[must_use]
    pub fn is_plan_updateable(&self, plan: &Plan) -> bool {
        plan.plan_updateable.unwrap_or(self.plan_updateable)
    }

    /// Whether a binding to an instance of this plan may have a successor.
    #[must_use]
    pub fn is_binding_rotatable(&self, plan: &Plan) -> bool {
        plan.binding_rotatable.unwrap_or(self.binding_rotatable)
    }
}

impl DriverKind {
    /// Its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Patroni => "patroni",
            Self::Dream => "dream",
        }
    }
}
