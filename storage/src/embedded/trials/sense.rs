//! Files that redb holds for right, and in which rows and numbers agree, and that make no sense all the same.

use redb::{ReadableTable, Table};

use super::disk::Disk;
use super::power_loss::prepared;
use super::{open, state_of};
use crate::embedded::OpenError;
use crate::embedded::numbers::{Kind, Numbers, Sums};
use crate::embedded::record::{META, NODES, Record};

type Nodes<'txn> = Table<'txn, &'static str, &'static [u8]>;

/// A file in which this was done to the nodes, and then to the numbers, which had been made to agree with them.
fn file(
    nodes_become: impl FnOnce(&mut Nodes<'_>),
    numbers_become: impl FnOnce(Numbers) -> Numbers,
    sealed: bool,
) -> Disk {
    let disk = Disk::with(prepared(1, 12).0);
    let database = redb::Builder::new().create_with_backend(disk.clone()).unwrap();
    let write = database.begin_write().unwrap();
    {
        let (mut nodes, mut meta) = (write.open_table(NODES).unwrap(), write.open_table(META).unwrap());
        nodes_become(&mut nodes);
        let mut sums = Sums::default();
        for row in nodes.iter().unwrap() {
            let (path, bytes) = row.unwrap();
            sums.add(Kind::Node, path.value(), bytes.value());
        }
        let before = Numbers::read(&meta).unwrap();
        let numbers = numbers_become(Numbers { sums, ..before });
        numbers.write(&mut meta).unwrap();
        if !sealed {
            let mut row = meta.get(()).unwrap().unwrap().value();
            *row.last_mut().unwrap() = before.seal;
            meta.insert((), row).unwrap();
        }
    }
    write.commit().unwrap();
    drop(database);
    disk
}

fn check(disk: &Disk, expected: &str) {
    let bytes = disk.bytes();
    match open(disk, &Disk::default()) {
        Ok(_) => panic!("it opens, expected {expected}"),
        Err(error) => assert!(error.to_string().contains(expected), "{error}, expected {expected}"),
    }
    assert!(disk.bytes() == bytes, "{expected}: it was written to");
}

fn row(value: Option<&[u8]>, created: u64, modified: u64) -> Vec<u8> {
    Record { value: value.map(Into::into), created, modified, ttl: None }.encode()
}

#[test]
fn what_makes_no_sense_is_refused() {
    let put = |path: &'static str, bytes: Vec<u8>| {
        file(
            move |nodes| drop(nodes.insert(path, bytes.as_slice()).unwrap()),
            |numbers| Numbers { index: 100, ..numbers },
            true,
        )
    };
    let sound = put("/f", row(Some(b"1"), 100, 100));
    assert!(state_of(&open(&sound, &Disk::default()).unwrap()).1.contains_key("/f"));
    check(&put("/f", row(Some(b"1"), 101, 5)), "the record of /f is of a time that has not come");
    check(&put("/f", row(Some(b"1"), 5, 101)), "the record of /f is of a time that has not come");
    check(&put("/no/f", row(Some(b"1"), 5, 5)), "the directory of /no/f is missing");
    check(&put("/f", b"x".to_vec()), "the record of \"/f\" cannot be read");
    check(&put("f", row(Some(b"1"), 5, 5)), "the record of \"f\" cannot be read");
    let behind_a_file = file(
        |nodes| {
            nodes.insert("/f", row(Some(b"1"), 1, 1).as_slice()).unwrap();
            nodes.insert("/f/g", row(Some(b"1"), 1, 1).as_slice()).unwrap();
        },
        |numbers| numbers,
        true,
    );
    check(&behind_a_file, "the directory of /f/g is missing");
}

#[test]
fn numbers_that_nobody_wrote_are_refused() {
    let with = |becomes: fn(Numbers) -> Numbers, sealed| file(|_| {}, becomes, sealed);
    check(&with(|numbers| Numbers { index: 1_000, ..numbers }, false), "its numbers are not those");
    check(&with(|numbers| Numbers { cluster: 1, ..numbers }, false), "its numbers are not those");
    check(&with(|numbers| Numbers { format: 0, ..numbers }, true), "it does not say which format it has");
    let newer = open(&with(|numbers| Numbers { format: 9, ..numbers }, true), &Disk::default());
    assert!(matches!(newer, Err(OpenError::Newer { found: 9, .. })), "{newer:?}");
}
