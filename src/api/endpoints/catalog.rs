//! `GET /v2/catalog` (OSB 2.17, "Catalog Management").

use serde::Serialize;

use crate::api::Api;
use crate::api::message::{Answer, Response};
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::model::{Catalog, Plan, Service};

#[derive(Serialize)]
struct CatalogBody<'a> {
    services: Vec<ServiceBody<'a>>,
}

#[derive(Serialize)]
struct ServiceBody<'a> {
    id: &'a str,
    name: &'a str,
    description: &'a str,
    bindable: bool,
    plan_updateable: bool,
    instances_retrievable: bool,
    bindings_retrievable: bool,
    tags: &'a [String],
    plans: Vec<PlanBody<'a>>,
}

#[derive(Serialize)]
struct PlanBody<'a> {
    id: &'a str,
    name: &'a str,
    description: &'a str,
    free: bool,
    maximum_polling_duration: u64,
}

/// What is answered, for as long as the process runs.
pub(in crate::api) fn get(api: &Api, _: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    Ok(Answer::Now(Response::rendered(200, &api.catalog)))
}

/// The body of the answer.
pub(in crate::api) fn render(catalog: &Catalog) -> Vec<u8> {
    let body = CatalogBody { services: catalog.services.iter().map(service).collect() };
    serde_json::to_vec(&body).expect("a catalog has only texts for keys")
}

fn service(service: &Service) -> ServiceBody<'_> {
    ServiceBody {
        id: service.id.as_str(),
        name: &service.name,
        description: &service.description,
        bindable: service.bindable,
        plan_updateable: service.plan_updateable,
        instances_retrievable: false,
        bindings_retrievable: false,
        tags: &service.tags,
        plans: service.plans.iter().map(plan).collect(),
    }
}

fn plan(plan: &Plan) -> PlanBody<'_> {
    PlanBody {
        id: plan.id.as_str(),
        name: &plan.name,
        description: &plan.description,
        free: plan.free,
        maximum_polling_duration: plan.maximum_polling_duration_s,
    }
}
