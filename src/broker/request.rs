//! What callers ask and what they are told.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::model::{BindingId, CellGuid, InstanceId, OperationId, PlanId, ServiceId};
use crate::state::{EndedOperation, OperationState};

/// An order (OSB 2.17, "Provisioning").
#[derive(Clone, Debug)]
pub struct ProvisionRequest {
    /// The platform's id for it.
    pub instance: InstanceId,
    /// Of the catalog; as sent, since an id that is none is simply unknown.
    pub service: ServiceId,
    /// Of the catalog.
    pub plan: PlanId,
    /// The ancestors' field; empty when not sent.
    pub organization_guid: String,
    /// The ancestors' field; empty when not sent.
    pub space_guid: String,
    /// What the user wants besides; the driver checks it.
    pub parameters: Map<String, Value>,
    /// The platform's context, kept as it came.
    pub context: Map<String, Value>,
    /// The version that the platform has seen in the catalog (OSB 2.17, "Maintenance Info Object").
    pub maintenance_version: Option<String>,
    /// Whether the caller polls; otherwise it is answered when the operation has ended.
    pub accepts_incomplete: bool,
}

/// A wish to look at an instance (OSB 2.17, "Fetching a Service Instance").
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// Which instance.
    pub instance: InstanceId,
    /// What the caller believes it to be; unchecked when not sent.
    pub service: Option<ServiceId>,
    /// What the caller believes it to be.
    pub plan: Option<PlanId>,
}

/// What an instance is.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// Of the catalog, when it was ordered.
    pub service: ServiceId,
    /// Of the catalog, when it was ordered or last updated.
    pub plan: PlanId,
    /// As they were sent, those of updates over those of the order.
    pub parameters: Map<String, Value>,
    /// Which version it was last brought to.
    pub maintenance_version: Option<String>,
    /// Its dashboard, where its driver has one.
    pub dashboard_url: Option<String>,
    /// Labels and attributes (OSB 2.17, "Service Instance Metadata").
    pub metadata: Option<Value>,
}

/// A change (OSB 2.17, "Updating a Service Instance"). What is not sent stays as it is.
#[derive(Clone, Debug)]
pub struct UpdateRequest {
    /// Which instance.
    pub instance: InstanceId,
    /// Must be the instance's.
    pub service: ServiceId,
    /// The plan that it is to have.
    pub plan: Option<PlanId>,
    /// What the user wants changed.
    pub parameters: Option<Map<String, Value>>,
    /// The platform's context, which replaces the one that is kept.
    pub context: Option<Map<String, Value>>,
    /// The version that it is to be brought to: the catalog's, or the request is out of date.
    pub maintenance_version: Option<String>,
    /// What the platform believes it to be.
    pub previous: PreviousValues,
    /// Whether the caller polls; otherwise it is answered when the operation has ended.
    pub accepts_incomplete: bool,
    /// Whether only to say what would be done; for admins.
    pub rehearse: bool,
}

/// What a platform believes an instance to be before an update (OSB 2.17, "Previous Values Object").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreviousValues {
    /// Must be the instance's, if sent.
    pub service: Option<ServiceId>,
    /// Must be the instance's, if sent.
    pub plan: Option<PlanId>,
    /// Which version it was last brought to.
    pub maintenance_version: Option<String>,
}

/// A look at how an operation stands (OSB 2.17, "Polling Last Operation").
#[derive(Clone, Debug)]
pub struct PollRequest {
    /// Which instance.
    pub instance: InstanceId,
    /// Of which binding, where it is one of a binding.
    pub binding: Option<BindingId>,
    /// What the operation was called when it was accepted; clients may leave it out, and mean the last one.
    pub operation: Option<String>,
    /// What the caller believes the instance to be; unchecked when not sent.
    pub service: Option<ServiceId>,
    /// What the caller believes the instance to be.
    pub plan: Option<PlanId>,
}

/// A return (OSB 2.17, "Deprovisioning").
#[derive(Clone, Debug)]
pub struct DeprovisionRequest {
    /// Which instance.
    pub instance: InstanceId,
    /// What the caller believes it to be; unchecked when not sent, as the ancestors' users do.
    pub service: Option<ServiceId>,
    /// What the caller believes it to be.
    pub plan: Option<PlanId>,
    /// Whether the caller polls.
    pub accepts_incomplete: bool,
    /// Whether to wait for no cell that does not answer: what is left there is remembered, and removed when it does; for
    /// admins.
    pub force: bool,
}

/// A wish to have nothing on a cell.
#[derive(Clone, Debug)]
pub struct DrainRequest {
    /// Which.
    pub cell: CellGuid,
    /// How many instances move at the same time. Defaults to 2, or to what was asked for before.
    pub at_once: Option<usize>,
    /// Whether only to say what would be done.
    pub dry_run: bool,
}

