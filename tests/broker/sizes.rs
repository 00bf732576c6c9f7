//! What is kept of an order has a bound, and what was accepted once can always be changed and go.

use patroni_broker::broker::{BrokerError, Outcome, ProvisionRequest};
use serde_json::json;

use crate::dream::{bind, change_parameters, dream, given, map};
use crate::lab::Lab;

/// The most, and what `{"fill":"…"}` takes besides its text.
const MOST: usize = 64 << 10;
const AROUND: usize = r#"{"fill":""}"#.len();

fn filled(bytes: usize) -> String {
    json!({"fill": "x".repeat(bytes - AROUND)}).to_string()
}

/// An order that no store took was once an error of the store; one just below could not be deleted any more, since its
/// record grew beyond what the store takes.
#[test]
fn an_order_at_the_bound_can_be_changed_and_can_go() {
    let lab = Lab::new("c1@z1");
    let refused = |result: Result<Outcome, BrokerError>| {
        let Err(BrokerError::InvalidParameters { reason }) = result else { panic!("{result:?}") };
        assert!(reason.contains("64 KiB"), "{reason}");
    };
    let context = r#"{"platform":"x"}"#;
    let with = |parameters: String| ProvisionRequest { context: map(context), ..dream("d1", &parameters) };
    refused(lab.provision(with(filled(MOST - context.len() + 1))));
    lab.assert_nothing_left();
    let most = filled(MOST - context.len());
    lab.provision(with(most)).unwrap();
    refused(lab.update(change_parameters("d1", r#"{"more": 1}"#)));
    // A record holds what it has and what it is to have; and the bindings have records of their own.
    let other = "y".repeat(MOST - AROUND - context.len());
    for turn in 0..6 {
        let text = if turn % 2 == 0 { &other } else { &"z".repeat(other.len()) };
        lab.update(change_parameters("d1", &json!({"fill": text}).to_string())).unwrap();
    }
    // Two empty objects are kept beside.
    given(lab.broker().bind(bind("d1", "x", &filled(MOST - 4))));
    let bound = lab.broker().bind(bind("d1", "y", &filled(MOST - 3)));
    assert!(matches!(bound, Err(BrokerError::InvalidParameters { .. })));
    assert_eq!(lab.deprovision("d1"), Ok(Outcome::Succeeded));
}
