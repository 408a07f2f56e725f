//! smoke
use anyhow::Result;
use xdpfw_tests::{Lab, Sender, packets};

#[test]
fn scan_smoke() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]\n[scan]\nban = '10m'\n");
    let (near, far) = (lab.link().near(), lab.link().far());
    let mut sender = Sender::new(&lab.peer, far)?;
    sender.send_all((1..=30).map(|port| packets::syn(far.at(40_000), near.at(port))))?;
    eprintln!("{}", lab.host.xdpfw(["scanners"]).ok());
    eprintln!("{}", lab.host.xdpfw(["bans"]).ok());
    eprintln!("{}", lab.host.xdpfw(["list"]).ok());
    eprintln!("{:?}", lab.host.status());
    Ok(())
}
