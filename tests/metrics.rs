//! What a scraper is shown of a broker, and that it is shown it at once, whatever hangs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use patroni_broker::broker::{Broker, DeprovisionRequest, Pace, Parts, RandomMint, Settings};
use patroni_broker::cells::fake::{FakeCell, FakeEngine};
use patroni_broker::cells::{
    Cell, CellError, CellEvent, Cells, ContainerSpec, ContainerView, EngineInfo, ExecOutput,
};
use patroni_broker::metrics::{Metered, Metrics};
use patroni_broker::model::{
    Catalog, CellGuid, CellSite, ContainerName, DockerAddress, InstanceId, PortRange,
};
use patroni_broker::services::{Drivers, StoreAccess};
use storage::embedded::{Embedded, Options};
use storage::{
    Changes, ClientAccess, Deadline, Entry, Expect, Key, Listing, Revision, Store, StoreError, SystemClock,
    Ttl,
};

const PATIENCE: Duration = Duration::from_secs(20);
/// A scrape is rendered in a millisecond or two; this is for a busy machine. What hangs here hangs until the test ends.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Waits as long as it is told to.
#[derive(Default)]
struct Hold(AtomicBool);

impl Hold {
    fn wait(&self) {
        while self.0.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn set(&self, held: bool) {
        self.0.store(held, Ordering::SeqCst);
    }
}

/// A cell whose engine takes calls and does not answer them.
struct Hanging {
    cell: Arc<FakeCell>,
    hold: Hold,
}

impl Cell for Hanging {
    fn site(&self) -> &CellSite {
        self.cell.site()
    }
    fn ping(&self) -> Result<EngineInfo, CellError> {
        self.hold.wait();
        self.cell.ping()
    }
    fn ensure_image(&self, image: &str, progress: &mut dyn FnMut(&str)) -> Result<(), CellError> {
        self.cell.ensure_image(image, progress)
    }
    fn create(&self, spec: &ContainerSpec) -> Result<(), CellError> {
        self.cell.create(spec)
    }
    fn remake(&self, spec: &ContainerSpec, grace: Duration) -> Result<(), CellError> {
        self.cell.remake(spec, grace)
    }
    fn image_environment(&self, image: &str) -> Result<Option<BTreeMap<String, String>>, CellError> {
        self.cell.image_environment(image)
    }
    fn start(&self, name: &ContainerName) -> Result<(), CellError> {
        self.cell.start(name)
    }
    fn stop(&self, name: &ContainerName, grace: Duration) -> Result<(), CellError> {
        self.cell.stop(name, grace)
    }
    fn remove(&self, name: &ContainerName) -> Result<(), CellError> {
        self.cell.remove(name)
    }
    fn inspect(&self, name: &ContainerName) -> Result<Option<ContainerView>, CellError> {
        self.cell.inspect(name)
    }
    fn list(&self, labels: &[(&str, &str)]) -> Result<Vec<ContainerView>, CellError> {
        self.cell.list(labels)
    }
    fn log_tail(&self, name: &ContainerName, lines: u32) -> Result<Vec<String>, CellError> {
        self.cell.log_tail(name, lines)
    }
    fn exec(&self, name: &ContainerName, command: &[&str]) -> Result<ExecOutput, CellError> {
        self.cell.exec(name, command)
    }
    fn watch(&self, stop: &AtomicBool, sink: &mut dyn FnMut(CellEvent)) -> Result<(), CellError> {
        self.cell.watch(stop, sink)
    }
}

/// A store that hangs, and then fails, as one does whose deadline is over.
struct Shaky {
    store: Embedded,
    hold: Hold,
    away: AtomicBool,
    /// How long it takes to read the instances.
    slow_ms: AtomicU64,
    /// How often they were read.
    surveys: AtomicU64,
}

impl Shaky {
    fn check(&self) -> Result<&Embedded, StoreError> {
        self.hold.wait();
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { engine: "shaky", reason: "away".to_owned() });
        }
        Ok(&self.store)
    }
}

impl Store for Shaky {
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.check()?.get(key)
    }
    fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        if prefix.as_str() == "/service" {
            self.surveys.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(self.slow_ms.load(Ordering::SeqCst)));
        }
        self.check()?.list(prefix)
    }
    fn put(&self, key: &Key, value: &[u8], ttl: Option<Ttl>, expect: Expect) -> Result<Revision, StoreError> {
        self.check()?.put(key, value, ttl, expect)
    }
    fn refresh(&self, key: &Key, ttl: Ttl, held: Revision) -> Result<Revision, StoreError> {
        self.check()?.refresh(key, ttl, held)
    }
    fn delete(&self, key: &Key, expect: Expect) -> Result<(), StoreError> {
        self.check()?.delete(key, expect)
    }
    fn watch(&self, prefix: &Key, after: Revision, deadline: Deadline) -> Result<Changes, StoreError> {
        self.check()?.watch(prefix, after, deadline)
    }
}

