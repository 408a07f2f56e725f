//! Proves that root needs no more than three capabilities, that each command names those of them
//! that it lacks, and that others than root hear whose files they are.

use std::collections::BTreeSet;

use anyhow::Result;
use xdpfw_tests::{CAPABILITIES, Lab, assert_is_one_error, assert_nothing_is_left, state, text};

use crate::{
    sandbox::service,
    steps::{PRINTS, STEPS, call, made},
};

#[test]
fn a_service_with_three_capabilities_does_what_root_does() -> Result<()> {
    let (lab, roots) = (Lab::new()?, Lab::new()?);
    // Somebody else has mounted the bpffs.
    lab.peer.xdpfw(["up", "eth0"]).ok();
    for &step in STEPS {
        let output = made(&lab, step, service(call(&lab.host, step)?))?;
        let expected = made(&roots, step, call(&roots.host, step)?)?;
        assert_eq!(
            output.status.code(),
            expected.status.code(),
            "{step:?}: {output:?}"
        );
        let said = text(&output.stderr);
        assert!(!said.contains("CAP_"), "{step:?}: {said}");
        let lines = |output: &[u8]| text(output).lines().count();
        assert_eq!(
            lines(&output.stdout),
            lines(&expected.stdout),
            "{step:?}: {output:?}"
        );
    }
    assert_nothing_is_left(&lab.host, &["eth0"])?;
    lab.peer.xdpfw(["down"]).ok();
    Ok(())
}

#[test]
fn the_one_that_is_missing_is_named() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(host, &["eth0"])?;
    for missing in CAPABILITIES {
        let mut others = CAPABILITIES.to_vec();
        others.retain(|capability| *capability != missing);
        let needed = format!("this needs CAP_{}, which", missing.to_uppercase());
        let mut refused = BTreeSet::new();
        for &step in STEPS {
            // To take the filter off takes less.
            if step[0] == "down" && missing == "perfmon" {
                continue;
            }
            let call = call(host, step)?.with_capabilities(&others);
            let output = made(&lab, step, call)?;
            if output.status.code() == Some(4) {
                let said = text(&output.stderr);
                assert_is_one_error(&said, &needed);
                assert_eq!(said.matches("CAP_").count(), 1, "{step:?}: {said}");
                refused.insert(step[0]);
            }
        }
        // Nothing was done by what was refused, and no other command changes anything.
        assert_eq!(state(host, &["eth0"])?, before, "without {missing}");
        let changes = [
            "allow", "apply", "bypass", "confirm", "default", "delete", "deny", "panic",
            "rollback", "shadow", "stats", "up",
        ];
        for command in changes {
            assert!(refused.contains(command), "{command} without {missing}");
        }
        // Since Linux 5.19, pins are open to whoever may read them.
        for command in ["flows", "history", "list", "log", "review", "trace"] {
            let is_refused = refused.contains(command);
            assert!(
                !is_refused || missing == "bpf",
                "{command} without {missing}"
            );
        }
    }
    host.xdpfw(["down"])
        .with_capabilities(&["bpf", "net_admin"])
        .ok();
    assert_nothing_is_left(host, &["eth0"])
}

#[test]
fn others_than_root_hear_whose_files_they_are() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(host, &["eth0"])?;
    for &step in STEPS {
        for (capabilities, expected) in [
            (&CAPABILITIES[..], ["belong to root", "CAP_DAC_OVERRIDE"]),
            (&[], ["this needs root", "this needs root"]),
        ] {
            let output = call(host, step)?.as_nobody_with(capabilities).output()?;
            let said = text(&output.stderr);
            if PRINTS.contains(&step) {
                assert_eq!(output.status.code(), Some(0), "{step:?}: {said}");
                continue;
            }
            assert_eq!(output.status.code(), Some(4), "{step:?}: {said}");
            assert_is_one_error(&said, "say `sudo xdpfw …`");
            let is_named = expected.iter().any(|word| said.contains(word));
            assert!(is_named, "{step:?}: {said}");
        }
    }
    assert_eq!(state(host, &["eth0"])?, before);
    Ok(())
}
