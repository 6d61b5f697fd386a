//! Which processes a run is about: what `-p`, `--cgroup` and `--container` mean on this machine.

use super::args::Args;
use crate::env::cgroup;
use crate::error::Result;

/// Puts into the options what they mean: the process of a thread, folders of control groups.
///
/// # Errors
/// There is no such group or container.
pub fn settle(args: &mut Args) -> Result<()> {
    args.pid = args.pid.map(|pid| process_of(pid).unwrap_or(pid));
    let mut folders = Vec::new();
    for path in &args.cgroups {
        folders.push(cgroup::by_path(path)?);
    }
    for name in std::mem::take(&mut args.containers) {
        folders.extend(cgroup::by_container(&name)?);
    }
    args.cgroups = folders
        .iter()
        .map(|f| f.to_string_lossy().into_owned())
        .collect();
    Ok(())
}

/// The process that a thread belongs to.
fn process_of(tid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    field(&status, "Tgid:")?.parse().ok()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|l| l.strip_prefix(name))?;
    Some(line.trim())
}

/// What a user should know of a process that lives in other namespaces than we do: its number
/// there, and where its files are looked for. `None` if it does not.
pub fn elsewhere(pid: u32) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mut said = Vec::new();
    // Its numbers, from our namespace inwards.
    let numbers: Vec<&str> = field(&status, "NSpid:")?.split_whitespace().collect();
    if let [_, .., inner] = numbers[..] {
        said.push(format!("process {pid} is {inner} in its own PID namespace"));
    }
    let link = |pid: &str, what: &str| std::fs::read_link(format!("/proc/{pid}/{what}")).ok();
    let own = pid.to_string();
    if ["ns/mnt", "root"]
        .iter()
        .any(|w| link(&own, w) != link("self", w))
    {
        said.push(format!(
            "files of process {pid} are those below /proc/{pid}/root"
        ));
    }
    (!said.is_empty()).then(|| said.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stands_for_its_process() {
        let me = std::process::id();
        let seen = std::thread::spawn(|| {
            // SAFETY: takes nothing and cannot fail.
            let tid = unsafe { libc::gettid() } as u32;
            process_of(tid)
        });
        assert_eq!(seen.join().unwrap(), Some(me));
        assert_eq!(elsewhere(me), None);
    }

    #[test]
    fn groups_that_do_not_exist_are_refused() {
        let mut args = Args {
            cgroups: vec!["/rtrace-no-such-group".into()],
            ..Args::default()
        };
        assert!(settle(&mut args).is_err());
    }
}
