//! Why the egress half cannot be attached to an interface, in the operator's words.

use std::{fmt, io};

/// Why the egress half could not be attached to an interface. Nothing of it is left there.
#[derive(Debug)]
pub struct EgressRefusal {
    /// The interface's name.
    pub interface: String,
    /// What is in the way.
    pub why: String,
    /// What would take it out of the way.
    pub remedy: Option<String>,
}

impl EgressRefusal {
    /// Another qdisc than clsact is where that belongs.
    pub(super) fn of_qdisc(interface: &str, kind: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            why: format!("its {kind} qdisc has no place for filters of what leaves"),
            remedy: Some(format!(
                "replace it with clsact, which takes the same filters: `tc qdisc delete dev \
                 {interface} {kind}`, then `tc qdisc add dev {interface} clsact`"
            )),
        }
    }

    /// The kernel answered with an error.
    pub(super) fn of_kernel(interface: &str, error: &io::Error) -> Self {
        let unknown = error.raw_os_error() == Some(libc::ENOENT);
        Self {
            interface: interface.to_owned(),
            why: match unknown {
                true => "the kernel has neither TCX nor clsact with BPF filters".to_owned(),
                false => format!("the kernel refused: {error}"),
            },
            remedy: unknown.then(|| {
                "use Linux 6.6 or later, or load its modules sch_ingress and cls_bpf".to_owned()
            }),
        }
    }
}

impl fmt::Display for EgressRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.interface, self.why)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for EgressRefusal {}
