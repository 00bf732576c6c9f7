//! `/admin/cells…`: the cells, what is to become of them, and what is on them. What takes longer than a look is answered
//! before it is done and can be looked at, but for a demotion and a rehearsal: each keeps a worker thread, for a minute
//! at most and the last cluster's answer, and there is only one of them at a time.

use serde::Serialize;

use crate::api::Api;
use crate::api::body::Body;
use crate::api::message::{self, Answer};
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::broker::{CellStanding, CellView, Demotion, DrainRequest, Drained, RehearsedMove};
use crate::model::CellGuid;

/// The most instances that may move at the same time.
const MOST_AT_ONCE: u64 = 64;

/// An object, so that more can be told beside the list one day.
#[derive(Serialize)]
struct Cells {
    cells: Vec<CellView>,
}

#[derive(Serialize)]
struct Standing {
    guid: CellGuid,
    #[serde(flatten)]
    standing: CellStanding,
}

#[derive(Serialize)]
struct Rehearsed {
    dry_run: bool,
    service_instances: Vec<RehearsedMove>,
    /// How many were not looked at any more.
    left_off: usize,
}

#[derive(Serialize)]
struct Demoted {
    service_instances: Vec<Demotion>,
}

/// `GET /admin/cells`.
pub(in crate::api) fn list(api: &Api, _: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    Ok(Answer::Now(message::json(200, &Cells { cells: api.orders.cells()? })))
}

/// `GET /admin/cells/:cell`.
pub(in crate::api) fn get(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    Ok(Answer::Now(message::json(200, &api.orders.cell(&call.cell())?)))
}

/// `POST /admin/cells/:cell/cordon`.
pub(in crate::api) fn cordon(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    Ok(stands(call, 200, api.orders.cordon(&call.cell())?))
}

/// `POST /admin/cells/:cell/uncordon`.
pub(in crate::api) fn uncordon(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    Ok(stands(call, 200, api.orders.uncordon(&call.cell())?))
}

/// `POST /admin/cells/:cell/drain`: 202 while something is there, 200 when it is safe to reboot.
pub(in crate::api) fn drain(api: &Api, call: &Call, body: &[u8]) -> Result<Answer, Refusal> {
    let body = Body::parse_or_empty(body)?;
    body.has_only(&["at_once", "dry_run"])?;
    let at_once = body.number("at_once", 1, MOST_AT_ONCE)?;
    let request = DrainRequest {
        cell: call.cell(),
        at_once: at_once.and_then(|at_once| usize::try_from(at_once).ok()),
        dry_run: body.flag("dry_run")?.unwrap_or_default(),
    };
    Ok(match api.orders.drain(&request)? {
        Drained::Begun(standing) => stands(call, if standing.safe_to_reboot { 200 } else { 202 }, standing),
        Drained::Rehearsed { moves, left_off } => {
            let rehearsed = Rehearsed { dry_run: true, service_instances: moves, left_off };
            Answer::Now(message::json(200, &rehearsed))
        }
    })
}

/// `POST /admin/cells/:cell/demote`.
pub(in crate::api) fn demote(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    let demoted = Demoted { service_instances: api.orders.demote(&call.cell())? };
    Ok(Answer::Now(message::json(200, &demoted)))
}

fn stands(call: &Call, status: u16, standing: CellStanding) -> Answer {
    Answer::Now(message::json(status, &Standing { guid: call.cell(), standing }))
}
