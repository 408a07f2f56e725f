//! The program's own account of each packet, through aya-log; only the traced
//! flavour of a generation contains it.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::info;
use xdpfw_common::{
    abi::NO_RULE,
    verdict::Outcome,
    wire::{Frame, ip},
};

/// Writes a line about a verdict: what came in, what became of it, and why.
#[inline(always)]
pub fn report<F: Frame>(ctx: &XdpContext, frame: &F, outcome: &Outcome) {
    let verdict = outcome.reason().verdict().as_str();
    let reason = outcome.reason().as_str();
    let Some(flow) = outcome.flow() else {
        match outcome.malformation() {
            Some(malformation) => {
                info!(ctx, "{} {}: {}", verdict, reason, malformation.as_str());
            }
            None => info!(ctx, "{} {}", verdict, reason),
        }
        return;
    };
    let Some((version, source, destination)) = ip::addresses(frame, frame.settle(flow.network))
    else {
        return;
    };
    // Words apart by spaces, for the reader to put together.
    info!(
        ctx,
        "{} {}: {} {} {} {} {} {} {}",
        verdict,
        reason,
        version,
        flow.kind.as_str(),
        source,
        flow.remote,
        destination,
        flow.local,
        outcome.rule().unwrap_or(NO_RULE)
    );
}
