//! Making a container anew, cut off at each place where it can be: what is on a real engine then, and how it goes on.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::time::Duration;

use patroni_broker::cells::{CellError, CellEvent, ContainerSpec, ContainerState, PublishedPort, label};

use crate::bench::{Bench, file, free_port};
use crate::contract::{Scenario, StopsAtTheEnd};
use crate::live::{run, volumes};

pub const SCENARIOS: &[Scenario] = &[
    ("what_was_cut_off_goes_on", what_was_cut_off_goes_on),
    ("what_was_cut_off_and_is_refused_is_put_back", what_was_cut_off_and_is_refused_is_put_back),
    ("what_was_cut_off_is_removed_whole", what_was_cut_off_is_removed_whole),
    ("what_is_set_aside_shows_as_itself_or_not_at_all", what_is_set_aside_shows_as_itself_or_not_at_all),
    ("what_is_done_is_not_done_again", what_is_done_is_not_done_again),
    ("only_its_own_name_is_heard", only_its_own_name_is_heard),
];

const GRACE: Duration = Duration::from_secs(5);

/// Where it was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The old one was stopped.
    Stopped,
    /// … and set aside.
    SetAside,
    /// … and what somebody else started runs again.
    SetAsideAndStarted,
    /// The new one was created, and has no files yet.
    Created,
    /// A new one was created, for something else.
    CreatedOtherwise,
    /// The new one was started.
    Started,
    /// … and has ended.
    StartedAndEnded,
    /// One that was made for something else was started.
    StartedOtherwise,
}

const CUTS: [Cut; 8] = [
    Cut::Stopped,
    Cut::SetAside,
    Cut::SetAsideAndStarted,
    Cut::Created,
    Cut::CreatedOtherwise,
    Cut::Started,
    Cut::StartedAndEnded,
    Cut::StartedOtherwise,
];

/// What an engine says no to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Image,
    Creation,
    Start,
}

impl Cut {
    /// Whether the old one is out of use.
    fn is_past(self) -> bool {
        matches!(self, Self::Started | Self::StartedAndEnded | Self::StartedOtherwise)
    }
}

fn docker(arguments: &[&str]) -> String {
    run("docker", arguments).unwrap()
}

/// A container with something on its volume.
fn with_data(bench: &Bench) -> ContainerSpec {
    let spec = bench.running();
    let written = bench.a.exec(&spec.name, &["sh", "-c", "echo kept >/data/kept"]).unwrap();
    assert_eq!(written.exit_code, 0, "{written:?}");
    spec
}

/// What it is to become.
fn changed(bench: &Bench, spec: &ContainerSpec) -> ContainerSpec {
    let mut spec = spec.clone();
    spec.image.clone_from(&bench.other_image);
    spec.env.insert("GREETING".to_owned(), "changed".to_owned());
    spec.files = vec![file("/entry", 0o600, "changed")];
    spec
}

/// Leaves on the engine what a broker would that was killed there while it made `wanted` of `old`.
fn cut(bench: &Bench, old: &ContainerSpec, wanted: &ContainerSpec, cut: Cut) {
    let name = old.name.as_str();
    let aside = format!("{name}.old");
    docker(&["stop", name]);
    if cut == Cut::Stopped {
        return;
    }
    docker(&["rename", name, &aside]);
    let label = |name: &str, value: &str| format!("{name}={value}");
    let otherwise = matches!(cut, Cut::CreatedOtherwise | Cut::StartedOtherwise);
    let fingerprint = if otherwise { "otherwise".to_owned() } else { wanted.fingerprint() };
    let labels = [
        label(label::CELL, bench.a.site().guid.as_str()),
        label(label::BROKER, &bench.a.site().broker),
        label(label::FINGERPRINT, &fingerprint),
        label("purpose", "test"),
    ];
    match cut {
        Cut::Stopped | Cut::SetAside => {}
        Cut::SetAsideAndStarted => drop(docker(&["start", &aside])),
        _ => {
            let mut create =
                vec!["create", "--name", name, "--volumes-from", &aside, "--env", "GREETING=changed"];
            labels.iter().for_each(|label| create.extend(["--label", label]));
            create.push(&wanted.image);
            docker(&create);
            if cut.is_past() {
                docker(&["start", name]);
            }
            if cut == Cut::StartedAndEnded {
                docker(&["stop", name]);
            }
        }
    }
}

/// Every container of that name, also the one that is set aside.
fn all(spec: &ContainerSpec) -> Vec<String> {
    let listed = docker(&["ps", "-a", "--filter", &format!("name={}", spec.name), "--format", "{{.Names}}"]);
    let ours = |name: &&str| name.trim_end_matches(".old") == spec.name.as_str();
    listed.lines().filter(ours).map(str::to_owned).collect()
}

fn kept(bench: &Bench, spec: &ContainerSpec) -> String {
    bench.a.exec(&spec.name, &["cat", "/data/kept"]).unwrap().output
}

fn what_was_cut_off_goes_on(bench: &Bench) {
    for at in CUTS {
        let old = with_data(bench);
        let wanted = changed(bench, &old);
        let volumes_before = volumes(&old.name);
        cut(bench, &old, &wanted, at);
        bench.a.remake(&wanted, GRACE).unwrap();

        let view = bench.a.inspect(&old.name).unwrap().unwrap();
        assert_eq!(view.state, ContainerState::Running, "{at:?}");
        assert_eq!(view.labels[label::FINGERPRINT], wanted.fingerprint(), "{at:?}");
        assert_eq!(kept(bench, &old), "kept\n", "{at:?}");
        assert_eq!(all(&old), [old.name.as_str()], "{at:?}");
        assert_eq!(volumes(&old.name), volumes_before, "{at:?}");
        // What had been started by then was made without any by this test.
        let files = !matches!(at, Cut::Started | Cut::StartedAndEnded);
        let entry = bench.a.exec(&old.name, &["cat", "/entry"]).unwrap();
        assert_eq!(entry.exit_code == 0, files, "{at:?}: {entry:?}");

        bench.a.remove(&old.name).unwrap();
        assert!(!(bench.volume_is_there)(&volumes_before[0]), "{at:?}");
    }
}

