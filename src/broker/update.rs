//! Changes an instance: decides what it is to be, and records that with the steps that make it so. The workers do the
//! rest; the instance is what it was until the last step is done.

use std::collections::BTreeSet;

use log::{info, warn};
use storage::StoreError;

use super::core::{CONFLICTS, Core};
use super::kept;
use super::offerings::Purpose;
use super::provision::{check_maintenance, check_polled, running};
use super::reshape::{Target, Work};
use super::{Accepted, BrokerError, UpdateRequest};
use crate::model::{Plan, Service};
use crate::scheduler::Step;
use crate::services::Change;
use crate::state::{InstanceRecord, OperationKind, Stored, UpdateRecord};

impl Core {
    pub(super) fn update(&self, request: &UpdateRequest) -> Result<Accepted, BrokerError> {
        for _ in 0..CONFLICTS {
            let record = self.instances.load(&request.instance)?.ok_or(BrokerError::InstanceUnknown)?;
            match self.update_record(record, request) {
                Err(BrokerError::Store(StoreError::Conflict)) => {}
                answer => return answer,
            }
        }
        Err(BrokerError::Concurrency)
    }

    fn update_record(
        &self,
        mut record: Stored<InstanceRecord>,
        request: &UpdateRequest,
    ) -> Result<Accepted, BrokerError> {
        self.check_service(&record.value, request)?;
        let update = self.resolve(&record.value, request)?;
        if let Some(operation) = record.value.under_way() {
            // What it is does not change while it is updated: the same request comes to the same.
            if operation.update.as_ref() != Some(&update) || request.rehearse {
                return Err(BrokerError::Concurrency);
            }
            check_polled(operation.answering, request.accepts_incomplete)?;
            return Ok(running(operation));
        }
        if let Some(reason) = self.unusable(&record.value) {
            return Err(BrokerError::InstanceFailed { reason: reason.to_owned() });
        }
        check_previous(&record.value, request)?;
        let changes_nothing = self.is_so(&record.value, &update) && record.value.context == update.context;
        if changes_nothing {
            return Ok(if request.rehearse {
                Accepted::Rehearsed { steps: Vec::new() }
            } else {
                Accepted::Already
            });
        }
        let work = self.plan_update(&record.value, &update, request.rehearse)?;
        let Some(work) = work.filter(|work| !work.procedure.steps.is_empty()) else {
            if request.rehearse {
                return Ok(Accepted::Rehearsed { steps: Vec::new() });
            }
            let version = update
                .maintenance_version
                .clone()
                .filter(|_| update.maintenance_version != record.value.maintenance_version);
            record.value.apply(update);
            self.instances.save(record)?;
            info!("instance {}: updated at once", request.instance);
            if let Some(version) = version {
                warn!(
                    "instance {}: it is said to be of version {version} from now on, and no node was made anew: the \
                     image is called as before",
                    request.instance
                );
            }
            return Ok(Accepted::Already);
        };
        if request.rehearse {
            return Ok(rehearsed(&work.procedure.steps));
        }
        check_polled(work.procedure.answering, request.accepts_incomplete)?;
        self.record_update(record, update, work, request.accepts_incomplete)
    }

    /// Records an update with its new nodes, in one compare-and-swap.
    pub(super) fn record_update(
        &self,
        mut record: Stored<InstanceRecord>,
        update: UpdateRecord,
        work: Work,
        accepts_incomplete: bool,
    ) -> Result<Accepted, BrokerError> {
        let Work { procedure, come, limit_s } = work;
        let mut operation = self.new_operation(OperationKind::Update, procedure, limit_s, accepts_incomplete);
        operation.update = Some(update);
        let (id, accepted) = (operation.id.clone(), running(&operation));
        let instance = record.value.instance_id.clone();
        record.value.begin(operation);
        self.note_builds(&mut record.value);
        record.value.nodes.extend(come.iter().cloned());
        let recorded = record.value.clone();
        if let Err(error) = self.note_pending(&instance, &id) {
            self.release_nodes(&recorded, come);
            return Err(error.into());
        }
        match self.instances.save(record) {
            Ok(_) => {}
            // It may stand there: what it claims must stay claimed. If it does not, the claims are reaped.
            Err(error @ StoreError::OutcomeUnknown { .. }) => return Err(error.into()),
            Err(error) => {
                self.release_nodes(&recorded, come);
                return Err(error.into());
            }
        }
        info!("instance {instance}: {id}");
        self.enqueue(&instance);
        Ok(accepted)
    }

    /// Writes down as what nodes were made before that was recorded: from now on the catalog does not tell any more.
    fn note_builds(&self, record: &mut InstanceRecord) {
        let Some(containers) = self.drivers.containers(record.driver) else { return };
        let Ok(plan) = self.plan_of(record) else { return };
        for node in record.nodes.iter_mut().filter(|node| node.build.is_none()) {
            node.build = Some(containers.build(plan, node));
        }
    }

