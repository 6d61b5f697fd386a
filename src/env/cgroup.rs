//! Control groups: the folders that `--cgroup` and `--container` mean.
//!
//! In: a path, or what people call a container. Out: folders of the version 2 hierarchy, which is
//! the one that BPF programs can ask about. Container managers put the processes of a container
//! into a group that carries its id (`docker-ID.scope`, `cri-containerd-ID.scope`, `libpod-ID.scope`,
//! `machine-NAME.scope`, `lxc.payload.NAME`, or plain `ID`); names that Docker knows are looked up
//! in its files.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorExt as _, Result};

/// Fewest characters of an id that mean a container whose id goes on.
const MIN_PREFIX: usize = 4;
/// Deepest folder that is looked at.
const MAX_DEPTH: usize = 12;

/// Where version 2 is mounted.
pub fn root() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let line = mounts
        .lines()
        .find(|l| l.split(' ').nth(2) == Some("cgroup2"))?;
    line.split(' ').nth(1).map(PathBuf::from)
}

fn the_root() -> Result<PathBuf> {
    root().ok_or_else(|| {
        Error::not_found(
            "no cgroup2 file system is mounted here: mount -t cgroup2 none /sys/fs/cgroup",
        )
    })
}

/// The folder that the argument of `--cgroup` means: a path, or one below the mount.
///
/// # Errors
/// There is none.
pub fn by_path(text: &str) -> Result<PathBuf> {
    let root = the_root()?;
    let below = root.join(text.trim_start_matches('/'));
    let found = [PathBuf::from(text), below]
        .into_iter()
        .find(|p| p.starts_with(&root) && p.join("cgroup.procs").exists());
    found.ok_or_else(|| {
        Error::not_found(format!(
            "no cgroup {text} below {}: /proc/PID/cgroup tells the group of a process",
            root.display()
        ))
    })
}

/// The folders of the container that people call `name`: its id, the beginning of it, or its
/// name.
///
/// # Errors
/// There is none, or several are meant.
pub fn by_container(name: &str) -> Result<Vec<PathBuf>> {
    let root = the_root()?;
    let id = docker_id(Path::new("/var/lib/docker/containers"), name);
    let id = id.as_deref().unwrap_or(name);
    let mut groups = Vec::new();
    collect(&root, 0, &mut groups);
    choose(id, &groups).with_context(|| format!("--container {name}"))
}

/// All folders below, parents first.
fn collect(dir: &Path, depth: usize, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if depth < MAX_DEPTH && entry.file_type().is_ok_and(|t| t.is_dir()) {
            out.push(entry.path());
            collect(&entry.path(), depth + 1, out);
        }
    }
}

/// The groups of the container `id`, without those within them.
fn choose(id: &str, groups: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found: Vec<(&str, &PathBuf)> = Vec::new();
    for path in groups {
        let Some(name) = container_of(path) else {
            continue;
        };
        let meant = name == id || (id.len() >= MIN_PREFIX && is_id(name) && name.starts_with(id));
        if meant && !found.iter().any(|(_, outer)| path.starts_with(outer)) {
            found.push((name, path));
        }
    }
    // A whole name is that container, whatever else begins so.
    if found.iter().any(|(name, _)| *name == id) {
        found.retain(|(name, _)| *name == id);
    }
    let mut names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [] => Err(Error::not_found(known(groups))),
        [_] => Ok(found.into_iter().map(|(_, p)| p.clone()).collect()),
        several => Err(Error::invalid(format!(
            "several containers begin so: {}",
            several.join(", ")
        ))),
    }
}

/// What to say where no container is meant.
fn known(groups: &[PathBuf]) -> String {
    let ids = groups
        .iter()
        .filter_map(|p| container_of(p))
        .filter(|n| is_id(n));
    let mut ids: Vec<&str> = ids.map(|n| &n[..12]).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(20);
    match ids.is_empty() {
        true => "no such container, and no group here looks like one; --cgroup takes a path".into(),
        false => format!("no such container; there are {}", ids.join(", ")),
    }
}

/// The name of the container in the name of a group's folder.
fn container_of(group: &Path) -> Option<&str> {
    let name = group.file_name()?.to_str()?;
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let name = name.strip_suffix(".service").unwrap_or(name);
    const MANAGERS: [&str; 8] = [
        "docker-",
        "cri-containerd-",
        "crio-",
        "libpod-",
        "nerdctl-",
        "machine-",
        "lxc.payload.",
        "systemd-nspawn@",
    ];
    let bare = MANAGERS.iter().find_map(|m| name.strip_prefix(m));
    Some(bare.unwrap_or(name))
}

/// Whether this is how container managers number.
fn is_id(name: &str) -> bool {
    name.len() >= 32 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The id of the container that Docker calls `name`.
fn docker_id(containers: &Path, name: &str) -> Option<String> {
    let wanted = format!("\"Name\":\"/{name}\"");
    std::fs::read_dir(containers).ok()?.flatten().find_map(|e| {
        let text = std::fs::read_to_string(e.path().join("config.v2.json")).ok()?;
        let id = e.file_name().into_string().ok()?;
        text.contains(&wanted).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "4f2a000000000000000000000000000000000000000000000000000000000001";
    const B: &str = "4f2b000000000000000000000000000000000000000000000000000000000002";

    fn groups() -> Vec<PathBuf> {
        [
            format!("/c/system.slice/docker-{A}.scope"),
            format!("/c/system.slice/docker-{A}.scope/init"),
            format!("/c/kubepods.slice/cri-containerd-{B}.scope"),
            "/c/machine.slice/machine-web.scope".into(),
            "/c/system.slice/ssh.service".into(),
        ]
        .map(PathBuf::from)
        .to_vec()
    }

    #[test]
    fn containers_by_id_prefix_and_name() {
        let all = groups();
        assert_eq!(choose(A, &all).unwrap(), [all[0].clone()]);
        assert_eq!(choose("4f2a", &all).unwrap(), [all[0].clone()]);
        assert_eq!(choose(&B[..12], &all).unwrap(), [all[2].clone()]);
        assert_eq!(choose("web", &all).unwrap(), [all[3].clone()]);
        assert_eq!(choose("ssh", &all).unwrap(), [all[4].clone()]);
        let none = choose("nope", &all).unwrap_err().to_string();
        assert!(none.contains("4f2a00000000, 4f2b00000000"), "{none}");
    }

    #[test]
    fn a_beginning_that_several_share_is_refused() {
        let mut all = groups();
        all.push(format!("/c/docker-4f2a{}.scope", &B[4..]).into());
        let e = choose("4f2a", &all).unwrap_err().to_string();
        assert!(e.contains("several containers"), "{e}");
        assert!(choose("4f2", &all).is_err(), "too short to mean one");
    }

    #[test]
    fn names_of_docker() {
        let dir = std::env::temp_dir().join(format!("rtrace-docker-{}", std::process::id()));
        std::fs::create_dir_all(dir.join(A)).unwrap();
        let config = format!("{{\"ID\":\"{A}\",\"Name\":\"/web\",\"Driver\":\"overlay2\"}}");
        std::fs::write(dir.join(A).join("config.v2.json"), config).unwrap();
        assert_eq!(docker_id(&dir, "web").as_deref(), Some(A));
        assert_eq!(docker_id(&dir, "we"), None);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
