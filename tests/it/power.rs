//! Power cuts: a file system of its own is shut down under load, without its log being written, and mounted again.
//!
//! `FS_IOC_SHUTDOWN` with "no log flush" drops whatever the file system had not been made to write: what a power cut
//! leaves. It needs root, a loop device, and `xfs_io` to ask for it.

use std::path::Path;
use std::sync::Mutex;

use plimsoll_tests::disk::Disk;
use plimsoll_tests::machine::{not_run, rounds};
use plimsoll_tests::node::{Node, Start};

use crate::crash::{Acknowledged, check, load};

fn disk(test: &str, mebibytes: u64) -> Option<Disk> {
    Disk::new(mebibytes).map_err(|why| not_run(test, &why)).ok()
}

fn cut_and_come_back(engine: &str) {
    let Some(disk) = disk(&format!("power cut under {engine}"), 1_024) else { return };
    let known = Mutex::new(Acknowledged::new());
    let data = disk.mount_point().join("data");
    let start = |data: &Path| Start::on(data).arguments(&["--engine", engine]).start().unwrap();
    for _ in 0..rounds() {
        let mut before = Acknowledged::new();
        load(start(&data), &known, |node| {
            // A machine without power answers nothing. A file system that is shut down lets its processes live: an
            // fdatasync that is under way may then find its transaction gone, take that for done, and return success.
            before = known.lock().unwrap().clone();
            disk.cut();
            node.kill();
        });
        disk.unmount().unwrap();
        disk.mount().unwrap();
        let node = start(&data);
        check(&node, &before, &mut known.lock().unwrap());
        assert!(node.stop().success());
    }
}

#[test]
fn fjall_keeps_what_was_acknowledged_when_the_power_goes() {
    cut_and_come_back("fjall");
}

#[test]
fn redb_keeps_what_was_acknowledged_when_the_power_goes() {
    cut_and_come_back("redb");
}

#[test]
fn sled_keeps_what_was_acknowledged_when_the_power_goes() {
    cut_and_come_back("sled");
}

/// A disk that fills up refuses writes with 507, goes on serving reads, and takes writes again once there is room.
fn fill_and_make_room(engine: &str) {
    let Some(disk) = disk(&format!("full disk under {engine}"), 512) else { return };
    let data = disk.mount_point().join("data");
    let start = |data: &Path| Start::on(data).arguments(&["--engine", engine]).start();
    let node = start(&data).unwrap();
    let post = |node: &Node, at: u32| {
        node.post(&plimsoll_tests::trace::transition("spec", &format!("t-{at}"), "a", &[])).status
    };
    assert_eq!(post(&node, 1), 201);
    disk.fill();
    let refused = node.post(&plimsoll_tests::trace::transition("spec", "t-2", "a", &[]));
    assert_eq!((refused.status, refused.problem()), (507, "disk-full".into()));
    assert_eq!(node.get("/projections/spec/cursor").status, 200);
    node.kill();
    let node = start(&data).expect("a full disk does not keep a node from starting");
    assert_eq!(node.get("/projections/spec/cursor").status, 200);
    assert_eq!(post(&node, 2), 507);
    disk.make_room();
    assert_eq!(post(&node, 2), 201);
    assert!(node.stop().success());
}

#[test]
fn fjall_goes_on_reading_on_a_full_disk() {
    fill_and_make_room("fjall");
}

#[test]
fn redb_goes_on_reading_on_a_full_disk() {
    fill_and_make_room("redb");
}

#[test]
fn sled_goes_on_reading_on_a_full_disk() {
    fill_and_make_room("sled");
}
