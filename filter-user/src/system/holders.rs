//! Which processes have sockets open: by their descriptors in `/proc`, as far as this process may
//! read those of others, which takes CAP_SYS_PTRACE.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use super::operator::name_of;

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: i32,
    /// Its name, as it gave it to itself (`comm` in proc(5)).
    pub process: String,
    /// The user it runs as, by name if there is one.
    pub user: String,
    /// The unit of the init system that it belongs to: `nginx.service`.
    pub unit: Option<String>,
}

/// The init system, which has the sockets of services open that it starts when they are asked.
const INIT: i32 = 1;

/// For each of these sockets, by their numbers, the process that has it open. Of several, the one
/// that started first but init: servers hand their sockets down to workers. Those of processes
/// that this one may not look at are left out.
pub fn holders(sockets: &HashSet<u64>) -> HashMap<u64, Holder> {
    let mut pids: Vec<i32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    // The numbers grow, until they begin anew.
    pids.sort_unstable_by_key(|&pid| (pid == INIT, pid));
    let names = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut found = HashMap::new();
    for pid in pids {
        if found.len() == sockets.len() {
            break;
        }
        // Processes come and go meanwhile.
        let Ok(open) = sockets_of(pid) else { continue };
        let mut holder = None;
        for socket in open {
            if !sockets.contains(&socket) || found.contains_key(&socket) {
                continue;
            }
            if holder.is_none() {
                holder = describe(pid, &names);
            }
            if let Some(holder) = &holder {
                found.insert(socket, holder.clone());
            }
        }
    }
    found
}

/// The name of a user, or the number.
pub fn user_name(user: u32) -> String {
    name_of(user, &fs::read_to_string("/etc/passwd").unwrap_or_default())
}

fn describe(pid: i32, names: &str) -> Option<Holder> {
    let directory = Path::new("/proc").join(pid.to_string());
    let process = fs::read(directory.join("comm")).ok()?;
    let process = String::from_utf8_lossy(&process);
    let user = fs::metadata(&directory).ok()?.uid();
    let groups = fs::read_to_string(directory.join("cgroup")).unwrap_or_default();
    Some(Holder {
        pid,
        process: process.trim_end_matches('\n').to_owned(),
        user: name_of(user, names),
        unit: unit_of(&groups),
    })
}

/// The unit that control groups belong to (cgroups(7)): the innermost service or scope of the way
/// to one.
pub(super) fn unit_of(groups: &str) -> Option<String> {
    let of = |line: &str| {
        let mut names = line.rsplit('/');
        let unit = names.find(|name| name.ends_with(".service") || name.ends_with(".scope"));
        unit.map(str::to_owned)
    };
    groups.lines().find_map(of)
}

/// The sockets that a process has open. procfs leaves out those that it may not look at.
pub(super) fn sockets_of(process: i32) -> io::Result<Vec<u64>> {
    let descriptors = descriptors_of(process)?.into_iter();
    Ok(descriptors.map(|(_, socket)| socket).collect())
}

/// The same, each with its descriptor.
pub(super) fn descriptors_of(process: i32) -> io::Result<Vec<(i32, u64)>> {
    let mut descriptors = Vec::new();
    for file in fs::read_dir(format!("/proc/{process}/fd"))?.flatten() {
        match fs::read_link(file.path()) {
            Ok(target) => {
                let number = file.file_name().to_str().and_then(|name| name.parse().ok());
                descriptors.extend(number.zip(target.to_str().and_then(socket)));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            // It was closed meanwhile.
            Err(_) => {}
        }
    }
    Ok(descriptors)
}

/// The number of a socket, as links to descriptors have it: `socket:[12345]`.
fn socket(target: &str) -> Option<u64> {
    let number = target.strip_prefix("socket:[")?.strip_suffix(']')?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::fd::AsRawFd as _};

    use super::*;

    #[test]
    fn a_unit_is_the_innermost_of_the_way() {
        for (groups, unit) in [
            ("0::/system.slice/nginx.service\n", Some("nginx.service")),
            (
                "0::/system.slice/docker-3f.scope/init\n",
                Some("docker-3f.scope"),
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service\n",
                Some("web.service"),
            ),
            (
                "12:pids:/\n1:name=systemd:/system.slice/ssh.service\n0::/\n",
                Some("ssh.service"),
            ),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(unit_of(groups).as_deref(), unit, "{groups}");
        }
    }

    #[test]
    fn a_socket_is_found_with_its_process() -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let link = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd()))?;
        let inode = link.to_str().and_then(socket).unwrap();
        let found = holders(&HashSet::from([inode, u64::MAX]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[&inode].pid, std::process::id() as i32);
        assert!(!found[&inode].process.is_empty());
        Ok(())
    }
}
