//! What callers ask and what they are told.

use serde_json::{Map, Value};

use crate::model::{BindingId, InstanceId, OperationId, PlanId, ServiceId};

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
    /// Whether the caller polls; otherwise it is answered when the operation has ended.
    pub accepts_incomplete: bool,
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
}

/// A wish for credentials (OSB 2.17, "Binding").
#[derive(Clone, Debug)]
pub struct BindRequest {
    /// Of which instance.
    pub instance: InstanceId,
    /// The platform's id for it.
    pub binding: BindingId,
    /// Must be the instance's.
    pub service: ServiceId,
    /// Must be the instance's.
    pub plan: PlanId,
    /// What the user wants besides; kept, and compared when the request comes again.
    pub parameters: Map<String, Value>,
    /// Which application, as it came; kept, and compared when the request comes again.
    pub bind_resource: Map<String, Value>,
}

/// The end of a binding (OSB 2.17, "Unbinding").
#[derive(Clone, Debug)]
pub struct UnbindRequest {
    /// Of which instance.
    pub instance: InstanceId,
    /// Which binding.
    pub binding: BindingId,
}

/// A request was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is so already: the same request came before and has ended well.
    Already,
    /// This operation makes it so: poll, or wait with [`super::Broker::when_done`].
    Running {
        /// Its id.
        operation: OperationId,
    },
}

/// A binding's credentials. They hold a password: no `Debug`.
#[derive(Clone)]
pub struct Bound {
    /// The `credentials` object of the answer.
    pub credentials: Map<String, Value>,
    /// Whether this request made it, or the same one before.
    pub new: bool,
}

/// How an operation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastOperation {
    /// It goes on.
    InProgress {
        /// In the ancestors' words.
        description: String,
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
    },
    /// Not yet: it goes on, and can be polled.
    StillRunning,
    /// The broker stops; the operation is resumed when it starts again, and can be polled.
    Stopping,
}
