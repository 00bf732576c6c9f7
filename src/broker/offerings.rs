//! What is offered: the catalog with what its drivers add to it, and the schemas that parameters are held against.

use std::collections::HashMap;

use log::warn;
use serde_json::{Map, Value};

use super::{BrokerError, StartError};
use crate::model::{Catalog, ParameterSchema, Plan, PlanId, Schemas, Service, ServiceId};
use crate::services::Drivers;

/// The catalog as it holds, with its schemas compiled.
pub(super) struct Offerings {
    catalog: Catalog,
    checks: HashMap<PlanId, Checks>,
}

/// A plan's schemas. Of each there may be the driver's and the site's: both must accept.
#[derive(Default)]
struct Checks {
    create: Vec<ParameterSchema>,
    update: Vec<ParameterSchema>,
    bind: Vec<ParameterSchema>,
}

/// What parameters come with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Create,
    Update,
    Bind,
}

impl Offerings {
    /// The site's catalog, completed by its drivers: where the site has no schema the driver's is told, and what a driver
    /// cannot do is not offered.
    pub(super) fn new(mut catalog: Catalog, drivers: &Drivers) -> Result<Self, StartError> {
        let mut checks = HashMap::new();
        for service in &mut catalog.services {
            let driver = drivers.of(service.driver);
            let rotates = driver.has_rotatable_bindings();
            if !rotates && service.plans.iter().any(|plan| service.is_binding_rotatable(plan)) {
                warn!("bindings of service {} cannot be rotated: they share credentials", service.name);
            }
            service.binding_rotatable &= rotates;
            for plan in &mut service.plans {
                plan.binding_rotatable = plan.binding_rotatable.map(|wanted| wanted && rotates);
                let own = driver.schemas(plan);
                checks.insert(plan.id.clone(), Checks::compile(plan, &own)?);
                let Schemas { create, update, bind } = &mut plan.schemas;
                *create = create.take().or(own.create);
                *update = update.take().or(own.update);
                *bind = bind.take().or(own.bind);
            }
        }
        Ok(Self { catalog, checks })
    }

    pub(super) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The service and plan with these ids.
    pub(super) fn find(&self, service: &ServiceId, plan: &PlanId) -> Result<(&Service, &Plan), BrokerError> {
        let offered =
            self.catalog.service(service).ok_or_else(|| BrokerError::UnknownService(service.clone()))?;
        if let Some(plan) = offered.plan(plan) {
            return Ok((offered, plan));
        }
        Err(match self.catalog.service_of_plan(plan) {
            Some(other) => BrokerError::WrongPlan {
                reason: format!("the plan {plan} is one of service {}, not of {service}", other.id),
            },
            None => BrokerError::UnknownPlan(plan.clone()),
        })
    }

    /// Holds parameters against the plan's schemas.
    pub(super) fn check(
        &self,
        plan: &Plan,
        purpose: Purpose,
        parameters: &Map<String, Value>,
    ) -> Result<(), BrokerError> {
        let Some(checks) = self.checks.get(&plan.id) else { return Ok(()) };
        let schemas = match purpose {
            Purpose::Create => &checks.create,
            Purpose::Update => &checks.update,
            Purpose::Bind => &checks.bind,
        };
        let checked = schemas.iter().try_for_each(|schema| schema.check(parameters));
        checked.map_err(|reason| BrokerError::InvalidParameters { reason })
    }
}

impl Checks {
    fn compile(plan: &Plan, own: &Schemas) -> Result<Self, StartError> {
        let site = &plan.schemas;
        let both = |name: &str, own: &Option<Value>, site: &Option<Value>| {
            let compile = |schema| {
                ParameterSchema::compile(schema).map_err(|error| StartError::Catalog {
                    reason: format!("the {name} schema of the plan {}: {error}", plan.id),
                })
            };
            own.iter().chain(site).map(compile).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            create: both("create", &own.create, &site.create)?,
            update: both("update", &own.update, &site.update)?,
            bind: both("bind", &own.bind, &site.bind)?,
        })
    }
}