struct Lab {
    store: Arc<Shaky>,
    cells: Vec<Arc<Hanging>>,
    broker: Arc<Broker>,
}

fn cell(guid: &str) -> Arc<Hanging> {
    let site = CellSite {
        guid: CellGuid::parse(guid).unwrap(),
        broker: "test".to_owned(),
        availability_zone: "z1".to_owned(),
        docker: DockerAddress::Unix("/nowhere".into()),
        host: "10.0.0.1".to_owned(),
        ports: PortRange::parse("20000-20009").unwrap(),
    };
    Arc::new(Hanging { cell: FakeCell::new(site, FakeEngine::new()), hold: Hold::default() })
}

impl Lab {
    fn new() -> Self {
        let store = Arc::new(Shaky {
            store: Embedded::in_memory(Options::default()).unwrap(),
            hold: Hold::default(),
            away: AtomicBool::new(false),
            slow_ms: AtomicU64::new(0),
            surveys: AtomicU64::new(0),
        });
        let cells = vec![cell("c1"), cell("c2")];
        let by_guid = |cell: &Arc<Hanging>| (cell.site().guid.clone(), Arc::clone(cell) as Arc<dyn Cell>);
        let all: Cells = cells.iter().map(by_guid).collect();
        let metrics = Arc::new(Metrics::new());
        let metered: Arc<dyn Store> =
            Arc::new(Metered::new(Arc::clone(&store) as Arc<dyn Store>, "shaky", Arc::clone(&metrics)));
        let shared = ClientAccess {
            engine: "etcd",
            endpoints: Vec::new(),
            username: None,
            password: None,
            tls: None,
            session_node: None,
        };
        let parts = Parts {
            drivers: Drivers::new(
                Arc::clone(&metered),
                StoreAccess { shared, guests: None },
                Arc::new(patroni_broker::patroni::HttpMembers),
            ),
            store: metered,
            cells: all,
            catalog: Catalog::default(),
            clock: Arc::new(SystemClock),
            mint: Arc::new(RandomMint),
            metrics,
            settings: Settings {
                holder: "test".to_owned(),
                bind_host: "10.0.0.9".to_owned(),
                public_ports: PortRange::parse("30000-30003").unwrap(),
                workers: 1,
                sync_timeout: PATIENCE,
                pace: Pace { observe_every: Duration::from_millis(10), ..Pace::default() },
            },
        };
        Self { store, cells, broker: Arc::new(Broker::start(parts).unwrap()) }
    }

