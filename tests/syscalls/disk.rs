//! A disk that forgets: what a power cut may leave of a store, by the calls that were made on it.
//!
//! POSIX promises the bytes of a file after its fsync, and a name in a directory after the directory's. The model takes
//! everything else away, in two ways ([`Lost`]). It is held against the real disk at each cut: what it believes to be there
//! without a cut must be there.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// What is lost of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Names and bytes: the disk is as it was at each last fsync.
    Everything,
    /// Bytes only: names reached the disk first, as with a journal of metadata alone.
    Bytes,
    /// Nothing: as after the end of the process alone.
    Nothing,
}

/// A store as its calls have made it.
pub struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
    open: HashMap<String, (usize, usize)>,
}

#[derive(Clone, Debug)]
enum Node {
    Dir { now: BTreeMap<String, usize>, synced: BTreeMap<String, usize> },
    File { now: Vec<u8>, synced: Vec<u8> },
    Link(String),
}

impl Disk {
    /// The store as it is; all of it is synced.
    pub fn read(root: &Path) -> Disk {
        let mut disk = Disk { root: root.to_owned(), nodes: Vec::new(), open: HashMap::new() };
        disk.load(root);
        disk
    }

    fn load(&mut self, path: &Path) -> usize {
        let at = self.add(Node::Dir { now: BTreeMap::new(), synced: BTreeMap::new() });
        let mut entries = BTreeMap::new();
        for entry in fs::read_dir(path).into_iter().flatten().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            let node = if kind.is_dir() {
                self.load(&entry.path())
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path()).unwrap();
                self.add(Node::Link(target.to_str().unwrap().to_owned()))
            } else {
                let bytes = fs::read(entry.path()).unwrap();
                self.add(Node::File { now: bytes.clone(), synced: bytes })
            };
            entries.insert(entry.file_name().into_string().unwrap(), node);
        }
        self.nodes[at] = Node::Dir { now: entries.clone(), synced: entries };
        at
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Makes the calls of a trace (`strace -y -x`, all of each string) that succeeded.
    pub fn replay(&mut self, trace: &str) {
        let mut unfinished: HashMap<&str, String> = HashMap::new();
        for line in trace.lines() {
            let Some((thread, rest)) = line.split_once(' ') else { continue };
            let mut call = rest.trim_start().to_owned();
            if let Some(half) = call.strip_suffix("<unfinished ...>") {
                unfinished.insert(thread, half.trim_end().to_owned());
                continue;
            }
            if call.starts_with("<... ") {
                let Some((_, end)) = call.split_once(" resumed>") else { continue };
                let Some(half) = unfinished.remove(thread) else { continue };
                call = half + end;
            }
            self.call(&call);
        }
    }

    fn call(&mut self, line: &str) {
        let Some((name, rest)) = line.split_once('(') else { return };
        let Some((inner, result)) =
            rest.rsplit_once(") ").and_then(|(i, r)| Some((i, r.trim_start().strip_prefix("= ")?)))
        else {
            return;
        };
        if result.starts_with(['-', '?']) {
            return;
        }
        let arguments = arguments(inner);
        let argument = |n: usize| arguments.get(n).copied().unwrap_or_default();
        match name {
            "openat" => {
                let (flags, handle) = (argument(2), number(result));
                let Some(path) = self.place(argument(0), argument(1)) else {
                    self.open.remove(handle);
                    return;
                };
                let node = self.find(&path).or_else(|| {
                    flags.contains("O_CREAT").then(|| {
                        let node = self.add(Node::File { now: Vec::new(), synced: Vec::new() });
                        self.name(&path, Some(node));
                        node
                    })
                });
                let Some(node) = node else { return };
                if flags.contains("O_TRUNC")
                    && let Node::File { now, .. } = &mut self.nodes[node]
                {
                    now.clear();
                }
                self.open.insert(handle.to_owned(), (node, 0));
            }
            "close" => {
                self.open.remove(number(argument(0)));
            }
            "write" => {
                let Some((node, position)) = self.open.get_mut(number(argument(0))) else { return };
                let Node::File { now, .. } = &mut self.nodes[*node] else { return };
                let count: usize = number(result).parse().unwrap();
                let bytes = &text(argument(1))[..count];
                now.resize(now.len().max(*position + count), 0);
                now[*position..*position + count].copy_from_slice(bytes);
                *position += count;
            }
            "fsync" | "fdatasync" => {
                let Some((node, _)) = self.open.get(number(argument(0))) else { return };
                match &mut self.nodes[*node] {
                    Node::Dir { now, synced } => *synced = now.clone(),
                    Node::File { now, synced } => *synced = now.clone(),
                    Node::Link(_) => {}
                }
            }
            "mkdir" => self.make(
                "AT_FDCWD",
                argument(0),
                Node::Dir { now: BTreeMap::new(), synced: BTreeMap::new() },
            ),
            "mkdirat" => {
                self.make(
                    argument(0),
                    argument(1),
                    Node::Dir { now: BTreeMap::new(), synced: BTreeMap::new() },
                );
            }
            "symlinkat" => {
                self.make(argument(1), argument(2), Node::Link(String::from_utf8(text(argument(0))).unwrap()))
            }
            "unlink" => self.remove("AT_FDCWD", argument(0)),
            "unlinkat" => self.remove(argument(0), argument(1)),
            "rename" => self.rename(("AT_FDCWD", argument(0)), ("AT_FDCWD", argument(1))),
            "renameat" | "renameat2" => self.rename((argument(0), argument(1)), (argument(2), argument(3))),
            "ftruncate" => {
                let Some((node, _)) = self.open.get(number(argument(0))) else { return };
                if let Node::File { now, .. } = &mut self.nodes[*node] {
                    now.resize(argument(1).parse().unwrap(), 0);
                }
            }
            "pwrite64" | "writev" | "linkat" | "link" | "symlink" | "truncate" | "rmdir" => {
                let ours =
                    self.place(argument(0), argument(1)).or_else(|| self.place("AT_FDCWD", argument(0)));
                let handle = self.open.contains_key(number(argument(0)));
                assert!(ours.is_none() && !handle, "the model does not know this call on the store: {line}");
            }
            _ => {}
        }
    }

    fn make(&mut self, dir: &str, name: &str, node: Node) {
        if let Some(path) = self.place(dir, name).filter(|p| !p.is_empty()) {
            let node = self.add(node);
            self.name(&path, Some(node));
        }
    }

    fn remove(&mut self, dir: &str, name: &str) {
        if let Some(path) = self.place(dir, name) {
            self.name(&path, None);
        }
    }

    fn rename(&mut self, from: (&str, &str), to: (&str, &str)) {
        let (Some(from), Some(to)) = (self.place(from.0, from.1), self.place(to.0, to.1)) else { return };
        let node = self.find(&from).expect("what was renamed was there");
        self.name(&from, None);
        self.name(&to, Some(node));
    }

    /// The parts below the store of a name in a directory; `None` where it is not in the store.
    fn place(&self, dir: &str, name: &str) -> Option<Vec<String>> {
        let name = String::from_utf8(text(name)).ok()?;
        let base = dir.split_once('<').map_or("/", |(_, path)| path.trim_end_matches('>'));
        let path = Path::new(base).join(name);
        let below = path.strip_prefix(&self.root).ok()?;
        let parts = below.iter().map(|p| p.to_str().unwrap().to_owned());
        Some(parts.filter(|p| p != ".").collect())
    }

    fn find(&self, path: &[String]) -> Option<usize> {
        path.iter().try_fold(0, |node, name| match &self.nodes[node] {
            Node::Dir { now, .. } => now.get(name).copied(),
            Node::File { .. } | Node::Link(_) => None,
        })
    }

    fn name(&mut self, path: &[String], node: Option<usize>) {
        let (name, above) = path.split_last().expect("a name below the store");
        let dir = self.find(above).unwrap_or_else(|| panic!("{above:?} is no directory of the model"));
        let Node::Dir { now, .. } = &mut self.nodes[dir] else { panic!("{above:?} is no directory") };
        match node {
            Some(node) => now.insert(name.clone(), node),
            None => now.remove(name),
        };
    }

    /// What is there after a cut, a line for each name: its kind, and the bytes of files.
    pub fn after(&self, lost: Lost) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        self.list(0, Path::new(""), lost, &mut |path, node| {
            let what = match node {
                Node::Dir { .. } => "directory".to_owned(),
                Node::File { .. } => format!("file {:?}", String::from_utf8_lossy(bytes(node, lost))),
                Node::Link(target) => format!("link {target}"),
            };
            found.insert(path.to_owned(), what);
        });
        found
    }

    fn list(&self, node: usize, path: &Path, lost: Lost, each: &mut dyn FnMut(&Path, &Node)) {
        let Node::Dir { now, synced } = &self.nodes[node] else { return };
        for (name, node) in if lost == Lost::Everything { synced } else { now } {
            let path = path.join(name);
            each(&path, &self.nodes[*node]);
            self.list(*node, &path, lost, each);
        }
    }

    /// Makes the real store so.
    pub fn lay(&self, lost: Lost) {
        if !self.root.exists() {
            return;
        }
        fs::remove_dir_all(&self.root).unwrap();
        fs::create_dir(&self.root).unwrap();
        fs::set_permissions(&self.root, Permissions::from_mode(0o700)).unwrap();
        self.list(0, &self.root, lost, &mut |path, node| match node {
            Node::Dir { .. } => {
                fs::create_dir(path).unwrap();
                fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
            }
            Node::File { .. } => {
                fs::write(path, bytes(node, lost)).unwrap();
                fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
            }
            Node::Link(target) => symlink(target, path).unwrap(),
        });
    }
}

