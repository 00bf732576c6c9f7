//! An operation as it stands in its instance's record, with its plan.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{CellGuid, OperationId, PlanId};
use crate::scheduler::Step;

/// An operation with its plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OperationRecord {
    /// Its id.
    pub id: OperationId,
    /// What it is.
    pub kind: OperationKind,
    /// How it stands.
    pub state: OperationState,
    /// What it does, in order.
    pub steps: Vec<Step>,
    /// How many of the steps are done.
    pub done: usize,
    /// Why it failed; while that is set and the operation goes on, its steps undo it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The last word, once it has ended.
    #[serde(default)]
    pub description: String,
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
    /// When it must have ended, in milliseconds since 1970.
    pub deadline_ms: u64,
    /// Until when its caller waits for its answer, in milliseconds since 1970: a provision that has failed by then
    /// leaves no record, since its caller is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_by_ms: Option<u64>,
    /// When those who ask for it are answered.
    #[serde(default, skip_serializing_if = "Answering::is_default")]
    pub answering: Answering,
    /// Whether nobody waits for cells that do not answer: what is left on them outlives the instance as an orphan.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// In whose place it came, before that had ended: what that one makes may come late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<OperationId>,
    /// Cells that refused a node or did not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
    /// What an update makes of the instance, written into its record when the last step is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateRecord>,
    /// Whether the instance can be used all the same, once an update or a deprovision has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_usable: Option<bool>,
    /// Whether the same may go well another time, once an update has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_repeatable: Option<bool>,
}

/// What an update makes of an instance: all of what it may change, also what it does not, so that the same request
/// again is known by coming to the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateRecord {
    /// The plan before it: by which who polls goes on to call it (OSB 2.17, "Polling Last Operation").
    pub previous_plan_id: PlanId,
    /// The plan that it is to have.
    pub plan_id: PlanId,
    /// Its parameters, those of the request over those that it had.
    pub parameters: Map<String, Value>,
    /// The platform's context.
    pub context: Map<String, Value>,
    /// Which version it is brought to.
    pub maintenance_version: Option<String>,
}

/// When those who ask for an operation are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answering {
    /// Who waits, at its end; who polls, at once.
    #[default]
    AsAsked,
    /// Only who polls is served.
    Polled,
    /// It ends so soon that who polls is answered at its end too.
    Soon,
}

/// An operation as it is remembered when others have followed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedOperation {
    /// Its id.
    pub id: OperationId,
    /// How it ended.
    pub state: OperationState,
    /// Its last word.
    #[serde(default)]
    pub description: String,
    /// As in [`OperationRecord`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_usable: Option<bool>,
    /// As in [`OperationRecord`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_repeatable: Option<bool>,
}

/// A cell that would not take a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// Which.
    pub cell: CellGuid,
    /// Whether the container may be there all the same, or come yet.
    #[serde(default)]
    pub may_exist: bool,
    /// Why.
    pub reason: String,
}

/// What an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Makes an instance.
    Provision,
    /// Changes it.
    Update,
    /// Takes it away.
    Deprovision,
}

/// How an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// Steps are left.
    InProgress,
    /// It has ended well.
    Succeeded,
    /// It has ended badly.
    Failed,
}

impl OperationKind {
    /// Its name, with which operation ids begin.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Update => "update",
            Self::Deprovision => "deprovision",
        }
    }
}

impl OperationState {
    /// As platforms and operators are told.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in progress",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Answering {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl OperationRecord {
    /// Whether steps are left.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.state == OperationState::InProgress
    }

    /// Whether it came in the place of a provision, so that there never was an instance.
    #[must_use]
    pub fn replaces_provision(&self) -> bool {
        let kind = OperationKind::Provision.as_str();
        let rest = self.replaces.as_ref().and_then(|replaced| replaced.as_str().strip_prefix(kind));
        rest.is_some_and(|rest| rest.starts_with('-'))
    }

    /// Until when the next step has nothing to do, in milliseconds since 1970: at the latest until the operation is
    /// overdue. `None` where it can be performed at any time.
    #[must_use]
    pub fn waits_until_ms(&self) -> Option<u64> {
        match self.steps.get(self.done) {
            Some(Step::Wait { for_ms }) if self.is_under_way() => {
                let due = self.started_ms.saturating_add(*for_ms);
                Some(due.min(self.deadline_ms.saturating_add(1)))
            }
            _ => None,
        }
    }
}

impl From<OperationRecord> for EndedOperation {
    fn from(operation: OperationRecord) -> Self {
        let OperationRecord { id, state, description, instance_usable, update_repeatable, .. } = operation;
        Self { id, state, description, instance_usable, update_repeatable }
    }
}