    /// Scrapes until these lines are shown; each scrape takes no time.
    #[track_caller]
    fn shows(&self, lines: &[&str]) {
        let until = Instant::now() + PATIENCE;
        loop {
            let rendered = self.scrape();
            let missing = lines.iter().find(|line| !rendered.lines().any(|found| found == **line));
            let Some(missing) = missing else { return };
            assert!(Instant::now() < until, "no {missing} in\n{rendered}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    fn scrape(&self) -> String {
        let (send, scraped) = channel();
        let broker = Arc::clone(&self.broker);
        // Apart, so that one that hangs fails the test rather than holding it up.
        thread::spawn(move || send.send(broker.metrics()));
        scraped.recv_timeout(AT_ONCE).expect("a scrape waits for nothing")
    }

    fn put(&self, path: &str, value: &str) {
        let key = Key::parse(path).unwrap();
        self.store.store.put(&key, value.as_bytes(), None, Expect::Anything).unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.store.hold.set(false);
        self.cells.iter().for_each(|cell| cell.hold.set(false));
    }
}

/// An instance without containers, as an ancestor left it.
fn record(instance: &str, port: u16) -> String {
    let user = serde_json::json!({"username": "u", "password": "p"});
    serde_json::json!({
        "instance_id": instance, "service_id": "s1", "plan_id": "p1", "allocated_port": port,
        "admin_credentials": user, "superuser_credentials": user, "app_credentials": user,
    })
    .to_string()
}

#[test]
fn the_store_and_the_cells_are_shown() {
    let lab = Lab::new();
    lab.shows(&[
        "patroni_broker_cells 2",
        r#"patroni_broker_cells_up{cell="c1"} 1"#,
        r#"patroni_broker_nodes{cell="c1"} 0"#,
        "patroni_broker_public_ports_free 4",
        "patroni_broker_public_ports_total 4",
        "patroni_broker_store_up 1",
    ]);
    lab.put("/service/b1/state", &record("b1", 30_001));
    lab.put("/service/b2/state", &record("b2", 33_006));
    lab.put("/service/b3/state", "{nobody reads this");
    lab.put("/service/b1/members/state", "{this is a member's, and no record");
    lab.put("/broker/ports/public/30001", "{}");
    lab.put("/broker/ports/public/33006", "{}");
    lab.put("/serviceinstances/b1/nodes/n1/backend", "c2");
    lab.cells[0].cell.set_away(true);
    lab.shows(&[
        r#"patroni_broker_instances{plan="p1",service="s1",state="succeeded"} 2"#,
        r#"patroni_broker_instances{plan="unknown",service="unknown",state="unreadable"} 1"#,
        "patroni_broker_public_ports_free 3",
        r#"patroni_broker_cells_up{cell="c1"} 0"#,
        r#"patroni_broker_cells_up{cell="c2"} 1"#,
        r#"patroni_broker_nodes{cell="c2"} 1"#,
    ]);
}

#[test]
fn an_operation_is_counted_when_it_ends() {
    let lab = Lab::new();
    lab.put("/service/b1/state", &record("b1", 30_001));
    let order = DeprovisionRequest {
        instance: InstanceId::parse("b1").unwrap(),
        service: None,
        plan: None,
        accepts_incomplete: true,
        force: false,
    };
    lab.broker.deprovision(order).unwrap();
    lab.shows(&[
        r#"patroni_broker_operations_total{kind="deprovision",result="succeeded"} 1"#,
        r#"patroni_broker_operation_duration_seconds_count{kind="deprovision"} 1"#,
    ]);
    assert!(!lab.scrape().contains("kind=\"provision\""));
}

#[test]
fn a_hanging_cell_keeps_no_scrape_waiting_and_no_other_numbers_old() {
    let lab = Lab::new();
    lab.shows(&[r#"patroni_broker_cells_up{cell="c1"} 1"#]);
    lab.cells[0].hold.set(true);
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(3) {
        lab.scrape();
        thread::sleep(Duration::from_millis(100));
    }
    lab.put("/service/b1/state", &record("b1", 30_001));
    lab.shows(&[
        r#"patroni_broker_instances{plan="p1",service="s1",state="succeeded"} 1"#,
        // As it was seen last.
        r#"patroni_broker_cells_up{cell="c1"} 1"#,
    ]);
}

#[test]
fn a_store_that_is_away_keeps_its_last_numbers() {
    let lab = Lab::new();
    lab.put("/service/b1/state", &record("b1", 30_001));
    let instance = r#"patroni_broker_instances{plan="p1",service="s1",state="succeeded"} 1"#;
    lab.shows(&[instance]);
    lab.store.hold.set(true);
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(3) {
        lab.scrape();
        thread::sleep(Duration::from_millis(100));
    }
    lab.store.away.store(true, Ordering::SeqCst);
    lab.store.hold.set(false);
    lab.shows(&["patroni_broker_store_up 0", instance]);
    lab.store.away.store(false, Ordering::SeqCst);
    lab.shows(&["patroni_broker_store_up 1", instance]);
}

/// Nobody polls an instance on which nothing happens.
#[test]
fn nothing_is_read_for_nobody() {
    let lab = Lab::new();
    thread::sleep(Duration::from_secs(3));
    assert_eq!(lab.store.surveys.load(Ordering::SeqCst), 1);
    lab.shows(&["patroni_broker_store_up 1"]);
    let until = Instant::now() + PATIENCE;
    while lab.store.surveys.load(Ordering::SeqCst) == 1 {
        assert!(Instant::now() < until, "it is not read again for whoever scrapes");
        thread::sleep(Duration::from_millis(50));
    }
}

/// However often somebody scrapes.
#[test]
fn a_store_that_takes_long_is_left_alone_for_long() {
    let lab = Lab::new();
    lab.shows(&["patroni_broker_public_ports_total 4"]);
    lab.store.slow_ms.store(300, Ordering::SeqCst);
    let before = lab.store.surveys.load(Ordering::SeqCst);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        lab.scrape();
        thread::sleep(Duration::from_millis(100));
    }
    // One that had begun, and one that was slow.
    let surveys = lab.store.surveys.load(Ordering::SeqCst) - before;
    assert!(surveys <= 2, "read {surveys} times");
}