fn bytes(node: &Node, lost: Lost) -> &[u8] {
    match node {
        Node::File { now, .. } if lost == Lost::Nothing => now,
        Node::File { synced, .. } => synced,
        Node::Dir { .. } | Node::Link(_) => &[],
    }
}

/// The arguments of a call, apart at the commas outside strings.
fn arguments(inner: &str) -> Vec<&str> {
    let (mut found, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                found.push(inner[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(inner[start..].trim());
    found
}

/// `7` of `7</a/path>`.
fn number(argument: &str) -> &str {
    let end = argument.find(|c: char| !c.is_ascii_digit()).unwrap_or(argument.len());
    &argument[..end]
}

/// The bytes of a string as strace prints it.
fn text(argument: &str) -> Vec<u8> {
    let Some(inner) = argument.strip_prefix('"').and_then(|a| a.strip_suffix('"')) else { return Vec::new() };
    let (mut bytes, mut rest) = (Vec::new(), inner.bytes());
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next().unwrap() {
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'r' => bytes.push(b'\r'),
            b'v' => bytes.push(0x0B),
            b'f' => bytes.push(0x0C),
            b'x' => {
                let pair = [rest.next().unwrap(), rest.next().unwrap()];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap());
            }
            octal @ b'0'..=b'7' => {
                let mut value = u32::from(octal - b'0');
                while let Some(digit) =
                    rest.clone().next().filter(|d| (b'0'..=b'7').contains(d) && value < 32)
                {
                    value = value * 8 + u32::from(digit - b'0');
                    rest.next();
                }
                bytes.push(u8::try_from(value).unwrap());
            }
            other => bytes.push(other),
        }
    }
    bytes
}
