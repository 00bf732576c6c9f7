//! Who may read what on the embedded store's API: guests, routers, registrars and strangers try to break out, past any
//! client, byte by byte. Every value in the store names its own key, so that an answer tells what leaked.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod dismissed;
mod house;
mod inside;
mod model;
mod outside;
mod tricks;
mod wire;
