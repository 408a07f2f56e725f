//! Other programs for what leaves, which were there before and stay, in front of the egress
//! half or behind it.

use std::fs;

use anyhow::Result;
use aya::sys::{Stats, enable_stats};
use serde_json::json;
use xdpfw_tests::{Host, Lab, assert_is_one_error, assert_nothing_is_left};

use super::{
    ETHERNET,
    classifier::{Classifier, tcx_programs},
    egress, filters, has_tcx, kind, leaves, pins, runs,
};

/// `TC_ACT_SHOT` in linux/pkt_cls.h, which is `TCX_DROP` as well.
const DROP: i32 = 2;
/// `TC_ACT_UNSPEC`, which is `TCX_NEXT` as well.
const NEXT: i32 = -1;

/// It drops everything that leaves, and so it does with and after the filter. The filter sees
/// it first.
#[test]
fn a_tcx_program_stays_and_runs() -> Result<()> {
    let _counting = enable_stats(Stats::RunTime)?;
    let lab = Lab::new()?;
    let host = &lab.host;
    let other = Classifier::that_returns(DROP)?;
    let link = other.attach(host, "eth0", true);
    // Where there is no TCX, others have none either.
    assert_eq!(link.is_ok(), has_tcx()?);
    let Ok(_link) = link else {
        return Ok(());
    };
    let before = tcx_programs(host, "eth0")?;
    assert!(!leaves(&lab)?);

    host.xdpfw(["up", "eth0"]).ok();
    assert_eq!(host.status()["warnings"], json!([]));
    let during = tcx_programs(host, "eth0")?;
    assert_eq!((during.len(), &during[1..]), (2, &before[..]));
    assert!(!leaves(&lab)?);
    assert_eq!(runs(host, ETHERNET)?, 1);

    host.xdpfw(["down"]).ok();
    assert_eq!(tcx_programs(host, "eth0")?, before);
    assert!(!leaves(&lab)?);
    Ok(())
}

#[test]
fn a_tcx_program_in_front_is_warned_of_and_stays() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let other = Classifier::that_returns(NEXT)?;
    // Behind ours, it takes nothing from us.
    let link = other.attach(host, "eth0", false);
    assert_eq!(link.is_ok(), has_tcx()?);
    let Ok(link) = link else {
        return Ok(());
    };
    assert_eq!(host.status()["warnings"], json!([]));
    drop(link);
    while tcx_programs(host, "eth0")?.len() > 1 {}
    let _link = other.attach(host, "eth0", true)?;
    let first = tcx_programs(host, "eth0")?[0];
    let warning = json!([{
        "kind": "egress-preceded",
        "text": format!(
            "eth0: the TCX program with id {first} may keep what leaves from being recorded"
        ),
        "remedy": "bpftool net show dev eth0",
    }]);
    assert_eq!(host.status()["warnings"], warning);
    host.xdpfw(["down"]).ok();
    assert_eq!(tcx_programs(host, "eth0")?, [first]);
    Ok(())
}

/// Whatever we attach, a clsact qdisc with somebody's filters is left as it is.
#[test]
fn filters_in_clsact_stay_and_run() -> Result<()> {
    let _counting = enable_stats(Stats::RunTime)?;
    let lab = Lab::new()?;
    let host = &lab.host;
    // So that there is a place for pins.
    lab.peer.xdpfw(["up", "eth0"]).ok();
    let pin = host.pins().with_file_name(format!("{}-other", host.name()));
    let _removed = Removed(&pin);
    Classifier::that_returns(DROP)?.pin(&pin)?;

    tc(host, "qdisc add dev eth0 clsact")?;
    let add = format!(
        "filter add dev eth0 egress pref 1 handle 7 bpf direct-action object-pinned {}",
        pin.display()
    );
    tc(host, &add)?;
    tc(
        host,
        "filter add dev eth0 ingress pref 9 u32 match u32 0 0 flowid 1:1",
    )?;
    let state = || -> Result<[String; 3]> {
        let show = |words: &str| tc(host, words);
        Ok([
            show("qdisc show dev eth0 clsact")?,
            show("filter show dev eth0 egress")?,
            show("filter show dev eth0 ingress")?,
        ])
    };
    let before = state()?;
    assert!(!leaves(&lab)?);

    host.xdpfw(["up", "eth0"]).ok();
    assert_eq!(egress(host, "eth0"), json!(kind()?));
    assert_eq!(host.status()["warnings"], json!([]));
    // Seen, and dropped by the other all the same.
    assert!(!leaves(&lab)?);
    assert_eq!(runs(host, ETHERNET)?, 1);
    let expected = if has_tcx()? { 1 } else { 2 };
    assert_eq!(filters(host, "eth0")?.len(), expected);

    host.xdpfw(["down"]).ok();
    assert_eq!(state()?, before);
    assert!(!leaves(&lab)?);
    assert!(!pins(host).exists());
    Ok(())
}

/// An empty one as well, if somebody else made it.
#[test]
fn a_clsact_of_somebody_else_stays() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    tc(host, "qdisc add dev eth0 clsact")?;
    host.xdpfw(["up", "eth0"]).ok();
    host.xdpfw(["down"]).ok();
    let qdiscs = tc(host, "qdisc show dev eth0 clsact")?;
    assert!(qdiscs.starts_with("qdisc clsact"), "{qdiscs}");

    // Nor is ours removed once somebody has a filter in it.
    tc(host, "qdisc delete dev eth0 clsact")?;
    host.xdpfw(["up", "eth0"]).ok();
    if has_tcx()? {
        return Ok(());
    }
    let filter = "filter add dev eth0 ingress pref 9 u32 match u32 0 0 flowid 1:1";
    tc(host, filter)?;
    host.xdpfw(["down"]).ok();
    let filters = tc(host, "filter show dev eth0 ingress")?;
    assert!(filters.contains("pref 9 u32"), "{filters}");
    Ok(())
}

/// A filter of another kind cannot share its priority with ours, which then comes second.
#[test]
fn a_filter_in_front_is_warned_of() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    tc(host, "qdisc add dev eth0 clsact")?;
    tc(
        host,
        "filter add dev eth0 egress pref 1 u32 match u32 0 0 flowid 1:1",
    )?;
    host.xdpfw(["up", "eth0"]).ok();
    let warning = json!([{
        "kind": "egress-preceded",
        "text": "eth0: a filter of priority 1 may keep what leaves from being recorded",
        "remedy": "tc filter show dev eth0 egress",
    }]);
    // TCX programs run before all filters.
    let expected = if has_tcx()? { json!([]) } else { warning };
    assert_eq!(host.status()["warnings"], expected);
    Ok(())
}

/// It stands where clsact would, and its filters of what leaves are filters of what comes in.
#[test]
fn an_ingress_qdisc_has_no_place_for_the_egress_half() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    tc(host, "qdisc add dev eth0 ingress")?;
    if has_tcx()? {
        host.xdpfw(["up", "eth0"]).ok();
        assert_eq!(egress(host, "eth0"), json!("tcx"));
        host.xdpfw(["down"]).ok();
    } else {
        let said = host.xdpfw(["up", "eth0"]).fails(5);
        assert_is_one_error(&said, "`tc qdisc add dev eth0 clsact`");
        assert_eq!(tc(host, "filter show dev eth0 ingress")?, "");
    }
    assert_nothing_is_left(host, &["eth0"])
}

/// Runs `tc` with these words.
fn tc(host: &Host, words: &str) -> Result<String> {
    host.run("tc", words.split_whitespace())
}

/// A pin that is removed when this is dropped.
struct Removed<'a>(&'a std::path::Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}
