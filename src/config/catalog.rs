//! `[[services]]` and `[[services.plans]]`: what is offered. The driver's part of a plan is read in its own file.

use std::collections::BTreeMap;

use super::Surroundings;
use super::patroni;
use super::reader::Section;
use super::schemas;
use crate::model::{Catalog, DriverKind, MaintenanceInfo, Plan, PlanId, PlanSettings, Service, ServiceId};

/// What the specification lets a service ask for (OSB 2.17, "Service Offering Object").
const PERMISSIONS: [&str; 3] = ["syslog_drain", "route_forwarding", "volume_mount"];

/// Whether any service needs cells, and with them public ports and an address that applications are told. What is wrong
/// with the services is not reported here.
pub(super) fn uses_cells(root: &Section<'_>) -> bool {
    let drivers = root.sections_quietly("services").into_iter().filter_map(|service| service.get("driver"));
    drivers.filter_map(|driver| driver.as_str()).any(|driver| driver == DriverKind::Patroni.as_str())
}

pub(super) fn read(root: &Section<'_>, surroundings: Surroundings<'_>, cells: usize) -> Option<Catalog> {
    let sections = root.sections("services");
    if sections.is_empty() {
        root.problem("services", "at least one [[services]] is required");
        return None;
    }
    let mut taken = Taken::default();
    let services: Vec<Option<Service>> =
        sections.iter().map(|section| read_service(section, surroundings, cells, &mut taken)).collect();
    Some(Catalog { services: services.into_iter().collect::<Option<_>>()? })
}

/// Ids and names that are given away, and where. Ids are unique over services and plans together (OSB 2.17,
/// "Service Offering Object": a GUID), names of plans within their service.
#[derive(Default)]
struct Taken {
    by: BTreeMap<String, String>,
}

impl Taken {
    fn take(&mut self, section: &Section<'_>, field: &'static str, scope: &str) {
        let Some(raw) = section.text(field) else { return };
        let place = section.path(field);
        if let Some(first) = self.by.insert(format!("{scope} {raw}"), place) {
            section.problem(field, format!("{raw} is that of {first} too"));
        }
    }
}

fn read_service(
    section: &Section<'_>,
    surroundings: Surroundings<'_>,
    cells: usize,
    taken: &mut Taken,
) -> Option<Service> {
    let id = section.required("id", ServiceId::parse);
    let name = section.required("name", name);
    taken.take(section, "id", "id");
    taken.take(section, "name", "service");
    let driver = section.required("driver", |raw| match raw {
        "patroni" => Ok(DriverKind::Patroni),
        "dream" => Ok(DriverKind::Dream),
        "container" => Err("is not in this version; use \"patroni\" or \"dream\""),
        _ => Err("must be \"patroni\" or \"dream\""),
    });
    let description = section.required_text("description");
    let bindable = section.flag("bindable", true);
    let plan_updateable = section.flag("plan_updateable", false);
    let binding_rotatable = section.flag("binding_rotatable", false);
    let requires = read_requires(section);
    let requires_app = section.flag("requires_app", false);
    let metadata = section.json("metadata");
    let tags = section.texts("tags").into_iter().map(str::to_owned).collect();
    let plans = section.sections("plans");
    section.end();
    if plans.is_empty() {
        section.problem("plans", "at least one [[services.plans]] is required");
    }
    let plans: Vec<Option<Plan>> = plans
        .iter()
        .map(|plan| {
            taken.take(plan, "id", "id");
            taken.take(plan, "name", section.own_path());
            read_plan(plan, surroundings, driver, bindable, cells)
        })
        .collect();
    Some(Service {
        id: id?,
        name: name?,
        driver: driver?,
        description: description?.to_owned(),
        bindable,
        plan_updateable,
        binding_rotatable,
        requires,
        requires_app,
        metadata,
        tags,
        plans: plans.into_iter().collect::<Option<Vec<_>>>()?,
    })
}

fn read_requires(section: &Section<'_>) -> Vec<String> {
    let given = section.texts("requires");
    for (index, permission) in given.iter().enumerate() {
        let place = format!("requires[{index}]");
        if !PERMISSIONS.contains(permission) {
            section.problem(&place, format!("must be one of {}", PERMISSIONS.join(", ")));
        } else if given[..index].contains(permission) {
            section.problem(&place, format!("{permission} is there twice"));
        }
    }
    given.into_iter().map(str::to_owned).collect()
}

fn read_plan(
    section: &Section<'_>,
    surroundings: Surroundings<'_>,
    driver: Option<DriverKind>,
    service_is_bindable: bool,
    cells: usize,
) -> Option<Plan> {
    let id = section.required("id", PlanId::parse);
    let name = section.required("name", name);
    let description = section.required_text("description");
    let free = section.flag("free", true);
    let bindable = section.given_flag("bindable");
    let plan_updateable = section.given_flag("plan_updateable");
    let binding_rotatable = section.given_flag("binding_rotatable");
    let metadata = section.json("metadata");
    let maintenance =
        section.has("maintenance_info").then(|| read_maintenance(&section.section("maintenance_info")));
    let schemas = schemas::read(&section.section("schemas"), surroundings);
    if schemas.bind.is_some() && !bindable.unwrap_or(service_is_bindable) {
        section.problem("schemas.bind", "has no use: nothing can be bound to this plan");
    }
    let maximum_polling_duration_s =
        section.number_or("maximum_polling_duration_s", Plan::MAXIMUM_POLLING_DURATION_S, 1..=604_800);
    let settings = match driver? {
        DriverKind::Patroni => patroni::read(section, cells).map(PlanSettings::Patroni),
        DriverKind::Dream => Some(PlanSettings::Dream),
    };
    // Only here: of an unknown driver, nobody knows the fields.
    section.end();
    Some(Plan {
        id: id?,
        name: name?,
        description: description?.to_owned(),
        free,
        bindable,
        plan_updateable,
        binding_rotatable,
        metadata,
        maintenance: match maintenance {
            Some(read) => Some(read?),
            None => None,
        },
        schemas,
        maximum_polling_duration_s: u64::from(maximum_polling_duration_s),
        settings: settings?,
    })
}

/// OSB 2.17, "Maintenance Info Object": a semantic version, and a text for people.
fn read_maintenance(section: &Section<'_>) -> Option<MaintenanceInfo> {
    let version = section.required("version", |raw| match semver::Version::parse(raw) {
        Ok(_) => Ok(raw.to_owned()),
        Err(error) => Err(format!("must be a semantic version, such as \"1.2.0\": {error}")),
    });
    let description = section.optional("description", "", |raw| Ok::<_, String>(raw.to_owned()));
    section.end();
    Some(MaintenanceInfo { version: version?, description: description? })
}

/// OSB 2.17: "MUST be a non-empty string, … CLI-friendly".
fn name(raw: &str) -> Result<String, &'static str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if raw.is_empty() || !raw.chars().all(fine) {
        return Err("must be of A-Z, a-z, 0-9, '.', '_', '-', since people type it");
    }
    Ok(raw.to_owned())
}
