//! Power cuts: a file system of its own is shut down under load, without its log being written, and mounted again.
//!
//! `FS_IOC_SHUTDOWN` with "no log flush" drops whatever the file system had not been made to write: what a power cut
//! leaves. It needs root, a loop device, and `xfs_io` to ask for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use plimsoll_tests::machine::{command, not_run, rounds};
use plimsoll_tests::node::{Node, Start};

use crate::crash::{Acknowledged, check, load};

/// An ext4 file system in a file, mounted over a loop device.
struct Disk {
    folder: tempfile::TempDir,
    device: String,
}

impl Disk {
    fn new(mebibytes: u64) -> Result<Self, String> {
        if command("id", &["-u"])? != "0" {
            return Err("needs root".into());
        }
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let image = folder.path().join("image");
        let file = fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(mebibytes << 20).map_err(|error| error.to_string())?;
        command("xfs_io", &["-V"])?;
        command("mkfs.ext4", &["-q", "-F", &image.to_string_lossy()])?;
        let device = command("losetup", &["--find", "--show", &image.to_string_lossy()])?;
        let disk = Self { folder, device };
        fs::create_dir(disk.mount_point()).map_err(|error| error.to_string())?;
        disk.mount()?;
        Ok(disk)
    }

    fn mount_point(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    fn mount(&self) -> Result<String, String> {
        command("mount", &[&self.device, &self.mount_point().to_string_lossy()])
    }

    /// Stops the file system where it stands: what it was not made to write is gone.
    fn cut(&self) {
        command("xfs_io", &["-x", "-c", "shutdown", &self.mount_point().to_string_lossy()]).unwrap();
    }

    fn unmount(&self) -> Result<String, String> {
        command("umount", &[&self.mount_point().to_string_lossy()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is left of a failed test must not keep the device.
        let _ = self.unmount();
        let _ = command("losetup", &["--detach", &self.device]);
    }
}

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
    let filler = disk.mount_point().join("filler");
    command("sh", &["-c", &format!("cat /dev/zero > {} 2>/dev/null; true", filler.display())]).unwrap();
    let refused = node.post(&plimsoll_tests::trace::transition("spec", "t-2", "a", &[]));
    assert_eq!((refused.status, refused.problem()), (507, "disk-full".into()));
    assert_eq!(node.get("/projections/spec/cursor").status, 200);
    node.kill();
    let node = start(&data).expect("a full disk does not keep a node from starting");
    assert_eq!(node.get("/projections/spec/cursor").status, 200);
    assert_eq!(post(&node, 2), 507);
    fs::remove_file(filler).unwrap();
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
