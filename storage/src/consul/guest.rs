//! What a guest is called in Consul, and its rights in Consul's words. Pure.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{name, tree};
use crate::Rights;

/// Every name that we give begins with it.
const PREFIX: &str = "patroni-broker-";
/// The longest name of a policy.
const LONGEST: usize = 128;
/// What the UUIDs of our names are derived from.
const NAMESPACE: Uuid = Uuid::from_u128(0x9d6f_1a52_4c0e_4f7b_8a35_6a1d_0c2e_b3f4);
const DESCRIPTION: &str = "patroni-broker guest ";

/// The name of the guest's policy and of its node in the catalog. Consul compares both without regard to case, and
/// takes few characters: what is no small letter, digit or `-` becomes `_` and two hexadecimal digits; of a name that gets
/// too long so, a UUID stands for it.
pub(super) fn called(guest: &str) -> String {
    let mut called = PREFIX.to_owned();
    for byte in guest.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => called.push(char::from(byte)),
            _ => called.push_str(&format!("_{byte:02x}")),
        }
    }
    if called.len() > LONGEST {
        // No escape looks like this.
        called = format!("{PREFIX}_x{}", accessor(guest));
    }
    called
}

/// The public id of the guest's token, the same every time, so that it is found without knowing its secret.
pub(super) fn accessor(guest: &str) -> String {
    Uuid::new_v5(&NAMESPACE, guest.as_bytes()).to_string()
}

/// By what a policy or token of ours is known.
pub(super) fn description(guest: &str) -> String {
    format!("{DESCRIPTION}{guest}")
}

/// Whose policy this is; `None` for what is not ours.
pub(super) fn whose<'a>(policy: &str, description: &'a str) -> Option<&'a str> {
    description.strip_prefix(DESCRIPTION).filter(|guest| called(guest) == policy)
}

/// Whether Consul takes this for a token's secret.
pub(super) fn is_secret(password: &str) -> bool {
    Uuid::try_parse(password).is_ok_and(|uuid| uuid.to_string() == password)
}

/// The rules of the guest's policy, in JSON, which Consul takes as it takes HCL. "list" is "read", and says so too where a
/// Consul is set to ask for it (`enable_key_list_policy`).
pub(super) fn rules(guest: &str, rights: &Rights) -> String {
    let mut rules = Map::new();
    let mut add = |kind: &str, of: String, policy: &str| {
        let rule = rules.entry(kind).or_insert_with(|| Value::Object(Map::new()));
        rule[of] = json!({ "policy": policy });
    };
    for prefix in &rights.read_under {
        add("key_prefix", tree(prefix), "list");
    }
    for key in &rights.write {
        add("key", name(key).to_owned(), "write");
    }
    add("session", called(guest), "write");
    Value::Object(rules).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{LONGEST, accessor, called, description, is_secret, rules, whose};
    use crate::{Key, Rights};

    #[test]
    fn names_are_told_apart_whatever_their_case() {
        let long = "A".repeat(100);
        let names =
            ["b1", "B1", "b10", "b_31", "b.1", "b~1", "b-1", "_x", "x", &long, &long[1..], &long[50..]];
        let called: BTreeSet<String> = names.iter().map(|name| called(name).to_lowercase()).collect();
        assert_eq!(called.len(), names.len(), "{called:?}");
        for called in &called {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            assert!(called.len() <= LONGEST && called.bytes().all(plain), "{called}");
        }
        let accessors: BTreeSet<String> = names.iter().map(|name| accessor(name)).collect();
        assert_eq!(accessors.len(), names.len());
        assert_eq!(super::called("b1-x"), "patroni-broker-b1-x");
    }

    #[test]
    fn only_our_policies_are_ours() {
        let check =
            |policy: &str, text: &str, expected: Option<&str>| assert_eq!(whose(policy, text), expected);
        check("patroni-broker-b1", &description("b1"), Some("b1"));
        check("patroni-broker-b1", &description("b2"), None);
        check("patroni-broker-b1", "mine", None);
        check("global-management", &description("b1"), None);
    }

    #[test]
    fn a_secret_is_a_uuid_in_lower_case() {
        let check = |password: &str, fine: bool| assert_eq!(is_secret(password), fine, "{password}");
        check("3f0cd05b-1c84-4e1c-b2bd-3a3b2f0f2a55", true);
        check("3F0CD05B-1C84-4E1C-B2BD-3A3B2F0F2A55", false);
        check("3f0cd05b1c844e1cb2bd3a3b2f0f2a55", false);
        check("hush", false);
    }

    #[test]
    fn nothing_in_a_key_can_change_the_rules() {
        let odd = Key::parse("/a\"} {\\ ${x}/*").unwrap();
        let rights = Rights { read_under: vec![Key::root(), odd.clone()], write: vec![odd] };
        let expected = serde_json::json!({
            "key_prefix": {"": {"policy": "list"}, "a\"} {\\ ${x}/*/": {"policy": "list"}},
            "key": {"a\"} {\\ ${x}/*": {"policy": "write"}},
            "session": {"patroni-broker-b1": {"policy": "write"}},
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&rules("b1", &rights)).unwrap(), expected);
        let none = rules("b1", &Rights::default());
        assert_eq!(none, r#"{"session":{"patroni-broker-b1":{"policy":"write"}}}"#);
    }
}
