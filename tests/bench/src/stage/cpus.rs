//! Keeps measurements on their CPUs, and reads what the time of CPUs went to.

use std::{io, sync::LazyLock, time::Duration};

use anyhow::{Context as _, Result, ensure};
use procfs::{
    CurrentSI as _, KernelStats, kernel_config,
    process::{Process, all_processes},
};
use rustix::{
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

/// The CPUs that measurements run on.
#[derive(Clone, Debug)]
pub(crate) struct Cpus {
    /// Those that this process may use, the last first: the first ones serve most
    /// interrupts.
    usable: Vec<usize>,
}

impl Cpus {
    /// Looks which there are. To be called before any thread is pinned.
    pub(crate) fn find() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot read the CPU affinity")?;
        let usable: Vec<usize> = (0..CpuSet::MAX_CPU)
            .rev()
            .filter(|&cpu| allowed.is_set(cpu))
            .collect();
        usable.first().context("no CPU to run on")?;
        Ok(Self { usable })
    }

    /// The one for all that runs on one CPU.
    pub(crate) fn one(&self) -> usize {
        self.usable[0]
    }

    /// The first `count` of them, if there are so many.
    pub(crate) fn several(&self, count: usize) -> Option<&[usize]> {
        self.usable.get(..count)
    }
}

/// Keeps this thread, and what it starts, on one CPU.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    let mut one = CpuSet::new();
    one.set(cpu);
    sched_setaffinity(None, &one).context("cannot set the CPU affinity")
}

/// Lets this thread go before all others on its CPU.
pub(crate) fn real_time() -> Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: of this thread (0); the kernel reads the structure, which outlives the call.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    ensure!(
        result == 0,
        "cannot set the scheduling policy: {}",
        io::Error::last_os_error()
    );
    Ok(())
}

/// The CPU time of this thread.
pub(crate) fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Whether the time of a thread has in it that of the softirqs that came meanwhile. It has
/// not where the kernel accounts them apart (`CONFIG_IRQ_TIME_ACCOUNTING`), as those of
/// most distributions do, or does not tell.
pub(crate) fn softirqs_are_in_thread_time() -> bool {
    static ARE: LazyLock<bool> = LazyLock::new(|| {
        kernel_config().is_ok_and(|config| !config.contains_key("CONFIG_IRQ_TIME_ACCOUNTING"))
    });
    *ARE
}

/// The kernel's thread that goes on with a CPU's received packets, where they are more
/// than an interrupt has time for.
#[derive(Debug)]
pub(crate) struct Softirqd(Option<Process>);

impl Softirqd {
    /// The one of a CPU.
    pub(crate) fn of(cpu: usize) -> Self {
        let name = format!("ksoftirqd/{cpu}");
        let processes = all_processes().into_iter().flatten().flatten();
        let is_it = |process: &Process| process.stat().is_ok_and(|stat| stat.comm == name);
        Self(processes.into_iter().find(is_it))
    }

    /// Its CPU time; none where it cannot be seen, as in a container, which makes those
    /// who need it look better than they are.
    pub(crate) fn time(&self) -> Duration {
        let schedstat = self.0.as_ref().and_then(|thread| thread.schedstat().ok());
        Duration::from_nanos(schedstat.map_or(0, |schedstat| schedstat.sum_exec_runtime))
    }
}

/// A stretch of time, in which a hypervisor may have given this machine's CPUs to others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    /// Both since boot, in the kernel's ticks and of all CPUs.
    stolen: u64,
    busy: u64,
}

impl Stretch {
    /// Begins now.
    pub(crate) fn begin() -> Result<Self> {
        let time = KernelStats::current()
            .context("cannot read /proc/stat")?
            .total;
        let interrupts = time.irq.unwrap_or(0) + time.softirq.unwrap_or(0);
        Ok(Self {
            stolen: time.steal.unwrap_or(0),
            busy: time.user + time.nice + time.system + interrupts,
        })
    }

    /// How much of the time that its CPUs had work in since then went to others: 0 to 1.
    /// Physical machines, and hypervisors that do not tell, have none.
    pub(crate) fn stolen(&self) -> Result<f64> {
        let now = Self::begin()?;
        let stolen = now.stolen.saturating_sub(self.stolen);
        let wanted = stolen + now.busy.saturating_sub(self.busy);
        Ok(stolen as f64 / wanted.max(1) as f64)
    }
}
