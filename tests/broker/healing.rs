//! What a failed update has left, and how the next one makes it good.

use std::sync::Arc;

use patroni_broker::broker::{
    BrokerError, DrainRequest, Drained, Fate, LastOperation, Outcome, UpdateRequest,
};
use patroni_broker::cells::fake::Call;
use patroni_broker::cells::{Cell, ContainerState};
use patroni_broker::model::{ContainerName, NodeId};
use patroni_broker::state::Instances;

use crate::cluster::{NEWER, alter_parameters, upgrade};
use crate::cordons::cell;
use crate::dream::refused;
use crate::lab::{IMAGE, Lab, binding, until};

const THREE: &str = "c1@z1 c2@z2 c3@z3";

fn grown(nodes: usize) -> UpdateRequest {
    alter_parameters(&format!(r#"{{"node-count": {nodes}}}"#))
}

impl Lab {
    /// Lets the operation's time be over, for a broker that starts now.
    pub fn overdue(&mut self) {
        self.stop();
        let mut record = self.record("b1").unwrap();
        record.value.operation.as_mut().unwrap().deadline_ms = 1;
        Instances::new(Arc::clone(&self.store)).save(record).unwrap();
        self.start();
    }

    fn container_on(&self, cell: &str) -> ContainerName {
        ContainerName::of(&NodeId::parse(&self.node_on(cell)).unwrap())
    }

    /// Whether the cluster was usable when its update had failed.
    fn usable(&self) -> Option<bool> {
        match self.settle("b1") {
            LastOperation::Failed { instance_usable, .. } => instance_usable,
            told => panic!("{told:?}"),
        }
    }
}

/// The engine fell silent while it made a replica anew, until the update was undone as far as that went: what is there
/// then was never started, and has no files, and the data are on the volume of what is set aside.
#[test]
fn a_node_that_was_half_made_anew_comes_back_on_its_data() {
    let mut lab = Lab::clustered(THREE, 2);
    let (name, c2) = (lab.container_on("c2"), Arc::clone(&lab.cells[1]));
    let before = lab.engine.volume(&name).unwrap();
    lab.offer_upgrade(NEWER);
    c2.holds.hold(Call::Remake);
    lab.begin(upgrade());
    until("the container to be made anew", || (c2.holds.waiting(Call::Remake) == 1).then_some(()));
    lab.engine.set_aside(&name);
    c2.set_away(true);
    c2.holds.let_go(Call::Remake);
    lab.overdue();
    until("the update to be undone", || lab.record("b1").unwrap().value.operation?.failure);
    lab.overdue();
    assert_eq!(lab.usable(), Some(true), "the other one leads");
    c2.set_away(false);
    let found = c2.inspect(&name).unwrap().unwrap();
    assert_eq!((found.state, lab.engine.aside()), (ContainerState::Created, vec![name.clone()]));

    assert_eq!(lab.update(grown(3)), Ok(Outcome::Succeeded));
    assert_eq!(lab.engine.aside(), [], "what was set aside is left over");
    assert_eq!(lab.engine.volume(&name), Some(before), "data were left behind");
    assert_eq!(lab.engine.spec(&name).unwrap().image, IMAGE);
    lab.assert_as_recorded("grown");
    lab.assert_goes();
}

/// One of two was gone when the other one, which leads by then, would not hand over: the cluster has fewer nodes than it
/// says, and the count that it says already was taken for nothing to be done.
#[test]
fn the_count_that_a_cluster_had_heals_it() {
    let mut lab = Lab::clustered(THREE, 3);
    let replicas = [1, 2].map(|at| Arc::clone(&lab.cells[at]));
    replicas.iter().for_each(|replica| replica.holds.hold(Call::Remove));
    lab.begin(grown(1));
    let first = until("the first to go", || {
        replicas.iter().position(|replica| replica.holds.waiting(Call::Remove) == 1)
    });
    let second = replicas[1 - first].site().guid.to_string();
    lab.patroni.trouble(|troubles| troubles.refuses = true);
    lab.patroni.fail_over("b1", &lab.node_on(&second));
    replicas.iter().for_each(|replica| replica.holds.let_go(Call::Remove));
    until("the refusal to be told", || {
        let operation = lab.record("b1").unwrap().value.operation?;
        operation.description.contains("the fake says no").then_some(())
    });
    lab.overdue();
    assert_eq!(lab.usable(), Some(true));
    assert_eq!(lab.placed(), ["c1", second.as_str()]);
    assert_eq!(lab.fetch("b1").unwrap().parameters["node-count"], 3);

    lab.patroni.trouble(|troubles| troubles.refuses = false);
    assert_eq!(lab.update(grown(3)), Ok(Outcome::Succeeded));
    assert_eq!(lab.running(), ["c1", "c2", "c3"]);
    lab.assert_as_recorded("healed");
    // From then on it is so already.
    let revision = lab.record("b1").unwrap().revision;
    assert_eq!(lab.update(grown(3)), Ok(Outcome::Succeeded));
    assert_eq!(lab.record("b1").unwrap().revision, revision);
}

/// Whether it is usable is asked of its members again, and not what was noted when its update failed.
#[test]
fn a_cluster_that_works_again_is_used_again() {
    let mut lab = Lab::clustered(THREE, 1);
    lab.patroni.trouble(|troubles| troubles.held_back = ["c2".to_owned()].into());
    lab.begin(grown(2));
    until("the new node to run", || (lab.running().len() == 2).then_some(()));
    let (name, c1) = (lab.container_on("c1"), Arc::clone(&lab.cells[0]));
    lab.patroni.silence("b1");
    c1.set_away(true);
    lab.engine.crash(&name, 1);
    lab.overdue();
    until("the update to be undone", || lab.record("b1").unwrap().value.operation?.failure);
    lab.overdue();
    assert_eq!(lab.usable(), Some(false));
    let rehearsed = || {
        let request = DrainRequest { cell: cell("c1"), at_once: None, dry_run: true };
        match lab.broker().drain(&request).unwrap() {
            Drained::Rehearsed { moves, .. } => match &moves[0].fate {
                Fate::Stuck(reason) => Some(reason.clone()),
                Fate::Steps(_) | Fate::Waits(_) => None,
            },
            begun @ Drained::Begun(_) => panic!("{begun:?}"),
        }
    };
    let check = |usable: bool| {
        let update = lab.broker().update(UpdateRequest { rehearse: true, ..grown(3) });
        assert_eq!(update.is_ok(), usable, "{update:?}");
        assert_eq!(lab.broker().bind(binding("b1")).is_ok(), usable);
        assert_eq!(rehearsed().is_none(), usable, "{:?}", rehearsed());
    };
    check(false);
    assert!(matches!(refused(lab.update(grown(3))), BrokerError::InstanceFailed { .. }));

    c1.set_away(false);
    c1.start(&name).unwrap();
    lab.patroni.silent.lock().unwrap().clear();
    lab.patroni.fail_over("b1", &lab.node_on("c1"));
    check(true);
    lab.patroni.trouble(|troubles| troubles.held_back.clear());
    assert_eq!(lab.update(grown(3)), Ok(Outcome::Succeeded));
    lab.assert_as_recorded("grown");
    lab.assert_goes();
}
