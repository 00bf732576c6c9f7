//! `GET /v2/catalog` (OSB 2.17, "Catalog Management"). It is rendered once, and who has it already is told so.

use std::fmt::Write as _;
use std::sync::Arc;

use blake2::Blake2s256;
use blake2::digest::Digest;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::Api;
use crate::api::message::{self, Answer};
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::model::{Catalog, Plan, Service};

/// The catalog as it is sent, for as long as the process runs.
pub(in crate::api) struct Rendered {
    body: Arc<[u8]>,
    /// Strong (RFC 9110, 8.8.3): the same for the same bytes, from whichever broker.
    etag: String,
}

impl Rendered {
    pub(in crate::api) fn new(catalog: &Catalog) -> Self {
        let body = render(catalog);
        let mut etag = String::from("\"");
        for byte in &Blake2s256::digest(&body)[..16] {
            write!(etag, "{byte:02x}").expect("a String takes every text");
        }
        etag.push('"');
        Self { body: body.into(), etag }
    }

    /// Whether an `If-None-Match` names it. Weak comparison, as the header wants it (RFC 9110, 13.1.2).
    fn is_known(&self, header: &str) -> bool {
        let mut tags = header.split(',').map(str::trim);
        header.trim() == "*" || tags.any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == self.etag)
    }
}

#[derive(Serialize)]
struct CatalogBody<'a> {
    services: Vec<ServiceBody<'a>>,
}

#[derive(Serialize)]
struct ServiceBody<'a> {
    id: &'a str,
    name: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    requires: &'a [String],
    bindable: bool,
    instances_retrievable: bool,
    bindings_retrievable: bool,
    allow_context_updates: bool,
    #[serde(skip_serializing_if = "Map::is_empty")]
    metadata: &'a Map<String, Value>,
    plan_updateable: bool,
    plans: Vec<PlanBody<'a>>,
}

#[derive(Serialize)]
struct PlanBody<'a> {
    id: &'a str,
    name: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    metadata: &'a Map<String, Value>,
    free: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bindable: Option<bool>,
    /// Of plans only in the specification, and false where it is not there.
    binding_rotatable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_updateable: Option<bool>,
    #[serde(skip_serializing_if = "SchemasBody::is_empty")]
    schemas: SchemasBody<'a>,
    maximum_polling_duration: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    maintenance_info: Option<MaintenanceBody<'a>>,
}

#[derive(Serialize)]
struct SchemasBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    service_instance: Option<InstanceSchemas<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_binding: Option<BindingSchemas<'a>>,
}

impl SchemasBody<'_> {
    fn is_empty(&self) -> bool {
        self.service_instance.is_none() && self.service_binding.is_none()
    }
}

#[derive(Serialize)]
struct InstanceSchemas<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    create: Option<Parameters<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<Parameters<'a>>,
}

#[derive(Serialize)]
struct BindingSchemas<'a> {
    create: Parameters<'a>,
}

#[derive(Serialize)]
struct Parameters<'a> {
    parameters: &'a Value,
}

#[derive(Serialize)]
struct MaintenanceBody<'a> {
    version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
}

pub(in crate::api) fn get(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    let Rendered { body, etag } = &api.catalog;
    let known = call.if_none_match.as_ref().is_some_and(|header| api.catalog.is_known(header));
    let response = if known { message::rendered(304, &Arc::default()) } else { message::rendered(200, body) };
    Ok(Answer::Now(response.with("ETag", etag.clone())))
}

fn render(catalog: &Catalog) -> Vec<u8> {
    let body = CatalogBody { services: catalog.services.iter().map(service).collect() };
    serde_json::to_vec(&body).expect("a catalog has only texts for keys")
}

fn service(service: &Service) -> ServiceBody<'_> {
    ServiceBody {
        id: service.id.as_str(),
        name: &service.name,
        description: &service.description,
        tags: &service.tags,
        requires: &service.requires,
        bindable: service.bindable,
        instances_retrievable: true,
        bindings_retrievable: true,
        allow_context_updates: true,
        metadata: &service.metadata,
        plan_updateable: service.plan_updateable,
        plans: service.plans.iter().map(|each| plan(service, each)).collect(),
    }
}

fn plan<'a>(service: &Service, plan: &'a Plan) -> PlanBody<'a> {
    let parameters = |parameters: &'a Value| Parameters { parameters };
    let create = plan.schemas.create.as_ref().map(parameters);
    let update = plan.schemas.update.as_ref().map(parameters);
    let some = create.is_some() || update.is_some();
    PlanBody {
        id: plan.id.as_str(),
        name: &plan.name,
        description: &plan.description,
        metadata: &plan.metadata,
        free: plan.free,
        bindable: plan.bindable,
        binding_rotatable: service.is_binding_rotatable(plan),
        plan_updateable: plan.plan_updateable,
        schemas: SchemasBody {
            service_instance: some.then_some(InstanceSchemas { create, update }),
            service_binding: plan
                .schemas
                .bind
                .as_ref()
                .map(parameters)
                .map(|create| BindingSchemas { create }),
        },
        maximum_polling_duration: plan.maximum_polling_duration_s,
        maintenance_info: plan.maintenance.as_ref().map(|maintenance| MaintenanceBody {
            version: &maintenance.version,
            description: &maintenance.description,
        }),
    }
}
