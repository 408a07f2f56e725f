//! Proves what `explain` makes of words and captures. That it says what happens is proven in
//! `verdicts`.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use xdpfw_tests::{Host, Lab, assert_is_one_error, packets, servers, state, text};

const POLICY: &str = "rule = [\
     { allow = 'tcp 22', from = ['192.0.2.0/24', '2001:db8:1::/48'] }, \
     { deny = 'udp 53' }, \
     { allow = 'udp high', remote_ports = 53, on = 'eth9' }, \
     { allow = 'any', mac = '02:00:00:00:00:09' }]";

fn explain(host: &Host, words: &str) -> Result<(Option<i32>, String)> {
    let words: Vec<&str> = ["explain"].into_iter().chain(words.split(' ')).collect();
    let output = host.xdpfw(words).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), text(&said)))
}

#[test]
fn the_way_to_a_verdict_is_told_with_what_would_change_it() -> Result<()> {
    let lab = Lab::with_ipv6(1)?.filtered(POLICY);
    let host = &lab.host;
    let before = state(host, &["eth0"])?;
    for (words, exit, expected) in [
        (
            "tcp 192.0.2.7:40000 ssh",
            0,
            "pass  rule       tcp 192.0.2.7:40000 -> 10.0.0.1:22 [S]  r1 on eth0\n",
        ),
        (
            "tcp 203.0.113.7 22",
            8,
            "      r1 is for tcp 22, but from 192.0.2.0/24, 2001:db8:1::/48 alone\n",
        ),
        (
            "tcp 203.0.113.7 22",
            8,
            "to let it pass, say `xdpfw allow tcp 22 --from 203.0.113.7`\n",
        ),
        (
            "tcp 203.0.113.7 80",
            8,
            "to let it pass, say `xdpfw allow tcp 80`\n",
        ),
        ("udp 203.0.113.7 dns", 8, "      r2 denies udp 53\n"),
        (
            "udp 203.0.113.7 dns",
            8,
            "say `xdpfw allow udp 53 --from 203.0.113.7 --before r2`\n",
        ),
        (
            "udp 203.0.113.7:53 40000",
            8,
            "      r3 is for udp high, but on eth9 alone\n",
        ),
        (
            "proto gre 203.0.113.7",
            8,
            "      r4 is for any, but from 02:00:00:00:00:09 alone\n",
        ),
        (
            "ping 2001:db8::7",
            8,
            "icmp6 echo-request 2001:db8::7 -> 2001:db8::1 on eth0\n",
        ),
        (
            "icmp6 fe80::7 135",
            0,
            "pass  neighbour-discovery icmp6 neighbor-solicitation fe80::7 -> ",
        ),
        ("tcp 203.0.113.7 80 --flags SF", 8, "drop  bad-flags "),
        (
            "tcp [2001:db8:1::7]:4 22 --to 2001:db8::99",
            0,
            "[2001:db8:1::7]:4 -> [2001:db8::99]:22 [S]  r1",
        ),
    ] {
        let (code, said) = explain(host, words)?;
        assert!(said.contains(expected), "{words}: {said}");
        assert_eq!(code, Some(exit), "{words}: {said}");
    }
    let json = host
        .xdpfw(["--json", "explain", "tcp", "203.0.113.7", "80"])
        .output()?;
    let json: serde_json::Value = serde_json::from_slice(&json.stdout)?;
    assert_eq!(json["schema"], "xdpfw.explain/1");
    assert_eq!(json["path"][1], "no other rule is for it");
    assert_eq!(json["path"][2], "default drop");
    assert_eq!(json["remedy"], "xdpfw allow tcp 80");
    assert_eq!(state(host, &["eth0"])?, before);
    Ok(())
}

#[test]
fn the_command_that_is_named_lets_the_packet_pass() -> Result<()> {
    let lab = Lab::with_ipv6(1)?.filtered(POLICY);
    let host = &lab.host;
    for words in [
        "tcp 203.0.113.7 22",
        "tcp 203.0.113.7 80",
        "udp 203.0.113.7 dns",
        "udp 203.0.113.7:53 40000",
        "ping 2001:db8::7",
        "icmp 203.0.113.7 timestamp-request",
        "proto gre 203.0.113.7",
    ] {
        let (code, said) = explain(host, words)?;
        let (_, remedy) = said.split_once("say `xdpfw ").context(said.clone())?;
        let (remedy, _) = remedy.split_once('`').context(said.clone())?;
        assert_eq!(code, Some(8), "{words}: {said}");
        host.xdpfw(remedy.split(' ')).ok();
        let (code, said) = explain(host, words)?;
        assert_eq!(code, Some(0), "{words}, {remedy}: {said}");
    }
    Ok(())
}

