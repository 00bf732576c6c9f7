//! What comes from outside: odd keys, large values. Whatever is no key is refused where keys are read, in the crate's
//! own tests of `Key`.

use storage::{Expect, Key, MAX_VALUE_BYTES, StoreError};

use crate::Scenario;
use crate::bench::{Bench, Keys};
use crate::say::{hear, key};

pub const SCENARIOS: &[Scenario] = &[
    ("odd_keys_stay_what_they_are", odd_keys_stay_what_they_are),
    (
        "the_largest_value_passes_and_no_larger_one_is_sent",
        the_largest_value_passes_and_no_larger_one_is_sent,
    ),
    ("what_etcd_v2_would_hide_is_refused_there", what_etcd_v2_would_hide_is_refused_there),
];

/// Every segment is one key's, and no two of them may be mixed up.
fn segments() -> Vec<String> {
    let plain = [
        " ",
        "a b",
        " a",
        "a ",
        "+",
        "a+b",
        "%",
        "%2F",
        "%20",
        "%00",
        "?",
        "a?b=1",
        "#",
        "a#b",
        ";",
        "a;b",
        "&",
        "=",
        "\"",
        "'",
        "\\",
        "a\\b",
        "\\n",
        "<>",
        "[x]",
        "{x}",
        "|",
        "^",
        "`",
        "~",
        "*",
        "$(x)",
        ":",
        "@",
        "!",
        ",",
        "-",
        "...",
        "a..b",
        "..a",
        "null",
        "0",
        "\u{e4}",
        "a\u{308}",
        "\u{1f418}",
        "\u{65e5}\u{672c}",
        "\u{200b}",
        "\u{feff}x",
        "\u{10ffff}",
    ];
    let mut all: Vec<String> = plain.iter().map(|&segment| segment.to_owned()).collect();
    all.extend(["x".repeat(255), "\u{1f418}".repeat(63), "%".repeat(255)]);
    all
}

fn odd_keys_stay_what_they_are(bench: &mut Bench) {
    let store = &bench.store;
    let start = store.list(&Key::root()).unwrap().revision;
    let mut all: Vec<Key> = Vec::new();
    for segment in segments() {
        all.push(key("/odd").child(&segment).unwrap().child("below").unwrap());
    }
    // As deep as keys are, and 2,000 characters, each encoded at three times its length.
    all.push(key(&"/d%eep".repeat(32)));
    all.push(key(&format!("/long{}", format!("/{}", "%".repeat(249)).repeat(7))));
    for at in &all {
        let revision = store.put(at, at.as_str().as_bytes(), None, Expect::Absent);
        let revision = revision.unwrap_or_else(|error| panic!("{at}: {error}"));
        let entry = store.get(at).unwrap().unwrap_or_else(|| panic!("{at} is not there"));
        assert_eq!((entry.key.as_str(), entry.value.as_slice()), (at.as_str(), at.as_str().as_bytes()));
        assert_eq!(entry.revision, revision, "{at}");
        let under = store.list(&at.parent().unwrap()).unwrap().entries;
        assert_eq!(under.iter().map(|entry| &entry.key).collect::<Vec<_>>(), [at]);
    }
    let mut listed: Vec<Key> = store.list(&Key::root()).unwrap().entries.into_iter().map(|e| e.key).collect();
    listed.sort();
    all.sort();
    assert_eq!(listed, all);
    for at in &all {
        hear(bench, at.parent().unwrap().as_str(), start, at.as_str());
    }
    for at in &all {
        let entry = store.get(at).unwrap().unwrap();
        store.delete(at, Expect::Unchanged(entry.revision)).unwrap();
        assert_eq!(store.get(at), Ok(None), "{at}");
    }
}

fn the_largest_value_passes_and_no_larger_one_is_sent(bench: &mut Bench) {
    let (store, at) = (&bench.store, key("/large"));
    // The worst there is for encodings: form, JSON and base64.
    let kinds: [(&str, &str); 4] =
        [("ascii", "a"), ("escaped", "\""), ("encoded", "%"), ("four bytes", "\u{1f418}")];
    for (name, unit) in kinds {
        let value = unit.repeat(MAX_VALUE_BYTES / unit.len());
        assert_eq!(value.len(), MAX_VALUE_BYTES);
        let put = store.put(&at, value.as_bytes(), None, Expect::Anything);
        assert!(put.is_ok(), "{name}: {put:?}");
        assert!(store.get(&at).unwrap().unwrap().value == value.as_bytes(), "{name} came back as another");
    }
    let before = store.list(&Key::root()).unwrap().revision;
    let proxied = bench.served.as_ref().map(|served| {
        let proxy = served.proxy();
        (served.through(&[proxy.address()], crate::bench::PATIENT), proxy)
    });
    let store = proxied.as_ref().map_or(store, |(store, _)| store);
    for length in [MAX_VALUE_BYTES + 1, 1 << 20, 10 << 20] {
        let value = vec![b'x'; length];
        for expect in [Expect::Absent, Expect::Anything, Expect::Unchanged(before)] {
            let put = store.put(&at, &value, None, expect);
            assert!(matches!(put, Err(StoreError::Corrupt { .. })), "{length}: {put:?}");
        }
    }
    if let Some((_, proxy)) = &proxied {
        assert_eq!(proxy.bytes_forwarded(), 0, "it was sent");
    }
    assert_eq!(bench.store.list(&Key::root()).unwrap().revision, before);
}

/// Nobody who lists or watches by etcd's v2 API would hear of such a key, and an export would miss it.
fn what_etcd_v2_would_hide_is_refused_there(bench: &mut Bench) {
    let store = &bench.store;
    let before = store.list(&Key::root()).unwrap().revision;
    for path in ["/_a", "/hidden/_a", "/_hidden/a", "/hidden/_/a"] {
        let put = store.put(&key(path), b"x", None, Expect::Anything);
        match bench.can.keys {
            Keys::Tree => assert!(matches!(put, Err(StoreError::Corrupt { .. })), "{path}: {put:?}"),
            Keys::Flat => {
                put.unwrap_or_else(|error| panic!("{path}: {error}"));
                let listed = store.list(&Key::root()).unwrap().entries;
                assert!(listed.iter().any(|entry| entry.key == key(path)), "{path}");
                hear(bench, "/", before, path);
            }
        }
    }
    store.put(&key("/shown_/a_"), b"x", None, Expect::Absent).unwrap();
    if bench.can.keys == Keys::Tree {
        let listed = store.list(&Key::root()).unwrap().entries;
        assert_eq!(listed.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["/shown_/a_"]);
    }
}
