//! Programs and filters of others on an interface.

use super::super::{Device, Facts, Finding, command};

/// That somebody else's XDP program is in the filter's place.
pub(super) fn other(device: &Device) -> Option<Finding> {
    let name = &device.interface.name;
    if device.is_stray {
        let text = "filtered by the rules of another network namespace";
        let finding = Finding::fault("interface-elsewhere", name, text);
        return Some(finding.say(&["xdpfw", "down", name]));
    }
    let other = device.other.as_ref()?;
    let behind = other.pin.as_deref().map_or_else(String::new, |pin| {
        format!(
            "; to run it behind the filter, say `{}`",
            command(&["xdpfw", "up", name, "--replace", "--then", pin])
        )
    });
    let text = format!("another XDP program is attached, {}{behind}", other.shown);
    Some(Finding::fault("foreign-xdp", name, text).say(&["xdpfw", "up", name, "--replace"]))
}

/// What gets packets behind the filter, or in front of its egress half.
pub(super) fn beside(facts: &Facts, device: &Device) -> Vec<Finding> {
    let name = &device.interface.name;
    let mut found = Vec::new();
    if let Some(other) = &device.preceded_by
        && facts.policy.records_flows()
    {
        let text = format!("{other} may keep what leaves from being recorded");
        let finding = Finding::fault("egress-preceded", name, text);
        found.push(finding.say(&["bpftool", "net", "show", "dev", name]));
    }
    if device.has_tc {
        let text = "tc filters get what the filter lets pass, and may drop it";
        let show = ["tc", "filter", "show", "dev", name, "ingress"];
        found.push(Finding::note("tc-ingress", name, text).say(&show));
    }
    if device.has_tcx {
        let text = "TCX programs get what the filter lets pass, and may drop it";
        let show = ["bpftool", "net", "show", "dev", name];
        found.push(Finding::note("tcx-ingress", name, text).say(&show));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::super::{
        OtherProgram,
        Severity::{Fault, Note},
        examine,
        tests::{assert_finds, healthy},
    };
    use crate::policy::InterfaceList;

    #[test]
    fn a_program_of_others_is_named_with_both_ways_out() {
        let mut facts = healthy();
        let mut other = OtherProgram {
            shown: "guard (id 7, native, attached without a link)".to_owned(),
            pin: None,
        };
        facts.devices[0].other = Some(other.clone());
        let remedy = Some("xdpfw up eth0 --replace");
        assert_finds(&facts, Fault, "foreign-xdp", "eth0", remedy);
        assert!(examine(&facts)[0].text.contains("guard (id 7"));
        other.pin = Some("/sys/fs/bpf/my guard".to_owned());
        facts.devices[0].other = Some(other);
        let text = &examine(&facts)[0].text;
        assert!(text.contains("--then '/sys/fs/bpf/my guard'"), "{text}");
        // It is not what keeps an interface of the policy open, beside that.
        facts.policy.interfaces = InterfaceList::of_tests(&["eth0"]);
        assert_finds(&facts, Fault, "foreign-xdp", "eth0", remedy);
        facts.devices[0].is_stray = true;
        let remedy = Some("xdpfw down eth0");
        assert_finds(&facts, Fault, "interface-elsewhere", "eth0", remedy);
    }

    #[test]
    fn filters_of_others_are_told_of() {
        let mut facts = healthy();
        facts.devices[0].has_tc = true;
        let remedy = Some("tc filter show dev eth0 ingress");
        assert_finds(&facts, Note, "tc-ingress", "eth0", remedy);
        let mut facts = healthy();
        facts.devices[0].has_tcx = true;
        let remedy = Some("bpftool net show dev eth0");
        assert_finds(&facts, Note, "tcx-ingress", "eth0", remedy);
        let mut facts = healthy();
        facts.devices[0].preceded_by = Some("the TCX program with id 7".to_owned());
        assert_finds(&facts, Fault, "egress-preceded", "eth0", remedy);
    }
}
