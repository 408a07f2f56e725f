//! Who runs this command, and from where: for the record, never to decide anything.

use std::{env, fs};

use procfs::process::Process;
use rustix::process::getuid;

use super::SshSession;

/// Variables with the name of the user whom a program has made another one.
const ASKED_BY: [(&str, &str); 2] = [("SUDO_USER", "sudo"), ("DOAS_USER", "doas")];
/// `/proc/PID/loginuid` of what nobody logged in for (proc_pid_loginuid(5)).
const NO_LOGIN: u32 = u32::MAX;
/// Major number of pseudo-terminals (Documentation/admin-guide/devices.txt).
const PSEUDO_TERMINAL: i32 = 136;
/// What stands for a name or a place that is not known.
pub const UNKNOWN: &str = "-";

/// Who runs this command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The user: `alice (sudo)`, `alice (login)` whose shell became another user's, `root`; a
    /// number if nothing has a name for it.
    pub user: String,
    /// Where the operator sits: the address of an SSH client, the terminal, or the service that
    /// runs the command; `-` if it is none of these.
    pub from: String,
    /// The SSH session.
    pub session: Option<SshSession>,
}

impl Operator {
    /// Of this process.
    pub fn current() -> Self {
        // Not by the name service: a directory that does not answer would hold up the change.
        let names = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let login = fs::read_to_string("/proc/self/loginuid").ok();
        let login = login.and_then(|number| number.trim().parse().ok());
        let asked_by = ASKED_BY.into_iter().find_map(|(variable, program)| {
            let user = env::var_os(variable)?;
            Some((user.to_string_lossy().into_owned(), program))
        });
        let session = SshSession::of_this_command();
        Self {
            user: user(asked_by, login, getuid().as_raw(), &names),
            from: session
                .as_ref()
                .map(|session| session.peer.to_string())
                .or_else(terminal)
                .or_else(service)
                .unwrap_or_else(|| UNKNOWN.to_owned()),
            session,
        }
    }
}

fn user(asked_by: Option<(String, &str)>, login: Option<u32>, own: u32, names: &str) -> String {
    if let Some((name, program)) = asked_by {
        return format!("{name} ({program})");
    }
    match login.filter(|&login| login != NO_LOGIN && login != own) {
        Some(login) => format!("{} (login)", name_of(login, names)),
        None => name_of(own, names),
    }
}

/// The name of a user in passwd(5), or the number.
pub(super) fn name_of(user: u32, names: &str) -> String {
    let number = user.to_string();
    let mut entries = names.lines().map(|line| line.split(':'));
    let name = entries.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    name.unwrap_or(number)
}

/// The terminal that controls this process: `pts/0`, `tty1`.
fn terminal() -> Option<String> {
    let (major, minor) = Process::myself().ok()?.stat().ok()?.tty_nr();
    match major {
        0 => None,
        PSEUDO_TERMINAL => Some(format!("pts/{minor}")),
        _ => {
            let device = fs::read_link(format!("/sys/dev/char/{major}:{minor}")).ok()?;
            Some(device.file_name()?.to_string_lossy().into_owned())
        }
    }
}

/// The service of the init system that this process belongs to: `xdpfw.service`.
fn service() -> Option<String> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut names = groups.lines().filter_map(|line| line.rsplit('/').next());
    names
        .find(|name| name.ends_with(".service"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_who_asked_for_it() {
        let names = "root:x:0:0:root:/root:/bin/bash\nbroken\nalice:x:1000:1000::/home/alice:\n";
        let sudo = || Some(("bob".to_owned(), "sudo"));
        for (asked_by, login, own, expected) in [
            (sudo(), Some(1000), 0, "bob (sudo)"),
            (None, Some(1000), 0, "alice (login)"),
            (None, Some(4242), 0, "4242 (login)"),
            (None, Some(NO_LOGIN), 0, "root"),
            (None, Some(0), 0, "root"),
            (None, None, 1000, "alice"),
            (None, None, 1001, "1001"),
        ] {
            assert_eq!(user(asked_by, login, own, names), expected);
        }
    }
}
