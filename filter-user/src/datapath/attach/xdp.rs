//! Attaches the dispatcher to an interface's XDP hook. A pinned link keeps it there.

use anyhow::{Context as _, Result};
use aya::programs::{Xdp, XdpMode, links::FdLink, xdp::XdpLink};
use aya_obj::programs::XdpAttachType;

use super::{Attached, Dispatchers, Refusal, link};
use crate::{
    datapath::{Error, pins::PinDirectory},
    netlink::{Interface, Mode, detach_xdp, interfaces},
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
/// filter would have been fit for the interface, had it been brought up with it.
///
/// # Errors
///
/// The interface has a program already, or its driver or the kernel refuses.
pub(in crate::datapath) fn attach(
    dispatchers: Dispatchers,
    directory: &PinDirectory,
    links: &PinDirectory,
    interface: &Interface,
    mode: Mode,
    joined_late: impl Fn() -> bool,
) -> Result<()> {
    let dispatcher = directory.pin(dispatchers.of(interface)?);
    let mut dispatcher = Xdp::from_pin(dispatcher, XdpAttachType::Interface)?;
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
        detach_xdp(interface.index, mode)?;
        return Err(Error::NoLinks.into());
    };
    let pin = interface.index.to_string();
    // Left by an interface that had the number before.
    link::remove(links, &pin)?;
    link.pin(links.pin(&pin))
        .with_context(|| format!("cannot pin {}", links.shown(&pin).display()))?;
    Ok(())
}
