//! Proves that rules end by themselves, in the kernel: at their time, whether any command runs or
//! not, and for new connections alone.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use jiff::{Timestamp, ToSpan as _};
use xdpfw_tests::{
    Lab, assert_is_one_error, generation, is_dropped, policy_text,
    servers::{self, TcpServer, UdpEcho},
    text,
};

/// How long anybody waits for what must come.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a client waits for what perhaps does not come.
const IN_VAIN: Duration = Duration::from_millis(200);
/// How long a rule may take to end that is said for two seconds, on the busiest machine.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits until something holds.
fn wait_until(holds: impl Fn() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    while !holds()? {
        ensure!(begin.elapsed() < LONGEST, "it does not end");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// So many seconds from now, as a policy file has it.
fn seconds_from_now(seconds: i64) -> Result<String> {
    let now = Timestamp::from_second(Timestamp::now().as_second())?;
    Ok(now.checked_add(seconds.seconds())?.to_string())
}

#[test]
fn a_port_that_is_opened_for_a_while_closes_with_no_command_running() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let near = lab.link().near();
    let servers: Vec<TcpServer> = [443, 444, 80]
        .iter()
        .map(|port| TcpServer::start(&lab.host, *port, "hello"))
        .collect::<Result<_>>()?;
    let _echo = UdpEcho::start(&lab.host, 5353)?;
    let opens = |port| servers::fetch(&lab.peer, near.at(port), IN_VAIN).is_ok();
    let answers = || servers::exchange(&lab.peer, 5000, near.at(5353), "x", IN_VAIN).is_ok();
    lab.host.xdpfw(["allow", "tcp", "80"]).ok();
    let begin = SystemTime::now();
    lab.host.xdpfw(["allow", "udp", "5353", "--for", "3s"]).ok();
    lab.host.xdpfw(["allow", "tcp", "443", "--for", "3s"]).ok();
    // A machine that is so busy proves nothing by what it finds closed.
    let is_open = opens(443) && answers();
    ensure!(is_open || begin.elapsed()? > Duration::from_secs(3));
    assert!(!opens(444));
    wait_until(|| Ok(!opens(443)))?;
    // Whoever has talked keeps nothing open.
    assert!(!answers());
    assert!(begin.elapsed()? >= Duration::from_secs(3));
    assert!(opens(80) && !opens(444));
    assert!(servers[0].served() > 0);
    Ok(())
}

#[test]
fn what_is_denied_for_a_while_passes_afterwards() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 443' }, { allow = 'tcp 80' }]");
    let said = ["deny", "tcp", "443", "--for", "5s", "--first"];
    let output = lab.host.xdpfw(said).output()?;
    // It is an exception, and what stands behind it has its time.
    assert_eq!(text(&output.stderr), "");
    assert!(is_dropped(&lab, 443)?);
    assert!(!is_dropped(&lab, 80)?);
    wait_until(|| Ok(!is_dropped(&lab, 443)?))
}

#[test]
fn what_was_opened_before_a_rule_ends_goes_on() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let (near, far) = (lab.link().near(), lab.link().far());
    let closed = |port| move |lab: &Lab| is_dropped(lab, port);
    lab.host
        .xdpfw(["allow", "tcp", "443,5000", "--for", "5s"])
        .ok();
    // One that came in, and one that this host opened from a port that the rule is for.
    let listener = lab.host.enter(|| Ok(TcpListener::bind(near.at(443))?))?;
    let inbound = servers::connect(&lab.peer, 0, near.at(443), PATIENCE)?;
    let (accepted, _) = listener.accept()?;
    let listener = lab.peer.enter(|| Ok(TcpListener::bind(far.at(80))?))?;
    let outbound = servers::connect(&lab.host, 5000, far.at(80), PATIENCE)?;
    let (server, _) = listener.accept()?;
    wait_until(|| closed(443)(&lab))?;
    assert!(is_dropped(&lab, 5000)?);
    for (mut from, mut to) in [(inbound, accepted), (server, outbound)] {
        to.set_read_timeout(Some(PATIENCE))?;
        from.write_all(b"x")?;
        to.read_exact(&mut [0]).context("the connection was cut")?;
    }
    Ok(())
}

