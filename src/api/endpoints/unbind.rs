//! `DELETE /v2/service_instances/:instance_id/service_bindings/:binding_id` (OSB 2.17, "Unbinding"). `service_id` and
//! `plan_id`, which the specification requires, may be left out: the ids in the path say it all.

use log::error;

use super::running;
use crate::api::Api;
use crate::api::message::{self, Answer};
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::broker::{BrokerError, UnbindRequest, Unbound};

pub(in crate::api) fn delete(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    let accepts_incomplete = call.accepts_incomplete()?;
    let (service, plan) = call.believed()?;
    let (instance, binding) = (call.instance(), call.binding());
    match api.orders.unbind(UnbindRequest { instance, binding, service, plan, accepts_incomplete })? {
        Unbound::Now => Ok(Answer::Now(message::empty(200))),
        Unbound::Running { operation } if accepts_incomplete => Ok(Answer::Now(running(&operation))),
        Unbound::Running { operation } => {
            error!("operation {operation} was begun for a sender who does not poll");
            Err(BrokerError::AsyncRequired.into())
        }
    }
}
