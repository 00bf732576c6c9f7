//! Announces containers in the store.