#[test]
fn the_list_shows_what_is_left_and_the_next_change_removes_what_has_ended() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443", "--for", "2h"]).ok();
    host.xdpfw(["allow", "udp", "53", "--for", "2s", "--comment", "short"])
        .ok();
    let rules = || host.xdpfw(["list"]).json()["rules"].clone();
    let left = |rule: usize| rules()[rule]["seconds_left"].as_u64();
    assert_eq!(left(0), None);
    assert!((7_100..=7_200).contains(&left(1).context("no time left")?));
    let shown = host.xdpfw(["list"]).ok();
    assert!(
        shown.contains(" 1h 59m ") || shown.contains(" 2h "),
        "{shown}"
    );
    wait_until(|| Ok(left(2) == Some(0)))?;
    assert!(host.xdpfw(["list"]).ok().contains(" ended "));
    let file = policy_text(host)?;
    let ends = rules()[1]["expires"].as_str().map(str::to_owned);
    assert!(file.contains(&ends.context("no end")?), "{file}");

    // It makes no difference any more, and goes with what makes one.
    let before = generation(host);
    host.xdpfw(["apply", "--check"]).ok();
    host.xdpfw(["allow", "tcp", "80"]).ok();
    assert_eq!((policy_text(host)?, generation(host)), (file, before));
    let output = host.xdpfw(["allow", "tcp", "81"]).output()?;
    let said = "r3  allow udp 53 (dns) has ended, and is gone from the policy file\n";
    assert_eq!(text(&output.stderr), said);
    assert!(!policy_text(host)?.contains("short"));
    assert_eq!(rules().as_array().map(Vec::len), Some(3));
    Ok(())
}

#[test]
fn a_rule_that_is_said_again_is_renewed_and_one_for_good_stays() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let host = &lab.host;
    let allow = |options: &[&str]| {
        let words = [&["allow", "tcp", "443"], options].concat();
        let output = host.xdpfw(words).output()?;
        assert!(output.status.success(), "{output:?}");
        let (said, notes) = (text(&output.stdout), text(&output.stderr));
        let (_, note) = said.split_once("   ").context("no note")?;
        let until = policy_text(host)?;
        let until = until.lines().find(|line| line.starts_with("until"));
        Ok::<_, anyhow::Error>((note.to_owned(), until.map(str::to_owned), notes))
    };
    let (note, first, _) = allow(&["--for", "1h"])?;
    assert_eq!((note.as_str(), first.is_some()), ("live on eth0\n", true));
    let (note, second, _) = allow(&["--for", "2h", "--comment", "web"])?;
    assert_eq!(note, "commented and renewed, live on eth0\n");
    assert!(second > first, "{second:?}");
    let (note, third, _) = allow(&["--for", "30m"])?;
    assert_eq!(note, "renewed, live on eth0\n");
    assert!(third < second, "{third:?}");
    // A hand that changes it in the file does as much.
    let file = policy_text(host)?;
    let third = third.context("no end")?;
    fs::write(
        host.policy(),
        file.replace(&third, "until = 2126-01-01T00:00:00Z"),
    )?;
    let check = host.xdpfw(["apply", "--check"]).output()?;
    let said = text(&check.stdout);
    assert!(
        said.contains("+ r1  allow tcp 443 (https) until 2126-"),
        "{said}"
    );
    host.xdpfw(["apply"]).ok();
    let (note, none, _) = allow(&[])?;
    assert_eq!(
        (note.as_str(), none),
        ("without an end now, live on eth0\n", None)
    );
    let (note, none, notes) = allow(&["--for", "1h"])?;
    let kept = "already there, stays without an end, live on eth0\n";
    assert_eq!((note.as_str(), none), (kept, None));
    assert!(notes.contains("say `xdpfw delete r1` first"), "{notes}");

    // Whatever its end, it goes by its words.
    host.xdpfw(["delete", "r1"]).ok();
    allow(&["--for", "1h"])?;
    host.xdpfw(["delete", "allow", "tcp", "443"]).ok();
    assert!(is_dropped(&lab, 443)?);
    Ok(())
}

#[test]
fn an_end_survives_down_and_up_and_one_that_has_come_does_not() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (past, soon) = (seconds_from_now(-1)?, seconds_from_now(4)?);
    let later = seconds_from_now(3600)?;
    let rules = format!(
        "version = 1\ninterfaces = ['eth0']\nrule = [\n\
         {{ allow = 'tcp 80', until = '{past}' }},\n\
         {{ allow = 'tcp 81', until = '{soon}' }},\n\
         {{ allow = 'tcp 82', until = {later} }},\n]\n"
    );
    fs::write(host.policy(), rules)?;
    host.xdpfw(["up"]).ok();
    host.xdpfw(["down"]).ok();
    host.xdpfw(["up"]).ok();
    assert!(is_dropped(&lab, 80)?);
    wait_until(|| is_dropped(&lab, 81))?;
    assert!(!is_dropped(&lab, 82)?);
    Ok(())
}

