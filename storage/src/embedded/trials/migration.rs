//! Files of the layout before this one.

use super::{old_file, open, state_of};
use crate::embedded::trials::disk::Disk;

#[test]
fn an_old_file_is_taken_over_with_everything_in_it() {
    let (disk, state) = old_file(50);
    let mark = Disk::default();
    let store = open(&disk, &mark).unwrap();
    assert_eq!(state_of(&store), state);
    drop(store);
    let store = open(&disk, &mark).unwrap();
    assert_eq!(state_of(&store), state, "it is of the present layout now");
    assert_eq!(store.shared.cluster, 7, "and still the same store");
}

#[test]
fn an_old_file_that_makes_no_sense_stays_as_it_is() {
    let (disk, _) = old_file(3);
    let bytes = disk.bytes();
    let at = bytes.windows(4).position(|window| window == b"/d/2").unwrap();
    let mut damaged = bytes.clone();
    damaged[at + 3] = b'/';
    let disk = Disk::with(damaged.clone());
    assert!(open(&disk, &Disk::default()).is_err());
    assert!(disk.bytes() == damaged);
}