    /// What makes it so; `None` where nothing has to be done but to note it down.
    fn plan_update(
        &self,
        record: &InstanceRecord,
        update: &UpdateRecord,
        rehearse: bool,
    ) -> Result<Option<Work>, BrokerError> {
        // The context is the platform's own affair: no driver is asked, also where the plan has left the catalog.
        if self.is_so(record, update) {
            return Ok(None);
        }
        let (_, plan) = self.offering_to(record, &update.plan_id)?;
        let change = self.driver_of(record).update(plan, self.plan_of(record).ok(), record, update)?;
        match change {
            Change::Steps(procedure) => {
                let limit_s = plan.maximum_polling_duration_s;
                Ok(Some(Work { procedure, come: Vec::new(), limit_s }))
            }
            Change::Reshape(wish) => {
                let target = Target { plan, update, wish: &wish, left: &BTreeSet::new() };
                self.plan_reshape(record, &target, rehearse).map(Some)
            }
        }
    }

    /// Whether the instance is what the update says, but for the context. Where the last one failed, its nodes may be
    /// others than it says of itself: its driver is asked.
    fn is_so(&self, record: &InstanceRecord, update: &UpdateRecord) -> bool {
        let may_differ =
            self.drivers.containers(record.driver).is_some() && record.has_failed_to_be_updated();
        !may_differ
            && record.plan_id == update.plan_id
            && record.parameters == update.parameters
            && record.maintenance_version == update.maintenance_version
    }

    fn check_service(&self, record: &InstanceRecord, request: &UpdateRequest) -> Result<(), BrokerError> {
        if request.service == record.service_id {
            return Ok(());
        }
        if self.offerings.catalog().service(&request.service).is_none() {
            return Err(BrokerError::UnknownService(request.service.clone()));
        }
        let reason = format!("the instance is one of service {}", record.service_id);
        Err(BrokerError::WrongPlan { reason })
    }

    /// What the instance is to be: what is not sent stays as it is.
    fn resolve(&self, record: &InstanceRecord, request: &UpdateRequest) -> Result<UpdateRecord, BrokerError> {
        let plan_id = request.plan.as_ref().unwrap_or(&record.plan_id);
        let changes_plan = *plan_id != record.plan_id;
        let needs_offering =
            changes_plan || request.parameters.is_some() || request.maintenance_version.is_some();
        let mut parameters = record.parameters.clone();
        let mut maintenance_version = record.maintenance_version.clone();
        if needs_offering {
            let (service, plan) = self.offering_to(record, plan_id)?;
            if changes_plan {
                check_plan_updateable(service, record)?;
            }
            check_maintenance(plan, request.maintenance_version.as_deref())?;
            if changes_plan || request.maintenance_version.is_some() {
                maintenance_version = offered_version(plan);
            }
            if let Some(wanted) = &request.parameters {
                kept::check(&[wanted], &[])?;
                self.offerings.check(plan, Purpose::Update, wanted)?;
                parameters.extend(wanted.clone());
            }
        }
        let context = request.context.as_ref().unwrap_or(&record.context);
        kept::check(&[&parameters, context], &[&record.organization_guid, &record.space_guid])?;
        Ok(UpdateRecord {
            previous_plan_id: record.plan_id.clone(),
            plan_id: plan_id.clone(),
            parameters,
            context: request.context.clone().unwrap_or_else(|| record.context.clone()),
            maintenance_version,
        })
    }
}

/// What would be done, in words.
pub(super) fn rehearsed(steps: &[Step]) -> Accepted {
    Accepted::Rehearsed { steps: steps.iter().map(Step::in_full).collect() }
}

fn offered_version(plan: &Plan) -> Option<String> {
    plan.maintenance.as_ref().map(|offered| offered.version.clone())
}

/// It is the plan that is left which says whether it can be (OSB 2.17, "Updating a Service Instance").
fn check_plan_updateable(service: &Service, record: &InstanceRecord) -> Result<(), BrokerError> {
    let updateable = service
        .plan(&record.plan_id)
        .map_or(service.plan_updateable, |plan| service.is_plan_updateable(plan));
    if updateable {
        return Ok(());
    }
    let reason = format!("instances of the plan {} cannot change their plan", record.plan_id);
    Err(BrokerError::UpdateNotSupported { reason })
}

/// What the platform believes the instance to be before the update. A request that comes again after it was fulfilled
/// speaks of what was before that.
fn check_previous(record: &InstanceRecord, request: &UpdateRequest) -> Result<(), BrokerError> {
    let previous = &request.previous;
    let service = previous.service.as_ref().is_none_or(|service| *service == record.service_id);
    let plan = previous.plan.as_ref().is_none_or(|plan| *plan == record.plan_id)
        || request.plan.as_ref() == Some(&record.plan_id);
    if !service || !plan {
        let reason =
            format!("the instance is one of service {} and plan {}", record.service_id, record.plan_id);
        return Err(BrokerError::WrongPlan { reason });
    }
    // An instance that was ordered when its plan had none has no version.
    let (Some(believed), Some(version)) = (&previous.maintenance_version, &record.maintenance_version) else {
        return Ok(());
    };
    if believed == version || request.maintenance_version.as_ref() == Some(version) {
        return Ok(());
    }
    Err(BrokerError::MaintenanceInfoConflict { reason: format!("the instance is of version {version}") })
}
