//! The bouncer for CrowdSec: a server of the test's speaks the local API as it is documented.

use std::{
    collections::HashSet,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use xdpfw_tests::{Host, Lab, assert_is_one_error, is_dropped, wait_until};

use crate::bans::bans;

/// The key of the bouncer.
const KEY: &str = "4f1c0ffee";
/// Where the service answers.
const URL: &str = "http://127.0.0.1:8080";

/// What the service says next.
#[derive(Clone, Default)]
struct Says {
    /// In answer to `startup=true`.
    all: String,
    /// In answer to `startup=false`, once.
    news: Option<String>,
    /// Instead of anything else: status and body.
    instead: Option<(u16, String)>,
}

/// The service.
struct Service {
    says: Arc<Mutex<Says>>,
    stops: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    fn start(host: &Host, says: Says) -> Result<Self> {
        let listener = host.enter(|| Ok(TcpListener::bind("127.0.0.1:8080")?))?;
        listener.set_nonblocking(true)?;
        let (says, stops) = (Arc::new(Mutex::new(says)), Arc::new(AtomicBool::new(false)));
        let (state, stop) = (says.clone(), stops.clone());
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((client, _)) => drop(answer(&client, &state)),
                    Err(_) => thread::sleep(std::time::Duration::from_millis(5)),
                }
            }
        });
        Ok(Self {
            says,
            stops,
            thread: Some(thread),
        })
    }

    fn say(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.says.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn answer(client: &TcpStream, says: &Mutex<Says>) -> Result<()> {
    client.set_nonblocking(false)?;
    let mut lines = BufReader::new(client).lines();
    let request = lines.next().context("nothing asked")??;
    let mut key = String::new();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("x-api-key")
        {
            key = value.to_owned();
        }
    }
    let mut says = says.lock().unwrap_or_else(PoisonError::into_inner);
    let (status, body) = match says.instead.clone() {
        Some(instead) => instead,
        None if key != KEY => (403, r#"{"message":"access forbidden"}"#.to_owned()),
        None if request.contains("/v1/decisions/stream?startup=true ") => {
            says.news = None;
            (200, says.all.clone())
        }
        None if request.contains("/v1/decisions/stream?startup=false ") => (
            200,
            says.news
                .take()
                .unwrap_or_else(|| r#"{"new":null,"deleted":null}"#.to_owned()),
        ),
        None => (404, String::new()),
    };
    let mut client = client;
    write!(
        client,
        "HTTP/1.1 {status} it\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}

/// A decision as the API has it.
fn decision(scope: &str, kind: &str, value: &str) -> String {
    format!(
        r#"{{"duration":"3h59m58.1s","id":1,"origin":"crowdsec","scenario":"crowdsecurity/http-probing","scope":"{scope}","type":"{kind}","value":"{value}","uuid":"x"}}"#
    )
}

fn stream(new: &[String], deleted: &[String]) -> String {
    format!(
        r#"{{"new":[{}],"deleted":[{}]}}"#,
        new.join(","),
        deleted.join(",")
    )
}

fn key_file(host: &Host, key: &str) -> Result<PathBuf> {
    let path = host.directory().join("crowdsec.key");
    fs::write(&path, format!("{key}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

/// The bouncer on a host; what it says is in a file.
fn bouncer(host: &Host, key: &str) -> Result<(Child, PathBuf)> {
    let key = key_file(host, key)?;
    let log = host.directory().join("bouncer.log");
    let key = key.to_str().context("an odd path")?;
    let words = ["bouncer", "--url", URL, "--key-file", key, "--every", "1s"];
    let mut command = host.xdpfw(words).command()?;
    let child = command
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?)
        .spawn()?;
    Ok((child, log))
}

/// Ends it politely.
fn end(mut child: Child) -> Result<()> {
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    assert_eq!(child.wait()?.code(), Some(0));
    Ok(())
}

fn banned(host: &Host, origin: &str) -> Vec<String> {
    let bans = bans(host).unwrap_or_default();
    let of = bans.iter().filter(|ban| ban["origin"] == origin);
    of.filter_map(|ban| Some(ban["prefix"].as_str()?.to_owned()))
        .collect()
}

#[test]
fn decisions_are_carried_out_as_they_come_and_go() -> Result<()> {
    let lab = Lab::new()?.filtered("trusted = '192.0.2.0/24'\nrule = [{ allow = 'tcp 80' }]");
    let host = &lab.host;
    let source = lab.link().far().address.to_string();
    let here = format!("{source}/32");
    // By hand, and for the same as one of the service's.
    host.xdpfw(["ban", "203.0.113.1"]).ok();
    let all = [
        decision("Ip", "ban", &source),
        decision("Range", "ban", "198.51.100.0/24"),
        decision("Ip", "ban", "203.0.113.1"),
        decision("Ip", "ban", "192.0.2.7"),
        decision("Ip", "captcha", "203.0.113.2"),
        decision("Country", "ban", "XX"),
    ];
    let says = Says {
        all: stream(&all, &[]),
        ..Says::default()
    };
    let service = Service::start(host, says)?;
    let (child, log) = bouncer(host, KEY)?;
    wait_until("the decisions", || banned(host, "crowdsec").len() == 3)?;
    assert!(is_dropped(&lab, 80)?);
    let list = bans(host)?;
    let ban = list
        .iter()
        .find(|ban| ban["prefix"] == here)
        .context("not there")?;
    assert_eq!(ban["why"], "crowdsecurity/http-probing");
    assert!(ban["until"].is_string());
    let news = stream(
        &[decision("Ip", "ban", "203.0.113.3")],
        &[
            decision("Ip", "ban", &source),
            decision("Ip", "ban", "203.0.113.1"),
        ],
    );
    service.say(|says| says.news = Some(news));
    wait_until("what is over", || {
        banned(host, "crowdsec") == ["198.51.100.0/24", "203.0.113.3/32"]
    })?;
    assert!(!is_dropped(&lab, 80)?);
    assert_eq!(banned(host, "manual"), ["203.0.113.1/32"]);
    end(child)?;
    // Begun anew, what it banned before is replaced by what is decided now.
    service.say(|says| says.all = stream(&[decision("Ip", "ban", &source)], &[]));
    let (child, _) = bouncer(host, KEY)?;
    wait_until("the replacement", || {
        banned(host, "crowdsec") == [here.clone()]
    })?;
    assert_eq!(banned(host, "manual"), ["203.0.113.1/32"]);
    assert!(is_dropped(&lab, 80)?);
    end(child)?;
    let said = fs::read_to_string(log)?;
    assert!(said.is_empty(), "{said}");
    Ok(())
}

fn has_no_cause_twice(why: &str) -> bool {
    let causes: Vec<_> = why.split(": ").collect();
    causes.iter().collect::<HashSet<_>>().len() == causes.len()
}

#[test]
fn what_goes_wrong_is_said_in_a_line_and_tried_again() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let host = &lab.host;
    let (child, log) = bouncer(host, "wrong")?;
    let says_once = |part: &str| {
        wait_until(part, || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            said.lines()
                .filter_map(|line| line.split_once("; again in "))
                .any(|(why, _)| why.contains(part) && has_no_cause_twice(why))
        })
    };
    // Nobody is there.
    says_once("efused")?;
    let says = Says {
        all: stream(&[decision("Ip", "ban", "203.0.113.7")], &[]),
        ..Says::default()
    };
    let service = Service::start(host, says)?;
    says_once("does not know the key")?;
    assert!(bans(host)?.is_empty());
    key_file(host, KEY)?;
    wait_until("the decisions", || banned(host, "crowdsec").len() == 1)?;
    service.say(|says| says.instead = Some((200, "<html>\u{1b}[2J".to_owned())));
    says_once("sends no decisions")?;
    service.say(|says| says.instead = Some((500, String::new())));
    says_once("HTTP status 500")?;
    // What was banned stays so meanwhile, and what changed meanwhile is made up for.
    assert_eq!(banned(host, "crowdsec").len(), 1);
    service.say(|says| {
        says.instead = None;
        says.all = stream(&[decision("Ip", "ban", "203.0.113.8")], &[]);
    });
    wait_until("the decisions", || {
        banned(host, "crowdsec") == ["203.0.113.8/32"]
    })?;
    drop(service);
    end(child)?;
    assert!(!fs::read_to_string(&log)?.contains('\u{1b}'));
    Ok(())
}

#[test]
fn a_key_that_others_may_read_is_none() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let host = &lab.host;
    let path = key_file(host, KEY)?;
    let file = path.to_str().context("an odd path")?;
    let start = || host.xdpfw(["bouncer", "--url", URL, "--key-file", file]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    assert_is_one_error(
        &start().fails(1),
        &format!("{file}: others may read the key"),
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    fs::write(&path, "\n")?;
    assert_is_one_error(&start().fails(1), &format!("{file}: no key in it"));
    fs::remove_file(&path)?;
    assert_is_one_error(&start().fails(1), &format!("{file}: no such file"));
    host.xdpfw(["bouncer", "--url", "ftp://it", "--key-file", file])
        .fails(2);
    Ok(())
}
