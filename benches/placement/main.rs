//! What planning and placing one more node costs, with 100 cells and more and more instances:
//!
//! - `plan`: loads from the index of nodes, the cordons from the store, the choice, the steps;
//! - `rehearse`: all that the broker does for a `PATCH` with `"dry-run": true`, which is all but claims and writes, on
//!   cells that answer at once;
//! - `read`: every instance's record read one by one, and then the same plan, as the Go ancestor did it.
//!
//! All of them read a store that is in this process: nothing here is on a network or a disk.
//!
//! `cargo bench --bench placement`; `scripts/bench --placement` makes a table of it.

mod site;

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use patroni_broker::broker::{
    Accepted, Broker, Pace, Parts, PreviousValues, RandomMint, Settings, UpdateRequest,
};
use patroni_broker::cells::fake::{FakeCell, FakeEngine};
use patroni_broker::cells::{Cell, Cells};
use patroni_broker::model::{CellGuid, CellSite, DockerAddress, PortRange};
use patroni_broker::scheduler::{CellLoad, Reshape, Standing, Step, choose, reshape};
use patroni_broker::state::{CordonRecord, Cordons, Instances, NodeIndex};
use serde_json::json;
use site::CELLS;
use storage::embedded::{Embedded, Options};
use storage::{Store, SystemClock};

const ZONES: usize = 3;
const INSTANCES: [usize; 5] = [10, 100, 1_000, 5_000, 10_000];
/// Steps from one instance to the next, so that none is asked for twice in a row: prime to all of [`INSTANCES`].
const STRIDE: usize = 7_919;

fn zone(cell: usize) -> String {
    format!("z{}", cell % ZONES)
}

/// The cells with what stands on each, and which of them take no new nodes.
fn loads(cordons: &Cordons, nodes_on: impl Fn(&CellGuid) -> usize) -> Vec<CellLoad> {
    let cordons = cordons.list().expect("a store that answers");
    let load = |number: usize| {
        let guid = site::cell(number);
        CellLoad {
            nodes: nodes_on(&guid),
            cordoned: cordons.contains_key(&guid),
            availability_zone: zone(number),
            guid,
        }
    };
    (0..CELLS).map(load).collect()
}

/// Plans one more node for a cluster of two.
fn plan(loads: &[CellLoad]) -> Vec<Step> {
    let standing = |number| Standing {
        node: site::node(0, number),
        cell: site::cell(number),
        build: site::build(),
        leads: number == 0,
    };
    let wish = Reshape {
        nodes: 3,
        among: None,
        among_is_new: false,
        build: site::build(),
        remake: false,
        configure: None,
    };
    let nodes = [standing(0), standing(1)];
    let choice = choose(&nodes, loads, &wish, &BTreeSet::new(), &[]).expect("cells are left");
    let come: Vec<_> = choice.come.iter().map(|cell| (site::node(0, 2), cell.clone())).collect();
    let steps = reshape(&choice, &come, &wish);
    assert_eq!(steps.len(), 4, "the image is checked, a node comes, and it and all are awaited");
    steps
}

/// A broker on this store, with cells that are only state.
fn broker(store: &Arc<Embedded>) -> Broker {
    let engine = FakeEngine::new();
    let cell = |number: usize| {
        let site = CellSite {
            guid: site::cell(number),
            broker: "bench".to_owned(),
            availability_zone: zone(number),
            docker: DockerAddress::Unix("/nowhere".into()),
            host: site::cell(number).to_string(),
            ports: PortRange::parse("20000-20999").expect("a range"),
        };
        (site.guid.clone(), FakeCell::new(site, Arc::clone(&engine)) as Arc<dyn Cell>)
    };
    let parts = Parts {
        store: Arc::clone(store) as Arc<dyn Store>,
        cells: (0..CELLS).map(cell).collect::<Cells>(),
        catalog: site::catalog(),
        drivers: site::drivers(store),
        clock: Arc::new(SystemClock),
        mint: Arc::new(RandomMint),
        metrics: Arc::default(),
        settings: Settings {
            holder: "bench".to_owned(),
            bind_host: "10.0.0.9".to_owned(),
            public_ports: PortRange::parse("20000-32767").expect("a range"),
            workers: 8,
            sync_timeout: Duration::from_secs(60),
            pace: Pace::default(),
        },
    };
    Broker::start(parts).expect("a broker")
}

/// Rehearses one more node for a cluster of two.
fn rehearse(broker: &Broker, instance: usize) -> Vec<String> {
    let parameters = json!({"node-count": 3});
    let request = UpdateRequest {
        instance: site::instance(instance),
        service: site::service_id(),
        plan: None,
        parameters: parameters.as_object().cloned(),
        context: None,
        maintenance_version: None,
        previous: PreviousValues::default(),
        accepts_incomplete: true,
        rehearse: true,
    };
    let accepted = broker.update(request).expect("cells are left");
    let Accepted::Rehearsed { steps } = accepted else { panic!("it was to be rehearsed: {accepted:?}") };
    assert_eq!(steps.len(), 4, "{steps:?}");
    steps
}

fn placement(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one-more-node");
    for instances in INSTANCES {
        let embedded = Arc::new(Embedded::in_memory(Options::default()).expect("memory"));
        let store = Arc::clone(&embedded) as Arc<dyn Store>;
        site::fill(&embedded, instances);
        let cordons = Cordons::new(Arc::clone(&store));
        let cordon = CordonRecord { write_id: String::new(), since_ms: 0, drain: None };
        cordons.create(&site::cell(CELLS - 1), cordon).expect("a cordon");

        let index =
            NodeIndex::start(Arc::clone(&store), std::time::Duration::from_secs(1)).expect("the index");
        let counted: usize = (0..CELLS).map(|number| index.nodes_on(&site::cell(number))).sum();
        assert_eq!(counted, 2 * instances, "every node is in the index");
        group.bench_function(BenchmarkId::new("plan", instances), |bencher| {
            bencher.iter(|| black_box(plan(&loads(&cordons, |cell| index.nodes_on(cell)))));
        });
        drop(index);

        let records = Instances::new(Arc::clone(&store));
        group.bench_function(BenchmarkId::new("read", instances), |bencher| {
            bencher.iter(|| {
                let mut counts: BTreeMap<CellGuid, usize> = BTreeMap::new();
                for number in 0..instances {
                    let stored = records.load(&site::instance(number)).expect("a store that answers");
                    for node in stored.expect("an instance").value.nodes {
                        *counts.entry(node.backend_id).or_default() += 1;
                    }
                }
                let nodes_on = |cell: &CellGuid| counts.get(cell).copied().unwrap_or_default();
                black_box(plan(&loads(&cordons, nodes_on)))
            });
        });

        let broker = broker(&embedded);
        let mut next = 0;
        group.bench_function(BenchmarkId::new("rehearse", instances), |bencher| {
            bencher.iter(|| {
                next = (next + STRIDE) % instances;
                black_box(rehearse(&broker, next))
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(2))
        .measurement_time(Duration::from_secs(3))
        .without_plots();
    targets = placement
}
criterion_main!(benches);