fn what_was_cut_off_and_is_refused_is_put_back(bench: &Bench) {
    let taken = PublishedPort { container: 5432, host: free_port() };
    let mut other = bench.spec();
    other.ports = vec![taken];
    bench.b.create(&other).unwrap();
    bench.b.start(&other.name).unwrap();
    for at in CUTS {
        for why in [Refusal::Image, Refusal::Creation, Refusal::Start] {
            let old = with_data(bench);
            let wanted = changed(bench, &old);
            cut(bench, &old, &wanted, at);
            let mut refused = wanted.clone();
            match why {
                Refusal::Image => refused.image = format!("127.0.0.1:{}/nobody/nothing:1", free_port()),
                // Less than an engine gives anybody.
                Refusal::Creation => refused.memory_bytes = Some(1 << 20),
                Refusal::Start => refused.ports = vec![taken],
            }
            match bench.a.remake(&refused, GRACE).unwrap_err() {
                CellError::NoSuchImage { .. } if why == Refusal::Image => {}
                CellError::Refused { .. } if why != Refusal::Image => {}
                error => panic!("{at:?} {why:?}: {error:?}"),
            }

            assert_eq!(all(&old), [old.name.as_str()], "{at:?} {why:?}");
            let greeting = bench.a.exec(&old.name, &["sh", "-c", "echo $GREETING"]).unwrap().output;
            // The new one is the old one by then.
            let expected = if at.is_past() { "changed\n" } else { "a b=c\n" };
            assert_eq!(greeting, expected, "{at:?} {why:?}");
            assert_eq!(kept(bench, &old), "kept\n", "{at:?} {why:?}");
            bench.a.remove(&old.name).unwrap();
        }
    }
}

fn what_was_cut_off_is_removed_whole(bench: &Bench) {
    for at in CUTS {
        let old = with_data(bench);
        let volumes_before = volumes(&old.name);
        cut(bench, &old, &changed(bench, &old), at);
        bench.a.remove(&old.name).unwrap();
        assert_eq!(all(&old), [""; 0], "{at:?}");
        assert_eq!(bench.a.inspect(&old.name).unwrap(), None, "{at:?}");
        assert!(!(bench.volume_is_there)(&volumes_before[0]), "{at:?}");
    }
}

fn what_is_set_aside_shows_as_itself_or_not_at_all(bench: &Bench) {
    for at in CUTS {
        let mut old = bench.spec();
        old.labels.insert("purpose".to_owned(), old.name.to_string());
        bench.a.create(&old).unwrap();
        bench.a.start(&old.name).unwrap();
        cut(bench, &old, &changed(bench, &old), at);
        let listed = bench.a.list(&[]).unwrap();
        let listed: Vec<_> =
            listed.iter().filter(|view| view.name.as_str().starts_with(old.name.as_str())).collect();
        let expected = match at {
            Cut::Stopped | Cut::SetAside | Cut::StartedAndEnded => ContainerState::Exited { code: Some(0) },
            Cut::Created | Cut::CreatedOtherwise => ContainerState::Created,
            Cut::SetAsideAndStarted | Cut::Started | Cut::StartedOtherwise => ContainerState::Running,
        };
        assert_eq!(listed.len(), 1, "{at:?}: {listed:?}");
        assert_eq!((&listed[0].name, &listed[0].state), (&old.name, &expected), "{at:?}");
        assert_eq!(bench.a.inspect(&old.name).unwrap().as_ref(), Some(listed[0]), "{at:?}");
        // Its data would be out of reach behind a new one that has none.
        let refused = bench.a.create(&old).unwrap_err();
        assert!(matches!(refused, CellError::Refused { .. }), "{at:?}: {refused:?}");
    }
}

fn what_is_done_is_not_done_again(bench: &Bench) {
    let old = with_data(bench);
    let wanted = changed(bench, &old);
    let begun = || docker(&["inspect", "-f", "{{.Id}} {{.State.StartedAt}}", old.name.as_str()]);
    bench.a.remake(&old, GRACE).unwrap();
    let before = begun();
    bench.a.remake(&old, GRACE).unwrap();
    assert_eq!(begun(), before);
    bench.a.remake(&wanted, GRACE).unwrap();
    let after = begun();
    assert_ne!(after, before);
    bench.a.remake(&wanted, GRACE).unwrap();
    assert_eq!(begun(), after);
    assert_eq!(kept(bench, &old), "kept\n");
}

/// The registrar looks at what it hears of by name.
fn only_its_own_name_is_heard(bench: &Bench) {
    let old = with_data(bench);
    let stop = AtomicBool::new(false);
    let (sender, heard) = channel();
    let mut names = std::collections::BTreeSet::new();
    std::thread::scope(|scope| {
        let _stops = StopsAtTheEnd(&stop);
        scope.spawn(|| bench.a.watch(&stop, &mut |event| sender.send(event).unwrap()));
        assert_eq!(heard.recv_timeout(GRACE), Ok(CellEvent::Connected));
        bench.a.remake(&changed(bench, &old), GRACE).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        for event in heard.try_iter() {
            let CellEvent::Changed(name) = event else { panic!("one stream: {event:?}") };
            names.insert(name.to_string());
        }
    });
    names.retain(|name| name.starts_with(old.name.as_str()));
    assert_eq!(names.into_iter().collect::<Vec<_>>(), [old.name.as_str()]);
}
