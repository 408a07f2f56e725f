//! Attaches the dispatcher to an interface's XDP hook. A pinned link keeps it there.

use anyhow::{Context as _, Result};
use aya::programs::{Xdp, XdpMode, links::FdLink, xdp::XdpLink};
use aya_obj::programs::XdpAttachType;

use super::{Attached, Changes, Dispatchers, Refusal, Replaced, TakenQueues, link};
use crate::{
    datapath::{Error, pins::PinDirectory},
    netlink::{Interface, Mode, interfaces, take_xdp_off},
};

/// The interfaces that run one of the dispatchers and whose link is pinned in `links`.
/// Nothing is said of what leaves there.
///
/// # Errors
///
/// The kernel refuses to tell.
pub(in crate::datapath) fn attached(
    dispatchers: Dispatchers,
    directory: &PinDirectory,
    links: &PinDirectory,
) -> Result<Vec<Attached>> {
    // Without these pins nothing is attached, and netlink need not be asked.
    if links.names()?.is_empty() || !directory.has(dispatchers.ethernet) {
        return Ok(Vec::new());
    }
    let dispatchers = dispatchers.ids(directory)?;
    let attached = interfaces()?.into_iter().filter_map(|interface| {
        let (program, mode) = interface.xdp?;
        let ours = dispatchers.contains(&program) && links.has(&interface.index.to_string());
        ours.then_some(Attached {
            interface,
            mode,
            egress: None,
        })
    });
    Ok(attached.collect())
}

/// Attaches a dispatcher to an interface and pins the link. `joined_late` tells whether the
/// filter would have been fit for the interface, had it been brought up with it. A program of
/// others is replaced if `replace` says so.
///
/// # Errors
///
/// The interface has a program already, or its driver or the kernel refuses. What was taken
/// off is put back.
pub(in crate::datapath) fn attach(
    dispatchers: Dispatchers,
    directory: &PinDirectory,
    links: &PinDirectory,
    interface: &Interface,
    mode: Mode,
    replace: bool,
    joined_late: impl Fn() -> bool,
) -> Result<Changes> {
    let dispatcher = directory.pin(dispatchers.of(interface)?);
    let dispatcher = Xdp::from_pin(dispatcher, XdpAttachType::Interface)?;
    if !replace || interface.xdp.is_none() {
        let queues = attach_program(dispatcher, links, interface, mode, joined_late)?;
        return Ok(Changes {
            replaced: None,
            queues,
        });
    }
    let replaced = Replaced::take_off(interface)?;
    let free = &Interface {
        xdp: None,
        ..interface.clone()
    };
    match attach_program(dispatcher, links, free, mode, joined_late) {
        Ok(queues) => Ok(Changes {
            replaced: Some(replaced),
            queues,
        }),
        Err(error) => Err(match replaced.put_back() {
            Ok(()) => error,
            Err(failed) => failed.context(format!("{error:#}")),
        }),
    }
}

/// Attaches the program, and returns the queues that were put in use for it.
fn attach_program(
    dispatcher: Xdp,
    links: &PinDirectory,
    interface: &Interface,
    mode: Mode,
    joined_late: impl Fn() -> bool,
) -> Result<Option<TakenQueues>> {
    let queues = match mode {
        // Without it, the interface is filtered all the same.
        Mode::Native => TakenQueues::take(interface).unwrap_or_default(),
        Mode::Generic | Mode::Offloaded => None,
    };
    match attach_and_pin(dispatcher, links, interface, mode, joined_late) {
        Ok(()) => Ok(queues),
        Err(error) => {
            if let Some(queues) = queues {
                drop(queues.put_back());
            }
            Err(error)
        }
    }
}

fn attach_and_pin(
    mut dispatcher: Xdp,
    links: &PinDirectory,
    interface: &Interface,
    mode: Mode,
    joined_late: impl Fn() -> bool,
) -> Result<()> {
    let place = match mode {
        Mode::Native => XdpMode::Driver,
        Mode::Generic => XdpMode::Skb,
        Mode::Offloaded => XdpMode::Hardware,
    };
    let id = dispatcher
        .attach_to_if_index(interface.index, place)
        .map_err(|error| {
            let joined_late = mode == Mode::Native && joined_late();
            let known = interfaces().unwrap_or_default();
            Refusal::of(interface, mode, joined_late, &known, &error)
        })?;
    let link: XdpLink = dispatcher.take_link(id)?;
    let Ok(link) = FdLink::try_from(link) else {
        // Where links are unknown, aya attaches by netlink.
        take_xdp_off(interface.index, mode, None)?;
        return Err(Error::NoLinks.into());
    };
    let pin = interface.index.to_string();
    // Left by an interface that had the number before.
    link::remove(links, &pin)?;
    link.pin(links.pin(&pin))
        .with_context(|| format!("cannot pin {}", links.shown(&pin).display()))?;
    Ok(())
}