/// A wish for credentials (OSB 2.17, "Binding").
#[derive(Clone, Debug)]
pub struct BindRequest {
    /// Of which instance.
    pub instance: InstanceId,
    /// The platform's id for it.
    pub binding: BindingId,
    /// Must be the instance's. A successor's may be left out.
    pub service: Option<ServiceId>,
    /// Must be the instance's. A successor's may be left out.
    pub plan: Option<PlanId>,
    /// What the user wants besides; kept, and compared when the request comes again.
    pub parameters: Map<String, Value>,
    /// Which application, as it came; kept, and compared when the request comes again.
    pub bind_resource: Map<String, Value>,
    /// The platform's context, kept as it came.
    pub context: Map<String, Value>,
    /// The binding that this one follows (OSB 2.17, "Binding Rotation"): it takes over what it was asked with.
    pub predecessor: Option<BindingId>,
    /// Whether the caller polls.
    pub accepts_incomplete: bool,
}

/// The end of a binding (OSB 2.17, "Unbinding").
#[derive(Clone, Debug)]
pub struct UnbindRequest {
    /// Of which instance.
    pub instance: InstanceId,
    /// Which binding.
    pub binding: BindingId,
    /// What the caller believes the instance to be; unchecked when not sent.
    pub service: Option<ServiceId>,
    /// What the caller believes the instance to be.
    pub plan: Option<PlanId>,
    /// Whether the caller polls.
    pub accepts_incomplete: bool,
}

/// A request was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is so: the same request came before and has ended well, or there was nothing to do but to note it down.
    Already,
    /// This operation makes it so: poll, or wait with [`super::Broker::when_done`].
    Running {
        /// Its id.
        operation: OperationId,
        /// Whether it ends so soon that its sender should be answered at its end, also who polls.
        soon: bool,
    },
    /// It was only a rehearsal: these steps would make it so, and nothing has changed.
    Rehearsed {
        /// In order, in words; none where nothing would have to be done.
        steps: Vec<String>,
    },
}

/// What a wish for credentials came to.
#[derive(Clone)]
pub enum Bound {
    /// They are there.
    Now {
        /// What it gives.
        binding: Binding,
        /// Whether this request made it, or the same one before.
        new: bool,
    },
    /// This operation makes them: poll.
    Running {
        /// Its id.
        operation: OperationId,
    },
}

/// What the end of a binding came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unbound {
    /// It is over.
    Now,
    /// This operation ends it: poll.
    Running {
        /// Its id.
        operation: OperationId,
    },
}

/// What a binding gives. It holds a password: no `Debug`.
#[derive(Clone)]
pub struct Binding {
    /// The `credentials` object of the answer.
    pub credentials: Map<String, Value>,
    /// Where the credentials lead (OSB 2.17, "Endpoint Object").
    pub endpoints: Vec<Endpoint>,
    /// As they were sent.
    pub parameters: Map<String, Value>,
    /// When it ends by itself, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// When it should have a successor, in milliseconds since 1970.
    pub renew_before_ms: Option<u64>,
    /// What else belongs into the answer's `metadata` object, under the driver's own names.
    pub metadata: Map<String, Value>,
}

/// A host and its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address.
    pub host: String,
    /// TCP ports.
    pub ports: Vec<u16>,
}

/// How an operation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastOperation {
    /// It goes on.
    InProgress {
        /// In the ancestors' words.
        description: String,
        /// When it is worth to ask again; the platform decides where none is said.
        retry_after: Option<Duration>,
    },
    /// It has ended well.
    Succeeded {
        /// In the ancestors' words.
        description: String,
    },
    /// It has ended badly.
    Failed {
        /// For the user.
        description: String,
        /// Whether the instance can be used all the same; only of an update or a deprovision.
        instance_usable: Option<bool>,
        /// Whether the same may be tried again; only of an update.
        update_repeatable: Option<bool>,
    },
}

/// How a synchronous caller's operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Succeeded,
    /// Badly.
    Failed {
        /// For the user.
        description: String,
        /// As in [`LastOperation::Failed`].
        instance_usable: Option<bool>,
        /// As in [`LastOperation::Failed`].
        update_repeatable: Option<bool>,
    },
    /// Not yet: it goes on, and can be polled.
    StillRunning,
    /// The broker stops; the operation is resumed when it starts again, and can be polled.
    Stopping,
}

impl Outcome {
    /// How an operation ended; `None` while it has not.
    pub(super) fn of(operation: EndedOperation) -> Option<Self> {
        let EndedOperation { state, description, instance_usable, update_repeatable, .. } = operation;
        match state {
            OperationState::InProgress => None,
            OperationState::Succeeded => Some(Self::Succeeded),
            OperationState::Failed => Some(Self::Failed { description, instance_usable, update_repeatable }),
        }
    }
}
