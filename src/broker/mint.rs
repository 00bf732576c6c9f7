//! New ids and passwords from the system's randomness.

use rand::distr::{Alphanumeric, SampleString};
use uuid::Uuid;

use crate::model::{Mint, NodeId, OperationId, Secret};

/// How long a password is: 24 letters and digits hold 142 bits.
const PASSWORD_LEN: usize = 24;

/// Mints random ids and passwords.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomMint;

impl Mint for RandomMint {
    fn node(&self) -> NodeId {
        NodeId::parse(&Uuid::new_v4().to_string()).expect("a UUID is an id")
    }

    fn operation(&self, kind: &str) -> OperationId {
        OperationId::parse(&format!("{kind}-{}", Uuid::new_v4())).expect("a word and a UUID are an id")
    }

    fn password(&self) -> Secret {
        Secret::new(Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LEN))
    }

    fn token(&self) -> Secret {
        Secret::new(Uuid::new_v4().to_string())
    }
}