#[test]
fn what_this_host_asked_for_is_an_answer() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 22' }]");
    let peer = lab.link().far().address;
    let words = format!("udp {peer}:5300 40000");
    let (code, said) = explain(&lab.host, &words)?;
    assert_eq!(code, Some(8), "{said}");
    let asking = servers::bind(&lab.host, lab.link().near().at(40_000))?;
    asking.send_to(b"x", (peer, 5300))?;
    let (code, said) = explain(&lab.host, &words)?;
    assert!(said.contains("it answers what left from here"), "{said}");
    assert_eq!(code, Some(0));
    Ok(())
}

#[test]
fn words_that_are_no_packet_are_refused_in_a_line() -> Result<()> {
    let lab = Lab::with_links(2)?.filtered(POLICY);
    let host = &lab.host;
    host.xdpfw(["up", "eth1"]).ok();
    for (words, exit, why) in [
        ("foo 192.0.2.7 5", 2, "say for example"),
        ("tcp 192.0.2.x 5", 2, "is no address of a peer"),
        ("tcp 192.0.2.7 80,81", 2, "one port"),
        ("tcp 192.0.2.7 nosuchservice", 2, "nosuchservice"),
        ("icmp 2001:db8::7 echo-request", 2, "say icmp6"),
        ("ping 192.0.2.7:5", 2, "only tcp and udp have ports"),
        (
            "udp 192.0.2.7 53 --on eth0 --flags S",
            2,
            "only tcp has flags",
        ),
        ("tcp 192.0.2.7 80 --on eth0 --flags X", 2, "FSRPAUEC"),
        ("tcp 10.0.0.2 80 --to 2001:db8::1", 2, "two families"),
        ("tcp 10.0.0.2 80 --on eth9", 1, "eth9: not filtered"),
        ("tcp 192.0.2.7 80", 2, "--on"),
        ("tcp 2001:db8::7 80 --on eth0", 2, "--to"),
        ("--pcap /nonexistent --on eth0", 1, "/nonexistent"),
        ("--pcap /dev/null --on eth0", 1, "no capture"),
        ("--pcap /etc/passwd --on eth0", 1, "no capture"),
        ("--pcap /etc --on eth0", 1, "/etc: is a directory"),
    ] {
        let (code, said) = explain(host, words)?;
        assert_is_one_error(&said, why);
        assert_eq!(code, Some(exit), "{words}: {said}");
    }
    // By the way that leads to the peer, where there are several.
    let (code, said) = explain(host, "tcp 10.0.1.2 80")?;
    assert!(said.contains(" on eth1\n"), "{said}");
    assert_eq!(code, Some(8));
    lab.peer.xdpfw(["explain", "ping", "192.0.2.7"]).fails(1);
    Ok(())
}

/// A capture of one frame of this link type.
fn pcap(link_type: u32, frame: &[u8], original: usize) -> Vec<u8> {
    packets::pcap(link_type, [(frame, original)])
}

