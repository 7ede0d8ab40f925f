//! The functions' code: the two `bootstrap` programs, each in a zip that is the same bytes each time.
//!
//! Lambda answers with the SHA-256 of a zip, so a zip without times in it shows whether what runs is what is here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::desired::{ALLOW_LIST, Code, Desired, Program};
use crate::files::{self, FileError};
use crate::names::Fleet;

/// Zips by function, and what is wanted of them.
#[derive(Clone, Debug)]
pub struct Zips {
    /// By the function's name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Their hashes and the architecture.
    pub code: Code,
}

impl Zips {
    /// Packs the programs of a directory; the claim hook's zip gets the allow-list, where there is one.
    pub fn pack(dir: &Path, fleet: &Fleet, allow_list: Option<&[u8]>) -> Result<Self, CodeError> {
        let hook = Elf::read(&dir.join(file(Program::Hook)))?;
        let retire = Elf::read(&dir.join(file(Program::Retire)))?;
        if hook.architecture != retire.architecture {
            return Err(CodeError::Mixed(hook.architecture, retire.architecture));
        }
        let mut zips = BTreeMap::new();
        let mut hashes = BTreeMap::new();
        for (name, program) in Desired::functions(fleet) {
            let mut entries = vec![(
                "bootstrap",
                0o755,
                match program {
                    Program::Hook => hook.bytes.as_slice(),
                    Program::Retire => retire.bytes.as_slice(),
                },
            )];
            if name == fleet.claim_hook() {
                entries.extend(allow_list.map(|list| (ALLOW_LIST, 0o644, list)));
            }
            let zip = zip(&entries);
            if zip.len() > LARGEST {
                return Err(CodeError::TooLarge { name, size: zip.len() });
            }
            hashes.insert(name.clone(), sha256_base64(&zip));
            zips.insert(name, zip);
        }
        Ok(Zips { files: zips, code: Code { architecture: hook.architecture.to_owned(), hashes } })
    }
}

/// The programs cannot be packed.
#[derive(Debug, Error)]
pub enum CodeError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not there.
    #[error("{} is not there", .0.display())]
    Missing(PathBuf),
    /// It is no program for Lambda.
    #[error("{} is not a Linux program for x86_64 or arm64", .0.display())]
    NoProgram(PathBuf),
    /// The two are not for one kind of machine.
    #[error("one program is for {0}, the other for {1}")]
    Mixed(&'static str, &'static str),
    /// AWS takes 50 MB directly.
    #[error("the zip of {name} has {size} bytes; AWS takes 50 MB")]
    TooLarge {
        /// The function.
        name: String,
        /// Its zip's size.
        size: usize,
    },
}

impl CodeError {
    /// Who can clear it, and how.
    pub fn remedy(&self) -> &'static str {
        match self {
            CodeError::File(_) => "make the file readable",
            CodeError::Missing(_) | CodeError::NoProgram(_) | CodeError::Mixed(..) => {
                "build both for one machine with provisioning/lambdas/build, which says where they are, and name that \
                 directory with --lambdas DIR"
            }
            CodeError::TooLarge { .. } => "make the allow-list shorter: about two million serials fit",
        }
    }
}

/// The file of a program.
pub fn file(program: Program) -> &'static str {
    match program {
        Program::Hook => "certrot-hook",
        Program::Retire => "certrot-retire",
    }
}

struct Elf {
    bytes: Vec<u8>,
    architecture: &'static str,
}

impl Elf {
    fn read(path: &Path) -> Result<Self, CodeError> {
        let bytes = files::read(path)?.ok_or_else(|| CodeError::Missing(path.to_owned()))?;
        // ELF: magic, 64 bit, little endian; e_machine is at 18.
        let architecture = match (bytes.get(..6), bytes.get(18..20)) {
            (Some(b"\x7fELF\x02\x01"), Some([0x3e, 0])) => "x86_64",
            (Some(b"\x7fELF\x02\x01"), Some([0xb7, 0])) => "arm64",
            _ => return Err(CodeError::NoProgram(path.to_owned())),
        };
        Ok(Elf { bytes, architecture })
    }
}

