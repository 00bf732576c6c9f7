//! The registrar over cells and a store that are only state.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is to do")]

#[path = "router/shaky.rs"]
mod shaky;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use patroni_broker::cells::fake::{Call, FakeCell, FakeEngine, Trouble};
use patroni_broker::cells::{Cell, Cells, ContainerSpec, PublishedPort};
use patroni_broker::model::{CellGuid, CellSite, ContainerName, DockerAddress, PortRange};
use patroni_broker::registrar::Registrar;
use shaky::Shaky;
use storage::embedded::Options;
use storage::{Changed, Clock, Deadline, Embedded, Entry, Expect, Key, Revision, Store, Ttl};

const IMAGE: &str = "patroni-broker/postgresql-patroni:17";

/// A clock that is moved by hand, for the store's TTLs only.
struct MovedClock {
    ahead: Mutex<Duration>,
}

impl MovedClock {
    fn advance(&self, by: Duration) {
        *self.ahead.lock().unwrap() += by;
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Instant {
        Instant::now() + *self.ahead.lock().unwrap()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

struct Site {
    clock: Arc<MovedClock>,
    store: Arc<Shaky>,
    engine: Arc<FakeEngine>,
    cells: Vec<Arc<FakeCell>>,
    registrar: Option<Registrar>,
}

impl Site {
    /// Two cells on one engine and one host.
    fn new() -> Self {
        let clock = Arc::new(MovedClock { ahead: Mutex::default() });
        let inner = Embedded::in_memory(Options { clock: clock.clone(), ..Options::default() }).unwrap();
        let store = Arc::new(Shaky::over(inner));
        let engine = FakeEngine::new();
        engine.add_image(IMAGE, &[]);
        engine.add_image("me/routing:1", &[]);
        let cells = ["c1", "c2"].map(|guid| FakeCell::new(cell_site(guid), Arc::clone(&engine)));
        let mut site = Self { clock, store, engine, cells: cells.to_vec(), registrar: None };
        site.start();
        site
    }

    fn start(&mut self) {
        let store: Arc<dyn Store> = self.store.clone();
        self.registrar = Some(Registrar::start(&store, &known(&self.cells)).unwrap());
    }

    /// Lets these be the cells from now on.
    fn follow(&self, cells: &[Arc<FakeCell>]) {
        self.registrar.as_ref().unwrap().follow(&known(cells)).unwrap();
    }

    fn run(&self, cell: usize, name: &str, image: &str, ports: &[(u16, u16)]) {
        self.cells[cell].create(&spec(name, image, ports)).unwrap();
        self.cells[cell].start(&ContainerName::found(name)).unwrap();
    }

    /// Every entry, as `key=value`.
    fn entries(&self) -> Vec<String> {
        let entries = self.store.inner.list(&Key::root()).unwrap().entries;
        let text =
            |entry: &Entry| format!("{}={}", entry.key, String::from_utf8(entry.value.clone()).unwrap());
        entries.iter().map(text).collect()
    }

    fn revision(&self, key: &str) -> Option<Revision> {
        self.store.inner.get(&Key::parse(key).unwrap()).unwrap().map(|entry| entry.revision)
    }

    /// The keys of which a watcher after this revision hears.
    fn woken_by(&self, after: Option<Revision>) -> Vec<String> {
        let now = Deadline::after(Duration::ZERO);
        match self.store.inner.watch(&Key::root(), after.unwrap(), now).unwrap().what {
            Changed::Keys(keys) => keys.iter().map(Key::to_string).collect(),
            Changed::Resync => panic!("the store has forgotten"),
        }
    }

    #[track_caller]
    fn await_entries(&self, expected: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.entries() != expected {
            assert!(Instant::now() < deadline, "{:?} instead of {expected:?}", self.entries());
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn known(cells: &[Arc<FakeCell>]) -> Cells {
    cells.iter().map(|cell| (cell.site().guid.clone(), Arc::clone(cell) as Arc<dyn Cell>)).collect()
}

fn cell_site(guid: &str) -> CellSite {
    CellSite {
        guid: CellGuid::parse(guid).unwrap(),
        broker: "test".to_owned(),
        availability_zone: "z1".to_owned(),
        docker: DockerAddress::Unix(PathBuf::from("/nowhere")),
        host: "10.0.0.1".to_owned(),
        ports: PortRange::parse("20000-20999").unwrap(),
    }
}

fn spec(name: &str, image: &str, ports: &[(u16, u16)]) -> ContainerSpec {
    ContainerSpec {
        name: ContainerName::found(name),
        image: image.to_owned(),
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        ports: ports.iter().map(|&(container, host)| PublishedPort { container, host }).collect(),
        files: Vec::new(),
        memory_bytes: None,
        shm_bytes: 64 << 20,
        stop_timeout: Duration::from_secs(1),
    }
}

const A: &str = "/postgresql-patroni/10.0.0.1:a:5432=10.0.0.1:20000";
const A_API: &str = "/postgresql-patroni/10.0.0.1:a:8008=10.0.0.1:20001";
const B: &str = "/postgresql-patroni/10.0.0.1:b:5432=10.0.0.1:20002";
const C: &str = "/postgresql-patroni/10.0.0.1:c:5432=10.0.0.1:20004";

#[test]
fn entries_follow_containers() {
    let site = Site::new();
    site.run(0, "a", IMAGE, &[(5432, 20000), (8008, 20001)]);
    site.await_entries(&[A, A_API]);
    site.run(1, "b", IMAGE, &[(5432, 20002)]);
    site.await_entries(&[A, A_API, B]);
    site.cells[0].stop(&ContainerName::found("a"), Duration::ZERO).unwrap();
    site.await_entries(&[B]);
    site.cells[0].start(&ContainerName::found("a")).unwrap();
    site.await_entries(&[A, A_API, B]);
    site.engine.crash(&ContainerName::found("b"), 1);
    site.await_entries(&[A, A_API]);
    site.cells[0].remove(&ContainerName::found("a")).unwrap();
    site.await_entries(&[]);
}

/// Cells come, go and are reached otherwise while it runs.
#[test]
fn it_follows_the_cells_that_there_are() {
    let site = Site::new();
    let [first, second] = &site.cells[..] else { panic!("two cells") };
    site.follow(std::slice::from_ref(first));
    site.run(1, "b", IMAGE, &[(5432, 20002)]);
    site.run(0, "a", IMAGE, &[(5432, 20000)]);
    site.await_entries(&[A]);
    site.follow(&site.cells);
    site.await_entries(&[A, B]);

    // The same cell by another connection: the old one may be cut off, and nobody is to look through it any more.
    let again = FakeCell::new(second.site().clone(), Arc::clone(&site.engine));
    site.follow(&[Arc::clone(first), Arc::clone(&again)]);
    second.set_away(true);
    let c = spec("c", IMAGE, &[(5432, 20004)]);
    again.create(&c).unwrap();
    again.start(&c.name).unwrap();
    site.await_entries(&[A, B, C]);
    again.stop(&ContainerName::found("b"), Duration::ZERO).unwrap();
    site.await_entries(&[A, C]);

    // What was announced of one that is gone stays until nobody has spoken for it for as long as its TTL.
    site.follow(&[again]);
    let revision = site.revision("/postgresql-patroni/10.0.0.1:a:5432");
    first.stop(&ContainerName::found("a"), Duration::ZERO).unwrap();
    site.engine.lose(&c.name);
    site.await_entries(&[A]);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(site.entries(), [A]);
    assert_eq!(site.revision("/postgresql-patroni/10.0.0.1:a:5432"), revision);
    site.clock.advance(Duration::from_secs(31));
    site.await_entries(&[]);
}

#[test]
fn an_image_called_like_a_top_key_is_not_announced() {
    let site = Site::new();
    site.run(0, "evil", "me/routing:1", &[(80, 20500)]);
    site.run(0, "a", IMAGE, &[(5432, 20000)]);
    site.await_entries(&[A]);
}

#[test]
fn containers_from_before_are_announced() {
    let mut site = Site::new();
    site.registrar = None;
    site.run(0, "a", IMAGE, &[(5432, 20000)]);
    // Left by an earlier process, for a port that the container no longer has.
    let key = Key::parse("/postgresql-patroni/10.0.0.1:a:5432").unwrap();
    site.store.inner.put(&key, b"10.0.0.1:1", Some(Ttl::seconds(30)), Expect::Absent).unwrap();
    site.start();
    site.await_entries(&[A]);
}

/// Two brokers' registrars may see one cell: they must not keep waking everybody who watches.
#[test]
fn what_stands_there_already_is_only_kept_alive() {
    let mut site = Site::new();
    site.run(0, "a", IMAGE, &[(5432, 20000)]);
    site.await_entries(&[A]);
    let before = site.revision("/postgresql-patroni/10.0.0.1:a:5432");
    site.registrar = None;
    site.start();
    site.run(0, "b", IMAGE, &[(5432, 20002)]);
    site.await_entries(&[A, B]);
    assert_eq!(site.woken_by(before), ["/postgresql-patroni/10.0.0.1:b:5432"]);
}

#[test]
fn a_silent_cells_entries_stay() {
    let site = Site::new();
    site.run(0, "a", IMAGE, &[(5432, 20000)]);
    site.await_entries(&[A]);
    site.cells[0].set_away(true);
    site.run(1, "b", IMAGE, &[(5432, 20002)]);
    site.await_entries(&[A, B]);
    site.cells[0].set_away(false);
    site.cells[0].remove(&ContainerName::found("a")).unwrap();
    site.await_entries(&[B]);
}

#[test]
fn a_look_that_fails_is_made_up_for() {
    let site = Site::new();
    site.run(1, "b", IMAGE, &[(5432, 20002)]);
    site.await_entries(&[B]);
    for call in [Call::Inspect, Call::List] {
        site.cells[0].trouble(call, Trouble::SilentWithoutEffect);
        site.cells[0].trouble(call, Trouble::Refuse("not now".to_owned()));
    }
    site.run(0, "a", IMAGE, &[(5432, 20000)]);
    site.await_entries(&[A, B]);
}

#[test]
fn a_store_that_was_away_gets_what_it_missed() {
    let site = Site::new();
    site.run(0, "a", IMAGE, &[(5432, 20000)]);
    site.await_entries(&[A]);
    site.store.set_away(true);
    site.run(1, "b", IMAGE, &[(5432, 20002)]);
    site.cells[0].remove(&ContainerName::found("a")).unwrap();
    // What expired meanwhile is announced anew as well.
    assert_eq!(site.entries(), [A]);
    site.store.set_away(false);
    site.await_entries(&[B]);
}

/// The one test that takes as long as a refresh: 10 seconds.
#[test]
fn entries_live_as_long_as_somebody_speaks_for_them() {
    let mut site = Site::new();
    site.run(0, "a", IMAGE, &[(5432, 20000)]);
    site.await_entries(&[A]);
    let revision = site.revision("/postgresql-patroni/10.0.0.1:a:5432");
    site.clock.advance(Duration::from_secs(15));
    // Refreshed by now, at the latest: 30 s after the first write it would have been gone.
    let refreshed = Instant::now() + Duration::from_secs(10);
    while Instant::now() < refreshed {
        assert_eq!(site.entries(), [A]);
        thread::sleep(Duration::from_millis(50));
    }
    site.clock.advance(Duration::from_secs(15));
    assert_eq!(site.entries(), [A]);
    assert_eq!(site.woken_by(revision), [""; 0], "no watcher was woken");
    site.registrar = None;
    assert_eq!(site.entries(), [A], "the container runs on");
    site.clock.advance(Duration::from_secs(31));
    site.await_entries(&[]);
}
