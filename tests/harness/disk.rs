//! A disk of its own for a test: a file system in a file, which can be filled, and stopped as a power cut stops one.
//!
//! It needs root, a loop device, `xfs_io`, and `fallocate`.

use std::fs;
use std::path::PathBuf;

use plimsoll_store::directory::free_bytes;

use crate::machine::command;

/// An ext4 file system in a file, mounted over a loop device. Gone when dropped: whatever has files open there has to have
/// ended by then.
#[derive(Debug)]
pub struct Disk {
    folder: tempfile::TempDir,
    device: String,
}

impl Disk {
    /// A disk of so many MiB.
    ///
    /// # Errors
    /// Why this machine cannot have one.
    pub fn new(mebibytes: u64) -> Result<Self, String> {
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

    /// Where it is mounted.
    #[must_use]
    pub fn mount_point(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    /// Mounts it again.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn mount(&self) -> Result<String, String> {
        command("mount", &[&self.device, &self.mount_point().to_string_lossy()])
    }

    /// Unmounts it.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn unmount(&self) -> Result<String, String> {
        command("umount", &[&self.mount_point().to_string_lossy()])
    }

    /// Stops the file system where it stands: what it was not made to write is gone.
    ///
    /// # Panics
    /// If it cannot be stopped.
    pub fn cut(&self) {
        let stopped = command("xfs_io", &["-x", "-c", "shutdown", &self.mount_point().to_string_lossy()]);
        stopped.expect("a file system can be stopped");
    }

    fn filler(&self) -> PathBuf {
        self.mount_point().join("filler")
    }

    /// Fills it but for so many MiB.
    ///
    /// # Panics
    /// If that is not possible, or there are not so many left.
    pub fn fill_but(&self, mebibytes: u64) {
        let free = free_bytes(&self.mount_point()).expect("a file system tells its room");
        let length = free.checked_sub(mebibytes << 20).expect("there is more room").to_string();
        command("fallocate", &["--length", &length, &self.filler().to_string_lossy()]).expect("a disk can be filled");
    }

    /// Fills it to the last byte.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn fill(&self) {
        let filling = format!("cat /dev/zero >> {} 2>/dev/null; true", self.filler().display());
        command("sh", &["-c", &filling]).expect("a disk can be filled");
    }

    /// Makes room again.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn make_room(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is left of a failed test must not keep the device.
        let _ = self.unmount();
        let _ = command("losetup", &["--detach", &self.device]);
    }
}