#[test]
fn a_change_of_the_clock_is_told_and_followed() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 443' }]");
    let host = &lab.host;
    // There, the time since the machine started is another one, as if the wall clock had been
    // set back meanwhile.
    let elsewhere = ["unshare", "--time", "--boottime", "1000"];
    host.xdpfw(["status"]).under(elsewhere).ok();
    host.xdpfw(["allow", "tcp", "80", "--for", "1h"]).ok();
    host.xdpfw(["status"]).ok();
    let said = host.xdpfw(["status"]).under(elsewhere).output()?;
    assert_eq!(said.status.code(), Some(8), "{said:?}");
    let said = text(&said.stdout);
    for words in ["set 16m 40s back", "`xdpfw apply`"] {
        assert!(said.contains(words), "{said}");
    }
    // What changes no rule keeps what they mean.
    let before = generation(host);
    host.xdpfw(["stats", "--reset"]).under(elsewhere).ok();
    host.xdpfw(["status"]).ok();
    host.xdpfw(["apply"]).ok();
    assert_eq!(generation(host), before + 1);
    host.xdpfw(["apply"]).under(elsewhere).ok();
    assert_eq!(generation(host), before + 2);
    host.xdpfw(["status"]).under(elsewhere).ok();
    let status = host.status();
    let warning = &status["warnings"][0];
    assert_eq!(warning["kind"], "clock-jumped", "{status}");
    let said = warning["text"].as_str().context("no text")?;
    assert!(said.contains("set 16m 40s forward"), "{said}");
    Ok(())
}

#[test]
fn more_ends_than_are_told_apart_are_refused() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let host = &lab.host;
    let policy = |ends: i64| {
        let rule = |number: i64| {
            let until = seconds_from_now(3600 + number % ends)?;
            Ok(format!(
                "{{ allow = 'tcp {}', until = '{until}' }}, ",
                1000 + number
            ))
        };
        let rules: String = (0..100).map(rule).collect::<Result<_>>()?;
        Ok::<_, anyhow::Error>(format!(
            "version = 1\ninterfaces = ['eth0']\nrule = [{rules}]\n"
        ))
    };
    // The text takes a moment to make, and a second may pass meanwhile.
    host.xdpfw(["apply", "-"]).stdin(policy(60)?).ok();
    let before = (policy_text(host)?, generation(host));
    let said = host.xdpfw(["apply", "-"]).stdin(policy(90)?).fails(3);
    assert_is_one_error(&said, "moments, and 64 are supported");
    assert_eq!((policy_text(host)?, generation(host)), before);
    Ok(())
}

#[test]
fn a_way_in_that_ends_is_told() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let session = "192.0.2.7 51000 10.0.0.1 22";
    let say = |arguments: &[&str]| {
        let output = host
            .xdpfw(arguments)
            .env("SSH_CONNECTION", session)
            .output()?;
        assert!(output.status.success(), "{output:?}");
        Ok::<_, anyhow::Error>(text(&output.stderr))
    };
    say(&["allow", "ssh", "--for", "1h"])?;
    let warning = "warning: your way in from 192.0.2.7 ends with r1 at ";
    let said = say(&["up", "eth0"])?;
    assert!(said.contains(warning), "{said}");
    assert!(
        said.contains(": no rule allows tcp 22 then (add `xdpfw allow ssh` first)\n"),
        "{said}"
    );
    // Another rule takes over, and ends as well.
    say(&["allow", "tcp", "any", "--for", "2h"])?;
    let said = say(&["allow", "tcp", "80"])?;
    assert!(said.contains("192.0.2.7 ends with r2 at "), "{said}");
    // One that ends is no way in to the one behind what denies.
    let said = say(&["deny", "tcp", "22", "--before", "r2"])?;
    assert!(said.contains(warning), "{said}");
    assert!(
        said.contains("r4 denies tcp 22 then (add `xdpfw allow ssh --before r4` first)"),
        "{said}"
    );
    say(&["delete", "r4"])?;
    let said = say(&["allow", "ssh"])?;
    assert!(!said.contains("your way in"), "{said}");
    Ok(())
}
