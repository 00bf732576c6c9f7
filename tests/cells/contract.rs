//! What every cell does.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use patroni_broker::cells::{
    Cell, CellError, CellEvent, ContainerSpec, ContainerState, PublishedPort, label,
};
use patroni_broker::model::ContainerName;

use crate::bench::{Bench, LONG_LINE, file, free_port};

pub type Scenario = (&'static str, fn(&Bench));

pub const SCENARIOS: &[Scenario] = &[
    ("an_engine_says_what_it_is", an_engine_says_what_it_is),
    ("a_whole_life", a_whole_life),
    ("everything_may_happen_twice", everything_may_happen_twice),
    ("a_name_is_given_once", a_name_is_given_once),
    ("files_are_there_before_the_start", files_are_there_before_the_start),
    ("cells_on_one_engine_are_strangers", cells_on_one_engine_are_strangers),
    ("a_taken_port_refuses_the_start", a_taken_port_refuses_the_start),
    ("an_image_that_is_nowhere", an_image_that_is_nowhere),
    ("a_listing_goes_by_label", a_listing_goes_by_label),
    ("a_log_has_an_end", a_log_has_an_end),
    ("a_command_has_an_outcome", a_command_has_an_outcome),
    ("changes_are_heard", changes_are_heard),
    ("two_removals_at_once", two_removals_at_once),
    ("made_anew_on_its_volume", made_anew_on_its_volume),
    ("made_anew_where_there_is_none", made_anew_where_there_is_none),
    ("made_anew_though_it_does_not_run", made_anew_though_it_does_not_run),
    ("a_refusal_to_make_anew_leaves_the_old_one", a_refusal_to_make_anew_leaves_the_old_one),
    ("only_its_own_cell_makes_it_anew", only_its_own_cell_makes_it_anew),
    ("an_image_has_an_environment", an_image_has_an_environment),
];

const GRACE: Duration = Duration::from_secs(5);

fn an_engine_says_what_it_is(bench: &Bench) {
    assert!(!bench.a.ping().unwrap().version.is_empty());
    bench.a.ensure_image(&bench.image, &mut |line| panic!("nothing to pull, and yet: {line}")).unwrap();
}

fn a_whole_life(bench: &Bench) {
    let mut spec = bench.spec();
    let (first, second) = (free_port(), free_port());
    spec.ports =
        vec![PublishedPort { container: 8008, host: second }, PublishedPort { container: 5432, host: first }];
    let state = || bench.a.inspect(&spec.name).unwrap().map(|view| view.state);
    assert_eq!(state(), None);

    bench.a.create(&spec).unwrap();
    assert_eq!(state(), Some(ContainerState::Created));
    let volumes = (bench.volumes)(&spec.name);

    bench.a.start(&spec.name).unwrap();
    let view = bench.a.inspect(&spec.name).unwrap().unwrap();
    assert_eq!((&view.name, &view.image, &view.state), (&spec.name, &bench.image, &ContainerState::Running));
    let published = [(5432, first), (8008, second)];
    assert_eq!(view.ports.iter().map(|port| (port.container, port.host)).collect::<Vec<_>>(), published);
    assert_eq!(view.labels["purpose"], "test");
    assert_eq!(view.labels[label::CELL], bench.a.site().guid.as_str());
    assert_eq!(view.labels[label::FINGERPRINT], spec.fingerprint());

    bench.a.stop(&spec.name, GRACE).unwrap();
    assert_eq!(state(), Some(ContainerState::Exited { code: Some(0) }));
    assert_eq!(bench.a.inspect(&spec.name).unwrap().unwrap().ports, []);

    bench.a.start(&spec.name).unwrap();
    assert_eq!(state(), Some(ContainerState::Running));

    bench.a.remove(&spec.name).unwrap();
    assert_eq!(state(), None);
    for volume in volumes {
        assert!(!(bench.volume_is_there)(&volume), "{volume}");
    }
}

fn everything_may_happen_twice(bench: &Bench) {
    let absent = bench.spec();
    bench.a.stop(&absent.name, GRACE).unwrap();
    bench.a.remove(&absent.name).unwrap();

    let spec = bench.running();
    bench.a.start(&spec.name).unwrap();
    bench.a.stop(&spec.name, GRACE).unwrap();
    bench.a.stop(&spec.name, GRACE).unwrap();
    bench.a.remove(&spec.name).unwrap();
    bench.a.remove(&spec.name).unwrap();

    let refused = bench.a.start(&spec.name).unwrap_err();
    assert!(matches!(refused, CellError::Refused { .. }), "{refused:?}");
}

fn a_name_is_given_once(bench: &Bench) {
    let spec = bench.running();
    let mut other = spec.clone();
    other.labels.insert("purpose".to_owned(), "other".to_owned());
    let refused = bench.a.create(&other).unwrap_err();
    assert!(matches!(refused, CellError::Refused { .. }), "{refused:?}");
    let view = bench.a.inspect(&spec.name).unwrap().unwrap();
    assert_eq!((view.labels["purpose"].as_str(), view.state), ("test", ContainerState::Running));
}

fn files_are_there_before_the_start(bench: &Bench) {
    let mut spec = bench.spec();
    spec.files = vec![
        file("/etc/broker/deep/secret", 0o600, "hunter2 $HOME\n\"ä\""),
        file("/entry", 0o755, ""),
        file("/data/on-a-volume", 0o640, "x"),
    ];
    bench.a.create(&spec).unwrap();
    bench.a.start(&spec.name).unwrap();
    for file in &spec.files {
        let read = bench.a.exec(&spec.name, &["cat", &file.path]).unwrap();
        assert_eq!((read.exit_code, read.output.as_str()), (0, file.content.expose()), "{}", file.path);
        let seen = bench.a.exec(&spec.name, &["stat", "-c", "%a %u:%g", &file.path]).unwrap();
        assert_eq!(seen.output, format!("{:o} 0:0\n", file.mode), "{}", file.path);
    }
}

fn cells_on_one_engine_are_strangers(bench: &Bench) {
    let spec = bench.running();
    for other in [&bench.b, &bench.namesake] {
        assert_eq!(other.inspect(&spec.name).unwrap(), None);
        let listed = other.list(&[("purpose", "test")]).unwrap();
        assert_eq!(listed.iter().find(|view| view.name == spec.name), None);
        other.stop(&spec.name, GRACE).unwrap();
        other.remove(&spec.name).unwrap();
        assert!(matches!(other.start(&spec.name), Err(CellError::Refused { .. })));
        assert!(matches!(other.log_tail(&spec.name, 1), Err(CellError::Refused { .. })));
        assert!(matches!(other.exec(&spec.name, &["true"]), Err(CellError::Refused { .. })));
        assert!(
            matches!(other.create(&spec), Err(CellError::Refused { .. })),
            "an engine has each name once"
        );
    }
    assert_eq!(bench.a.inspect(&spec.name).unwrap().unwrap().state, ContainerState::Running);
}

fn a_taken_port_refuses_the_start(bench: &Bench) {
    let port = PublishedPort { container: 5432, host: free_port() };
    let (mut first, mut second) = (bench.spec(), bench.spec());
    (first.ports, second.ports) = (vec![port], vec![port]);
    bench.a.create(&first).unwrap();
    bench.a.start(&first.name).unwrap();
    // Also of another cell on the same engine.
    bench.b.create(&second).unwrap();
    let refused = bench.b.start(&second.name).unwrap_err();
    assert!(matches!(refused, CellError::Refused { .. }), "{refused:?}");
    assert_eq!(bench.b.inspect(&second.name).unwrap().unwrap().ports, []);
    bench.b.remove(&second.name).unwrap();
    assert_eq!(bench.b.inspect(&second.name).unwrap(), None);
}

fn an_image_that_is_nowhere(bench: &Bench) {
    // A registry on a port where nobody listens.
    let names =
        [format!("127.0.0.1:{}/nobody/nothing:1", free_port()), "no image".to_owned(), "../x".to_owned()];
    for image in &names {
        let missing = bench.a.ensure_image(image, &mut |_| ()).unwrap_err();
        assert!(matches!(missing, CellError::NoSuchImage { .. }), "{image}: {missing:?}");
        let mut spec = bench.spec();
        spec.image.clone_from(image);
        let missing = bench.a.create(&spec).unwrap_err();
        assert!(matches!(missing, CellError::NoSuchImage { .. }), "{image}: {missing:?}");
        assert_eq!(bench.a.inspect(&spec.name).unwrap(), None);
    }
}

fn a_listing_goes_by_label(bench: &Bench) {
    let names: Vec<_> = ["x", "x", "y"]
        .iter()
        .map(|kind| {
            let mut spec = bench.spec();
            spec.labels.insert("purpose".to_owned(), format!("listing-{}", std::process::id()));
            spec.labels.insert("kind".to_owned(), (*kind).to_owned());
            bench.a.create(&spec).unwrap();
            spec.name
        })
        .collect();
    let purpose = format!("listing-{}", std::process::id());
    let check = |labels: &[(&str, &str)], expected: &[&ContainerName]| {
        let listed = bench.a.list(labels).unwrap();
        let listed: Vec<_> = listed.iter().map(|view| &view.name).collect();
        let expected: Vec<_> = expected.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        assert_eq!(listed, expected, "{labels:?}");
    };
    check(&[("purpose", &purpose)], &[&names[0], &names[1], &names[2]]);
    check(&[("purpose", &purpose), ("kind", "x")], &[&names[0], &names[1]]);
    check(&[("purpose", &purpose), ("kind", "z")], &[]);
    check(&[("no such label", "")], &[]);
}

fn a_log_has_an_end(bench: &Bench) {
    let spec = bench.running();
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let log = bench.a.log_tail(&spec.name, 10).unwrap();
        if log == ["hello", LONG_LINE] {
            break;
        }
        assert!(Instant::now() < deadline, "{log:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(bench.a.log_tail(&spec.name, 1).unwrap(), [LONG_LINE]);
    bench.a.stop(&spec.name, GRACE).unwrap();
    assert_eq!(bench.a.log_tail(&spec.name, 1).unwrap(), [LONG_LINE], "also of one that has ended");
}

fn a_command_has_an_outcome(bench: &Bench) {
    let spec = bench.running();
    let said = bench.a.exec(&spec.name, &["sh", "-c", "echo $GREETING"]).unwrap();
    assert_eq!((said.exit_code, said.output.as_str()), (0, "a b=c\n"));
    let failed = bench.a.exec(&spec.name, &["sh", "-c", "echo out; echo err >&2; exit 3"]).unwrap();
    assert_eq!(failed.exit_code, 3);
    assert!(failed.output.contains("out\n") && failed.output.contains("err\n"), "{failed:?}");
    bench.a.stop(&spec.name, GRACE).unwrap();
    let refused = bench.a.exec(&spec.name, &["true"]).unwrap_err();
    assert!(matches!(refused, CellError::Refused { .. }), "{refused:?}");
}

fn changes_are_heard(bench: &Bench) {
    let stop = AtomicBool::new(false);
    let (sender, heard) = channel();
    std::thread::scope(|scope| {
        // A scenario that fails half-way ends its watch too, or it would never end itself.
        let _stops = StopsAtTheEnd(&stop);
        let watch = scope.spawn(|| bench.a.watch(&stop, &mut |event| sender.send(event).unwrap()));
        let within = Duration::from_secs(5);
        assert_eq!(heard.recv_timeout(within), Ok(CellEvent::Connected));
        let spec = bench.spec();
        let steps: [&dyn Fn(); 4] = [
            &|| bench.a.create(&spec).unwrap(),
            &|| bench.a.start(&spec.name).unwrap(),
            &|| bench.a.stop(&spec.name, GRACE).unwrap(),
            &|| bench.a.remove(&spec.name).unwrap(),
        ];
        for (number, step) in steps.iter().enumerate() {
            step();
            let deadline = Instant::now() + within;
            // Other scenarios run on the same engine.
            while heard
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
                .unwrap_or_else(|_| panic!("step {number}"))
                != CellEvent::Changed(spec.name.clone())
            {}
            // A stop is a kill, an end and a stop.
            std::thread::sleep(Duration::from_millis(200));
            while heard.try_recv().is_ok() {}
        }
        let strangers = bench.spec();
        bench.b.create(&strangers).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert!(!heard.try_iter().any(|event| event == CellEvent::Changed(strangers.name.clone())));

        stop.store(true, Ordering::Relaxed);
        let asked = Instant::now();
        assert_eq!(watch.join().unwrap(), Ok(()));
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    });
}

pub struct StopsAtTheEnd<'a>(pub &'a AtomicBool);

impl Drop for StopsAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn two_removals_at_once(bench: &Bench) {
    let spec = bench.running();
    std::thread::scope(|scope| {
        let removals: Vec<_> = (0..2).map(|_| scope.spawn(|| bench.a.remove(&spec.name))).collect();
        for removal in removals {
            assert_eq!(removal.join().unwrap(), Ok(()));
        }
    });
    assert_eq!(bench.a.inspect(&spec.name).unwrap(), None);
}

fn greeting(cell: &dyn Cell, name: &ContainerName) -> String {
    cell.exec(name, &["sh", "-c", "echo $GREETING"]).unwrap().output
}

/// The same container with all of it changed that may change.
fn changed(bench: &Bench, spec: &ContainerSpec) -> ContainerSpec {
    let mut spec = spec.clone();
    spec.image.clone_from(&bench.other_image);
    spec.env.insert("GREETING".to_owned(), "changed".to_owned());
    spec.memory_bytes = Some(128 << 20);
    spec.files = vec![file("/entry", 0o600, "changed")];
    spec
}

fn made_anew_on_its_volume(bench: &Bench) {
    let mut spec = bench.spec();
    let host = free_port();
    spec.ports = vec![PublishedPort { container: 5432, host }];
    spec.labels.insert("purpose".to_owned(), spec.name.to_string());
    bench.a.create(&spec).unwrap();
    bench.a.start(&spec.name).unwrap();
    let volumes = (bench.volumes)(&spec.name);

    let changed = changed(bench, &spec);
    // Twice in one way, and once back.
    for wanted in [&changed, &changed, &spec] {
        bench.a.remake(wanted, GRACE).unwrap();
        let listed = bench.a.list(&[("purpose", spec.name.as_str())]).unwrap();
        let [view] = &listed[..] else { panic!("there is to be one: {listed:?}") };
        assert_eq!(
            (&view.name, &view.image, &view.state, view.ports[0].host),
            (&wanted.name, &wanted.image, &ContainerState::Running, host)
        );
        assert_eq!(view.labels[label::FINGERPRINT], wanted.fingerprint());
        assert_eq!(bench.a.inspect(&spec.name).unwrap().as_ref(), Some(view));
        assert_eq!(greeting(bench.a.as_ref(), &spec.name), format!("{}\n", wanted.env["GREETING"]));
        let entry = bench.a.exec(&spec.name, &["cat", "/entry"]).unwrap();
        assert_eq!(entry.exit_code == 0, !wanted.files.is_empty(), "{entry:?}");
        assert_eq!((bench.volumes)(&spec.name), volumes);
    }

    bench.a.remove(&spec.name).unwrap();
    assert_eq!(bench.a.inspect(&spec.name).unwrap(), None);
    for volume in volumes {
        assert!(!(bench.volume_is_there)(&volume), "{volume}");
    }
}

fn made_anew_where_there_is_none(bench: &Bench) {
    let spec = bench.spec();
    bench.a.remake(&spec, GRACE).unwrap();
    assert_eq!(bench.a.inspect(&spec.name).unwrap().unwrap().state, ContainerState::Running);
    assert_eq!((bench.volumes)(&spec.name).len(), 1);
}

fn made_anew_though_it_does_not_run(bench: &Bench) {
    let check = |begun: bool, change: bool| {
        let spec = bench.spec();
        bench.a.create(&spec).unwrap();
        if begun {
            bench.a.start(&spec.name).unwrap();
            bench.a.stop(&spec.name, GRACE).unwrap();
        }
        let volumes = (bench.volumes)(&spec.name);
        let wanted = if change { changed(bench, &spec) } else { spec.clone() };
        bench.a.remake(&wanted, GRACE).unwrap();
        let view = bench.a.inspect(&spec.name).unwrap().unwrap();
        assert_eq!((&view.state, &view.image), (&ContainerState::Running, &wanted.image), "{begun} {change}");
        assert_eq!((bench.volumes)(&spec.name), volumes, "{begun} {change}");
    };
    check(true, true);
    check(true, false);
    check(false, true);
    check(false, false);
}

fn a_refusal_to_make_anew_leaves_the_old_one(bench: &Bench) {
    let taken = PublishedPort { container: 5432, host: free_port() };
    let mut other = bench.spec();
    other.ports = vec![taken];
    bench.b.create(&other).unwrap();
    bench.b.start(&other.name).unwrap();

    let spec = bench.running();
    let volumes = (bench.volumes)(&spec.name);
    let check = |wanted: &ContainerSpec, missing: bool| {
        let error = bench.a.remake(wanted, GRACE).unwrap_err();
        let is_missing = matches!(error, CellError::NoSuchImage { .. });
        assert!(is_missing || matches!(error, CellError::Refused { .. }), "{error:?}");
        assert_eq!(is_missing, missing, "{error:?}");
        let view = bench.a.inspect(&spec.name).unwrap().unwrap();
        assert_eq!((&view.image, &view.state), (&spec.image, &ContainerState::Running));
        assert_eq!(view.labels[label::FINGERPRINT], spec.fingerprint());
        assert_eq!(greeting(bench.a.as_ref(), &spec.name), "a b=c\n");
        assert_eq!((bench.volumes)(&spec.name), volumes);
    };
    let mut wanted = changed(bench, &spec);
    wanted.ports = vec![taken];
    check(&wanted, false);
    for image in [format!("127.0.0.1:{}/nobody/nothing:1", free_port()), "no image".to_owned()] {
        wanted.image = image;
        check(&wanted, true);
    }
    bench.a.stop(&spec.name, GRACE).unwrap();
    wanted.image.clone_from(&spec.image);
    check(&wanted, false);

    bench.a.remove(&spec.name).unwrap();
    assert!(!(bench.volume_is_there)(&volumes[0]), "{volumes:?}");
}

fn only_its_own_cell_makes_it_anew(bench: &Bench) {
    let spec = bench.running();
    for other in [&bench.b, &bench.namesake] {
        let refused = other.remake(&changed(bench, &spec), GRACE).unwrap_err();
        assert!(matches!(refused, CellError::Refused { .. }), "{refused:?}");
        assert_eq!(other.inspect(&spec.name).unwrap(), None);
    }
    let view = bench.a.inspect(&spec.name).unwrap().unwrap();
    assert_eq!((view.image, view.state), (spec.image, ContainerState::Running));
}

fn an_image_has_an_environment(bench: &Bench) {
    let environment = bench.a.image_environment(&bench.image).unwrap().unwrap();
    assert_eq!(environment.get("PATH").map(String::as_str), Some("/bin"), "{environment:?}");
    for nowhere in [&format!("127.0.0.1:{}/nobody/nothing:1", free_port()), "no image", "../x"] {
        assert_eq!(bench.a.image_environment(nowhere).unwrap(), None, "{nowhere}");
    }
}