#[test]
fn captures_are_read_whatever_is_in_front_of_ip() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 22' }]");
    let host = &lab.host;
    let (near, far) = (lab.link().near(), lab.link().far());
    let packet = packets::syn(far.at(40_000), near.at(22));
    let frame = packets::frame(far, near, &packet);
    let file = |name: &str, bytes: &[u8]| -> Result<PathBuf> {
        let path = host.directory().join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    };
    let sll = [&[0; 14], &[8, 0][..], &packet].concat();
    let sll2 = [&[8, 0][..], &[0; 18], &packet].concat();
    let null = [&2_u32.to_ne_bytes()[..], &packet].concat();
    let cut = &frame[..54];
    for (name, bytes) in [
        ("ethernet", pcap(1, &frame, frame.len())),
        ("cut", pcap(1, cut, frame.len())),
        ("raw", pcap(101, &packet, packet.len())),
        ("cooked", pcap(113, &sll, sll.len())),
        ("cooked2", pcap(276, &sll2, sll2.len())),
        ("null", pcap(0, &null, null.len())),
    ] {
        let path = file(name, &bytes)?;
        let (code, said) = explain(host, &format!("--pcap {}", path.display()))?;
        let expected = "     1  pass  rule       tcp 10.0.0.2:40000 -> 10.0.0.1:22 [S]  r1\n";
        assert_eq!((code, said.as_str()), (Some(0), expected), "{name}");
    }
    let one = |link_type, frame: &[u8]| pcap(link_type, frame, frame.len());
    for (name, bytes, why) in [
        ("wireless", one(105, &frame), "link type 105"),
        ("huge", pcap(1, &frame, 9000), "of 9000 bytes"),
        ("short", one(101, &[0]), "too short"),
        ("runt", one(1, &frame[..13]), "too short"),
        ("headless", pcap(1, &frame[..40], frame.len()), "cut off"),
    ] {
        let path = file(name, &bytes)?;
        let (code, said) = explain(host, &format!("--pcap {}", path.display()))?;
        let (warning, error) = said.split_once('\n').context(said.clone())?;
        assert!(warning.contains(why), "{name}: {said}");
        assert_is_one_error(error, "no frame that can be judged");
        assert_eq!(code, Some(1), "{name}: {said}");
    }
    // Beside others, they are warned of, and not without end.
    let frames = [&frame[..], &[0; 13]]
        .into_iter()
        .chain([&[0; 13][..]; 1000]);
    let bytes = packets::pcap(1, frames.map(|frame| (frame, frame.len())));
    let path = file("some", &bytes)?;
    let (code, said) = explain(host, &format!("--pcap {}", path.display()))?;
    assert_eq!(said.lines().count(), 12, "{said}");
    assert!(said.contains("991 more frames are not judged"), "{said}");
    assert_eq!(code, Some(0));
    Ok(())
}

#[test]
fn what_is_no_capture_is_refused_at_once() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 22' }]");
    let host = &lab.host;
    let near = lab.link().near();
    let syn = packets::syn(([203, 0, 113, 7], 40_000), near.at(22));
    let frame = packets::frame(lab.link().far(), near, &syn);
    let whole = pcap(1, &frame, frame.len());
    let at = |name: &str| host.directory().join(name);
    fs::create_dir(at("directory"))?;
    host.run("mkfifo", [at("pipe")])?;
    fs::write(at("empty"), "")?;
    fs::write(at("headers"), &whole[..24])?;
    fs::write(at("broken"), &whole[..60])?;
    // Of each, a gigabyte that takes no room.
    for (name, begin) in [("zeros", &[][..]), ("padded", &whole)] {
        fs::write(at(name), begin)?;
        fs::OpenOptions::new()
            .write(true)
            .open(at(name))?
            .set_len(1 << 30)?;
    }
    for (path, why) in [
        (at("directory"), "is a directory (name a capture in it)"),
        (at("pipe"), "no capture (pcap or pcapng)"),
        (at("empty"), "no capture (pcap or pcapng)"),
        (at("zeros"), "no capture (pcap or pcapng)"),
        ("/dev/zero".into(), "no capture (pcap or pcapng)"),
        ("/dev/null".into(), "no capture (pcap or pcapng)"),
        ("/proc/self/mem".into(), "cannot read /proc/self/mem"),
        (at("missing"), "No such file or directory"),
        (at("headers"), "no frame that can be judged"),
        (at("broken"), "breaks off in the middle of a block"),
    ] {
        let (code, said) = explain(host, &format!("--pcap {}", path.display()))?;
        assert_is_one_error(&said, why);
        assert_eq!(code, Some(1), "{said}");
    }
    // Nor is it read to its end for what cannot be.
    let path = at("padded").to_string_lossy().into_owned();
    let output = host.xdpfw(["explain", "--pcap", &path]).output()?;
    assert_is_one_error(&text(&output.stderr), "damaged, with a frame of no bytes");
    assert_eq!(text(&output.stdout).lines().count(), 1);
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}
