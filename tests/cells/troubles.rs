//! The fake's troubles, which the tests of the layers above build on.

use std::path::PathBuf;

use patroni_broker::cells::fake::{Call, FakeCell, FakeEngine, Trouble};
use patroni_broker::cells::{Cell, CellError, ContainerState};
use patroni_broker::model::DockerAddress;

use crate::bench::{fake, site};

pub const SCENARIOS: &[(&str, fn())] = &[
    ("a_trouble_is_had_once", a_trouble_is_had_once),
    ("a_cell_that_is_away_does_nothing", a_cell_that_is_away_does_nothing),
    ("containers_crash_and_get_lost", containers_crash_and_get_lost),
];

fn cell() -> std::sync::Arc<FakeCell> {
    let engine = FakeEngine::new();
    engine.add_image("test:1", &[]);
    FakeCell::new(site("fake", DockerAddress::Unix(PathBuf::from("/fake"))), engine)
}

fn a_trouble_is_had_once() {
    let check = |trouble: Trouble, silent: bool, happened: bool| {
        let (cell, spec) = (cell(), fake().spec());
        cell.trouble(Call::Create, trouble.clone());
        let error = cell.create(&spec).unwrap_err();
        assert_eq!(matches!(error, CellError::NoAnswer { .. }), silent, "{trouble:?}: {error:?}");
        assert_eq!(cell.inspect(&spec.name).unwrap().is_some(), happened, "{trouble:?}");
        assert_eq!(cell.create(&spec).is_ok(), !happened, "{trouble:?}, once more");
    };
    check(Trouble::Refuse("full".to_owned()), false, false);
    check(Trouble::SilentWithoutEffect, true, false);
    check(Trouble::SilentWithEffect, true, true);
}

fn a_cell_that_is_away_does_nothing() {
    let (cell, spec) = (cell(), fake().spec());
    cell.set_away(true);
    assert!(matches!(cell.create(&spec), Err(CellError::NoAnswer { .. })));
    assert!(matches!(cell.inspect(&spec.name), Err(CellError::NoAnswer { .. })), "not absent");
    cell.set_away(false);
    assert_eq!(cell.inspect(&spec.name), Ok(None));
}

fn containers_crash_and_get_lost() {
    let (cell, spec) = (cell(), fake().spec());
    cell.create(&spec).unwrap();
    cell.start(&spec.name).unwrap();
    cell.engine().crash(&spec.name, 137);
    let state = cell.inspect(&spec.name).unwrap().unwrap().state;
    assert_eq!(state, ContainerState::Exited { code: Some(137) });
    cell.engine().lose(&spec.name);
    assert_eq!(cell.inspect(&spec.name), Ok(None));
}
