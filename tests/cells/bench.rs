//! Two cells on one engine, and what a scenario needs besides.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use patroni_broker::cells::fake::{FakeCell, FakeEngine};
use patroni_broker::cells::{Cell, ContainerSpec, ExecOutput, PlacedFile};
use patroni_broker::model::{CellGuid, CellSite, ContainerName, DockerAddress, NodeId, PortRange, Secret};

/// What a container of the test image writes when it starts.
pub const LOG: [&str; 2] = ["hello", LONG_LINE];

/// Longer than the 127 bytes at which a frame's header ceases to be UTF-8.
pub const LONG_LINE: &str = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\
    01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

pub type Volumes = Box<dyn Fn(&ContainerName) -> Vec<String> + Send + Sync>;
pub type VolumeIsThere = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Cells on one engine.
pub struct Bench {
    pub a: Arc<dyn Cell>,
    pub b: Arc<dyn Cell>,
    /// Called as `a` is, and another broker's.
    pub namesake: Arc<dyn Cell>,
    pub image: String,
    /// Another one, of the same content.
    pub other_image: String,
    /// The anonymous volumes of a container.
    pub volumes: Volumes,
    pub volume_is_there: VolumeIsThere,
    made: Mutex<Vec<ContainerName>>,
}

impl Bench {
    pub fn new(
        [a, b, namesake]: [Arc<dyn Cell>; 3],
        [image, other_image]: [String; 2],
        volumes: Volumes,
        volume_is_there: VolumeIsThere,
    ) -> Self {
        Self { a, b, namesake, image, other_image, volumes, volume_is_there, made: Mutex::default() }
    }

    /// A container with a name of its own, removed with the bench.
    pub fn spec(&self) -> ContainerSpec {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let node = format!("cells-test-{}-{number}", std::process::id());
        let name = ContainerName::of(&NodeId::parse(&node).unwrap());
        self.made.lock().unwrap().push(name.clone());
        ContainerSpec {
            name,
            image: self.image.clone(),
            env: BTreeMap::from([("GREETING".to_owned(), "a b=c".to_owned())]),
            labels: BTreeMap::from([("purpose".to_owned(), "test".to_owned())]),
            ports: Vec::new(),
            files: Vec::new(),
            memory_bytes: None,
            shm_bytes: 64 << 20,
            stop_timeout: Duration::from_secs(5),
        }
    }

    /// Creates and starts one.
    pub fn running(&self) -> ContainerSpec {
        let spec = self.spec();
        self.a.create(&spec).unwrap();
        self.a.start(&spec.name).unwrap();
        spec
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for name in self.made.lock().unwrap().iter() {
            for cell in [&self.a, &self.b] {
                if let Err(error) = cell.remove(name) {
                    eprintln!("{name} stays behind: {error}");
                }
            }
        }
    }
}

pub fn site(guid: &str, docker: DockerAddress) -> CellSite {
    CellSite {
        guid: CellGuid::parse(guid).unwrap(),
        broker: "test".to_owned(),
        availability_zone: "z1".to_owned(),
        docker,
        host: "127.0.0.1".to_owned(),
        ports: PortRange::parse("20000-29999").unwrap(),
    }
}

/// A cell of the same name, of another broker.
pub fn namesake(of: CellSite) -> CellSite {
    CellSite { broker: "another".to_owned(), ..of }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn file(path: &str, mode: u32, content: &str) -> PlacedFile {
    PlacedFile { path: path.to_owned(), mode, content: Secret::new(content) }
}

/// A bench over the fake, which knows the few commands that the scenarios use.
pub fn fake() -> Bench {
    let engine = FakeEngine::new();
    for image in ["test:1", "test:2"] {
        engine.add_image_with(image, &LOG, &[("PATH", "/bin")]);
    }
    engine.on_exec(|spec, command| {
        let done = |exit_code, output: String| ExecOutput { exit_code, output };
        let placed = |path: &str| spec.files.iter().find(|file| file.path == path);
        match command {
            ["cat", path] => match placed(path) {
                Some(file) => done(0, file.content.expose().to_owned()),
                None => done(1, String::new()),
            },
            ["stat", "-c", "%a %u:%g", path] => {
                placed(path).map_or(done(1, String::new()), |file| done(0, format!("{:o} 0:0\n", file.mode)))
            }
            ["sh", "-c", "echo $GREETING"] => done(0, format!("{}\n", spec.env["GREETING"])),
            ["sh", "-c", "echo out; echo err >&2; exit 3"] => done(3, "out\nerr\n".to_owned()),
            _ => done(127, String::new()),
        }
    });
    let site = |guid| site(guid, DockerAddress::Unix(PathBuf::from("/fake")));
    let cell = |site| -> Arc<dyn Cell> { FakeCell::new(site, engine.clone()) };
    let cells = [cell(site("fake-a")), cell(site("fake-b")), cell(namesake(site("fake-a")))];
    let images = ["test:1", "test:2"].map(str::to_owned);
    let known = engine.clone();
    let volumes = move |name: &ContainerName| known.volume(name).map(|volume| volume.to_string());
    let is_there = move |volume: &str| {
        let mut all = engine.containers().into_iter().filter_map(|view| engine.volume(&view.name));
        all.any(|used| used.to_string() == volume)
    };
    Bench::new(cells, images, Box::new(move |name| volumes(name).into_iter().collect()), Box::new(is_there))
}
