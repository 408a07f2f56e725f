//! Takes the queues of a virtio network card that native XDP would add to it.
//!
//! `virtnet_xdp_set` in drivers/net/virtio_net.c adds a pair of queues for each CPU to those in use,
//! if the card has as many to spare, and else does without. When the card goes, it gives them back
//! too late: `netif_set_real_num_rx_queues` in net/core/dev.c then counts fewer queues, and keeps
//! the entries of the others in sysfs, which hold the card. The kernel waits for them for ever
//! (`unregister_netdevice: waiting for eth0 to become free`), and a card that is plugged into the
//! same slot never appears.

use std::{fmt, fs, io};

use crate::netlink::{Interface, Queues, set_queues, settings};

/// The driver that adds queues.
const DRIVER: &str = "virtio_net";

/// Queues that were put in use.
#[derive(Clone, Debug)]
pub struct TakenQueues {
    interface: String,
    before: u32,
    now: u32,
}

impl TakenQueues {
    /// Puts so many in use that XDP adds none; `None` if it adds none anyway.
    pub(super) fn take(interface: &Interface) -> io::Result<Option<Self>> {
        if interface.driver.as_deref() != Some(DRIVER) {
            return Ok(None);
        }
        let Some(queues) = settings(&interface.name)?.queues else {
            return Ok(None);
        };
        let Some(now) = enough(queues, possible_cpus()?) else {
            return Ok(None);
        };
        set_queues(&interface.name, now)?;
        Ok(Some(Self {
            interface: interface.name.clone(),
            before: queues.receiving,
            now,
        }))
    }

    /// Has the card use as many as before. No program may be attached.
    ///
    /// # Errors
    ///
    /// The driver refuses.
    pub fn put_back(&self) -> io::Result<()> {
        set_queues(&self.interface, self.before)
    }
}

impl fmt::Display for TakenQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            interface,
            before,
            now,
        } = self;
        write!(
            f,
            "{interface}: uses {now} queues instead of {before}, because Linux cannot unplug a \
             filtered {DRIVER} card that has queues to spare"
        )
    }
}

/// The fewest queues that leave less than one for each CPU; `None` if those in use do.
fn enough(queues: Queues, cpus: u32) -> Option<u32> {
    let adds = queues.receiving.saturating_add(cpus) <= queues.most;
    adds.then(|| queues.most - cpus + 1)
}

/// How many CPUs the kernel is prepared for (`nr_cpu_ids`).
fn possible_cpus() -> io::Result<u32> {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible")?;
    count(&text).ok_or_else(|| io::Error::other("the kernel tells no number of CPUs"))
}

/// One more than the last number of a list such as `0-3`.
fn count(list: &str) -> Option<u32> {
    let last = list.trim().rsplit(['-', ',']).next()?;
    last.parse::<u32>().ok()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_queues_that_xdp_would_add_are_taken() {
        for (receiving, most, cpus, expected) in [
            (2, 4, 2, Some(3)),
            (1, 16, 4, Some(13)),
            (1, 2, 1, Some(2)),
            (3, 4, 2, None),
            (4, 4, 2, None),
            (2, 4, 3, None),
            (1, 1, 1, None),
        ] {
            let queues = Queues {
                receiving,
                most,
                word: "combined",
            };
            let taken = enough(queues, cpus);
            assert_eq!(taken, expected, "{receiving} of {most}, {cpus} CPUs");
            let then = taken.map(|now| {
                enough(
                    Queues {
                        receiving: now,
                        ..queues
                    },
                    cpus,
                )
            });
            assert!(then.is_none_or(|then| then.is_none()));
        }
    }

    #[test]
    fn cpus_are_counted_to_the_last_one() {
        for (list, expected) in [
            ("0\n", Some(1)),
            ("0-3\n", Some(4)),
            ("0-3,8-11\n", Some(12)),
            ("0,2\n", Some(3)),
            ("\n", None),
        ] {
            assert_eq!(count(list), expected, "{list}");
        }
    }
}
