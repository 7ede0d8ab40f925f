//! The files of the daemon's store with its fsyncs, by plain paths; the contents are as long as the daemon's.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::{FloorError, io};

/// The device's directory.
pub struct Disk {
    dir: PathBuf,
}

impl Disk {
    /// Makes it, as the daemon's first start does.
    pub fn make(dir: &Path) -> Result<Self, FloorError> {
        let disk = Self { dir: dir.to_owned() };
        make_dir(dir)?;
        sync(dir.parent().unwrap_or(dir))?;
        make_dir(&disk.generations())?;
        sync(dir)?;
        // The daemon syncs both again when it opens them.
        sync(dir)?;
        sync(&disk.generations())?;
        Ok(disk)
    }

    /// Room for a pair is tried.
    pub fn probe(&self) -> Result<(), FloorError> {
        let path = self.dir.join(".tmp-probe");
        write(&path, &[0; 16 * 1024])?;
        fs::remove_file(&path).map_err(io("remove the probe"))
    }

    /// A file of the store's own, replaced.
    pub fn put(&self, name: &str, bytes: usize) -> Result<(), FloorError> {
        replace(&self.dir, name, &vec![b'x'; bytes])
    }

    /// A whole generation, by one rename.
    pub fn generation(&self, n: u32, key: &[u8], certificate: &[u8]) -> Result<(), FloorError> {
        let temporary = self.generations().join(format!(".tmp-{n:04}"));
        make_dir(&temporary)?;
        write(&temporary.join("device.key.pem"), key)?;
        write(&temporary.join("device.cert.pem"), certificate)?;
        write(&temporary.join("state.json"), &[b'x'; 760])?;
        sync(&temporary)?;
        fs::rename(&temporary, self.generations().join(format!("{n:04}")))
            .map_err(io("name a generation"))?;
        sync(&self.generations())
    }

    /// A generation's state, replaced.
    pub fn state(&self, n: u32, bytes: usize) -> Result<(), FloorError> {
        replace(&self.generations().join(format!("{n:04}")), "state.json", &vec![b'x'; bytes])
    }

    /// The state without its token, which is overwritten where it was.
    pub fn forget_token(&self, n: u32) -> Result<(), FloorError> {
        let dir = self.generations().join(format!("{n:04}"));
        let old = OpenOptions::new().write(true).open(dir.join("state.json")).map_err(io("open a state"))?;
        replace(&dir, "state.json", &[b'x'; 275])?;
        (&old).write_all(&[0; 777]).map_err(io("overwrite a state"))?;
        old.sync_all().map_err(io("sync a state"))
    }

    /// `current` by one rename.
    pub fn switch(&self, n: u32) -> Result<(), FloorError> {
        let temporary = self.dir.join(".tmp-current");
        symlink(format!("generations/{n:04}"), &temporary).map_err(io("make a link"))?;
        fs::rename(&temporary, self.dir.join("current")).map_err(io("switch"))?;
        sync(&self.dir)?;
        // The daemon looks at the disk again and syncs what it finds.
        sync(&self.dir)?;
        sync(&self.generations())
    }

    fn generations(&self) -> PathBuf {
        self.dir.join("generations")
    }
}

fn make_dir(path: &Path) -> Result<(), FloorError> {
    fs::DirBuilder::new().mode(0o700).create(path).map_err(io("make a directory"))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), FloorError> {
    let options = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = options.map_err(io("make a file"))?;
    file.write_all(bytes).map_err(io("write a file"))?;
    file.sync_all().map_err(io("sync a file"))
}

fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), FloorError> {
    let temporary = dir.join(format!(".tmp-{name}"));
    write(&temporary, bytes)?;
    fs::rename(&temporary, dir.join(name)).map_err(io("rename a file"))?;
    sync(dir)
}

fn sync(dir: &Path) -> Result<(), FloorError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(io("sync a directory"))
}