/// A zip of stored files (PKWARE's APPNOTE 6.3): Lambda wants nothing more, and it is the same bytes each time.
fn zip(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for (name, mode, bytes) in entries {
        let offset = short(out.len());
        let mut head = Vec::new();
        // Version 1.0, no flags, stored, 1980-01-01 00:00.
        for word in [10, 0, 0, 0, 0x21_u16] {
            head.extend(word.to_le_bytes());
        }
        for word in [crc32(bytes), short(bytes.len()), short(bytes.len())] {
            head.extend(word.to_le_bytes());
        }
        head.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        head.extend(0_u16.to_le_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&head);
        out.extend(name.as_bytes());
        out.extend(*bytes);
        directory.extend(b"PK\x01\x02");
        // Made by Unix, so that the mode counts.
        directory.extend([10, 3]);
        directory.extend(&head);
        directory.extend([0_u8; 6]);
        directory.extend(((0o100_000 | mode) << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, size) = (short(out.len()), short(directory.len()));
    let count = u16::try_from(entries.len()).unwrap_or(u16::MAX);
    out.extend(directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(size.to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// Sizes here are far below 4 GB: a zip above 50 MB is refused.
fn short(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn crc32(bytes: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256_u32)
        .map(|n| (0..8).fold(n, |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 }))
        .collect();
    !bytes.iter().fold(!0_u32, |c, b| table[((c ^ u32::from(*b)) & 0xff) as usize] ^ (c >> 8))
}

fn sha256_base64(bytes: &[u8]) -> String {
    aws_smithy_types::base64::encode(ring::digest::digest(&ring::digest::SHA256, bytes))
}

/// AWS's limit for a zip that is sent with the call.
const LARGEST: usize = 50 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a program, which is all that is looked at.
    pub(crate) fn program(machine: u8) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(64, 0);
        bytes[18] = machine;
        bytes
    }

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn the_zip_is_read_by_somebody_elses_program_and_the_bootstrap_may_be_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.zip");
        files::write_public(&path, &zip(&[("bootstrap", 0o755, b"one"), (ALLOW_LIST, 0o644, b"SN-1\n")]))
            .unwrap();
        let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\n\
             assert z.read('allow-list.txt') == b'SN-1\\n'\n\
             assert z.getinfo('bootstrap').external_attr >> 16 == 0o100755";
        let ran = std::process::Command::new("python3").args(["-c", script]).arg(&path).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }

    #[test]
    fn the_architecture_is_that_of_the_programs_and_the_hash_is_the_same_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = Fleet::parse("certrot").unwrap();
        let put = |program_, machine| {
            files::write_public(&dir.path().join(file(program_)), &program(machine)).unwrap();
        };
        assert!(matches!(Zips::pack(dir.path(), &fleet, None), Err(CodeError::Missing(_))));
        put(Program::Hook, 0xb7);
        put(Program::Retire, 0x3e);
        assert!(matches!(Zips::pack(dir.path(), &fleet, None), Err(CodeError::Mixed(..))));
        put(Program::Retire, 0xb7);
        let (one, two) =
            (Zips::pack(dir.path(), &fleet, None).unwrap(), Zips::pack(dir.path(), &fleet, None).unwrap());
        assert_eq!(one.code, two.code);
        assert_eq!(one.code.architecture, "arm64");
        let listed = Zips::pack(dir.path(), &fleet, Some(b"SN-1\n")).unwrap();
        let changed: Vec<_> =
            listed.code.hashes.iter().filter(|(k, v)| one.code.hashes.get(*k) != Some(v)).collect();
        assert_eq!(changed.len(), 1, "only the claim hook holds the list: {changed:?}");
    }
}
