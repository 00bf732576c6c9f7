//! `[[services]]` and `[[services.plans]]`: what is offered.

use std::collections::BTreeMap;

use super::reader::Section;
use crate::model::{Catalog, DriverKind, PatroniPlan, Plan, PlanId, PlanSettings, Service, ServiceId};

/// Top keys of the store: the registrar does not announce an image of that name, and its members would wait for ever.
const TOP_KEYS: [&str; 4] = ["service", "serviceinstances", "routing", "broker"];

pub(super) fn read(root: &Section<'_>, cells: usize) -> Option<Catalog> {
    let sections = root.sections("services");
    if sections.is_empty() {
        root.problem("services", "at least one [[services]] is required");
        return None;
    }
    let mut taken = Taken::default();
    let services: Vec<Option<Service>> =
        sections.iter().map(|section| read_service(section, cells, &mut taken)).collect();
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

fn read_service(section: &Section<'_>, cells: usize, taken: &mut Taken) -> Option<Service> {
    let id = section.required("id", ServiceId::parse);
    let name = section.required("name", name);
    taken.take(section, "id", "id");
    taken.take(section, "name", "service");
    let driver = section.required("driver", |raw| match raw {
        "patroni" => Ok(DriverKind::Patroni),
        "container" | "dream" => Err("is not in this version; use \"patroni\""),
        _ => Err("must be \"patroni\""),
    });
    let description = section.required_text("description");
    let bindable = section.flag("bindable", true);
    let plan_updateable = section.flag("plan_updateable", false);
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
            read_plan(plan, cells)
        })
        .collect();
    Some(Service {
        id: id?,
        name: name?,
        driver: driver?,
        description: description?.to_owned(),
        bindable,
        plan_updateable,
        tags,
        plans: plans.into_iter().collect::<Option<Vec<_>>>()?,
    })
}

fn read_plan(section: &Section<'_>, cells: usize) -> Option<Plan> {
    let id = section.required("id", PlanId::parse);
    let name = section.required("name", name);
    let description = section.required_text("description");
    let free = section.flag("free", true);
    let maximum_polling_duration_s = section.number_or("maximum_polling_duration_s", 900, 1..=604_800);
    // The other drivers' plans will have other settings; their services are refused above.
    let settings = read_patroni(section, cells);
    section.end();
    Some(Plan {
        id: id?,
        name: name?,
        description: description?.to_owned(),
        free,
        maximum_polling_duration_s: u64::from(maximum_polling_duration_s),
        settings: PlanSettings::Patroni(settings?),
    })
}

fn read_patroni(section: &Section<'_>, cells: usize) -> Option<PatroniPlan> {
    const MIB: u64 = 1024 * 1024;
    let image = section.required("image", image);
    let node_count = section.number_or("node_count", 2, 1..=1000);
    if usize::try_from(node_count).is_ok_and(|count| count > cells) {
        let s = if cells == 1 { "" } else { "s" };
        section.problem("node_count", format!("{node_count} nodes cannot be spread over {cells} cell{s}"));
    }
    let synchronous = section.flag("synchronous", false);
    let database = section.optional("database", "postgres", database);
    let ttl_s = section.number_or("ttl_s", 20, 20..=3600);
    let loop_wait_s = section.number_or("loop_wait_s", 3, 1..=3600);
    let retry_timeout_s = section.number_or("retry_timeout_s", 8, 3..=3600);
    if loop_wait_s + 2 * retry_timeout_s > ttl_s {
        let message = format!(
            "must be at least loop_wait_s + 2 * retry_timeout_s, which is {}: Patroni's own rule",
            loop_wait_s + 2 * retry_timeout_s
        );
        section.problem("ttl_s", message);
    }
    let memory_mb = section.number("memory_mb", 64..=16_777_216);
    let shm_mb = section.number_or("shm_mb", 64, 1..=16_777_216);
    Some(PatroniPlan {
        image: image?,
        node_count,
        synchronous,
        database: database?,
        ttl_s,
        loop_wait_s,
        retry_timeout_s,
        memory_bytes: memory_mb.map(|memory| u64::from(memory) * MIB),
        shm_bytes: u64::from(shm_mb) * MIB,
    })
}

/// OSB 2.17: "MUST be a non-empty string, … CLI-friendly".
fn name(raw: &str) -> Result<String, &'static str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if raw.is_empty() || !raw.chars().all(fine) {
        return Err("must be of A-Z, a-z, 0-9, '.', '_', '-', since people type it");
    }
    Ok(raw.to_owned())
}

fn image(raw: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@');
    if !raw.chars().all(fine) || !raw.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("must be an image like \"patroni-broker/postgresql-patroni:17\"".to_owned());
    }
    let last = raw.rsplit('/').next().unwrap_or(raw);
    let bare = last.split(['@', ':']).next().unwrap_or(last);
    if TOP_KEYS.contains(&bare) {
        return Err(format!("an image called {bare} cannot be announced: the store's top key of that name"));
    }
    Ok(raw.to_owned())
}

/// What PostgreSQL takes without quotes.
fn database(raw: &str) -> Result<String, &'static str> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if raw.len() > 63
        || !raw.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        || !raw.chars().all(fine)
    {
        return Err("must be 1 to 63 characters of a-z, 0-9, '_', and not begin with a digit");
    }
    if matches!(raw, "template0" | "template1") {
        return Err("is one of PostgreSQL's own templates");
    }
    Ok(raw.to_owned())
}
