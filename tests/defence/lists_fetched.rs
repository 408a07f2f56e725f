//! Lists that come from servers, which may answer anything.

use std::{
    fs::Permissions,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use flate2::{Compression, write::GzEncoder};
use xdpfw_tests::{Lab, is_dropped};

use crate::{
    lists::list,
    web::{Site, Web, document, redirect},
};

/// Bytes that are more than a list has, unpacked.
const TOO_LONG: usize = (256 << 20) + 1;

/// A lab whose peer has a site, and whose host has a list of a path of it that bans.
struct Stage {
    lab: Lab,
    _web: Web,
}

impl Stage {
    fn new(path: &str, site: Arc<Site>) -> Result<Self> {
        let lab = Lab::new()?;
        let far = lab.link().far().at(8080);
        let web = Web::start(&lab.peer, far.into(), site)?;
        let policy = format!(
            "rule = [{{ allow = 'tcp 80' }}]\n[list.drop]\nurl = 'http://{far}{path}'\ninsecure = true\nban = true\n"
        );
        Ok(Self {
            lab: lab.filtered(&policy),
            _web: web,
        })
    }

    /// What a refresh says, which may fail.
    fn refresh(&self, words: &[&str]) -> Result<(bool, String)> {
        let words = [&["lists", "refresh"][..], words].concat();
        let output = self.lab.host.xdpfw(words).output()?;
        let code = output.status.code().context("it was killed")?;
        assert!(code == 0 || code == 1, "{output:?}");
        let said = match code {
            0 => &output.stdout,
            _ => &output.stderr,
        };
        Ok((code == 0, String::from_utf8_lossy(said).into_owned()))
    }
}

#[test]
fn a_list_is_fetched_and_what_was_fetched_stays_when_its_server_fails() -> Result<()> {
    let text = Arc::new(Mutex::new(String::new()));
    let shown = text.clone();
    let stage = Stage::new(
        "/drop.txt",
        Arc::new(move |path, to| match path {
            "/drop.txt" => {
                let text = shown.lock().unwrap().clone();
                match text.is_empty() {
                    true => write!(to, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
                    false => document(to, text.as_bytes()),
                }
            }
            _ => write!(to, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        }),
    )?;
    let lab = &stage.lab;
    assert!(!is_dropped(lab, 80)?);
    let warnings = || lab.host.status()["warnings"].to_string();
    assert!(warnings().contains("list drop was never read"));
    let source = lab.link().far().address;
    *text.lock().unwrap() = format!("{source}\n198.51.100.0/24 ; SBL1\n");
    let (done, said) = stage.refresh(&[])?;
    assert!(
        done && said.starts_with("drop: 2 IPv4 and 0 IPv6 prefixes, 2 added"),
        "{said}"
    );
    assert!(is_dropped(lab, 80)?);
    assert!(!warnings().contains("list"));
    text.lock().unwrap().clear();
    let (done, said) = stage.refresh(&[])?;
    assert!(
        !done && said == "error: drop: not refreshed: the server answers 503\n",
        "{said}"
    );
    assert!(is_dropped(lab, 80)?);
    let known = list(&lab.host, "drop")?;
    assert_eq!(
        (&known["entries4"], &known["error"]),
        (&2.into(), &"the server answers 503".into())
    );
    let warnings = warnings();
    assert!(
        warnings.contains("list-not-read")
            && warnings.contains(": the server answers 503")
            && warnings.contains("xdpfw lists refresh drop"),
        "{warnings}"
    );
    // At boot there is no network.
    lab.host.xdpfw(["down"]).ok();
    lab.host.xdpfw(["up"]).ok();
    assert!(is_dropped(lab, 80)?);
    Ok(())
}

#[test]
fn a_timer_asks_for_what_is_due() -> Result<()> {
    let asked = Arc::new(AtomicU64::new(0));
    let counted = asked.clone();
    let stage = Stage::new(
        "/",
        Arc::new(move |_, to| {
            counted.fetch_add(1, Ordering::SeqCst);
            document(to, b"192.0.2.1\n")
        }),
    )?;
    for _ in 0..2 {
        stage.refresh(&["--due"])?;
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
    stage.refresh(&[])?;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    Ok(())
}

#[test]
fn what_is_no_list_is_refused() -> Result<()> {
    let packed = |bytes: usize| -> Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let line = [b"192.0.2.1\n".as_slice(); 1 << 12].concat();
        for _ in 0..bytes.div_ceil(line.len()) {
            encoder.write_all(&line)?;
        }
        Ok(encoder.finish()?)
    };
    let (bomb, good) = (packed(TOO_LONG)?, packed(1)?);
    let what = Arc::new(Mutex::new("html"));
    let wanted = what.clone();
    let stage = Stage::new(
        "/",
        Arc::new(move |_, to| {
            let wanted = *wanted.lock().unwrap();
            match wanted {
                "good" => document(to, &good),
                "bomb" => document(to, &bomb),
                "html" => document(to, b"<!DOCTYPE html><html><body>192.0.2.1</body></html>"),
                "type" => write!(
                    to,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 10\r\n\r\n192.0.2.1\n"
                ),
                "cut" => write!(
                    to,
                    "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n192.0.2.1\n"
                ),
                _ => document(to, b"nothing but words\n"),
            }
        }),
    )?;
    *what.lock().unwrap() = "good";
    assert!(stage.refresh(&[])?.0);
    for (answer, why) in [
        ("html", "it answers HTML"),
        ("type", "it answers HTML"),
        ("bomb", "longer than 256 MiB unpacked"),
        ("cut", "not refreshed"),
        (
            "words",
            "nothing in it is an address: 1 line is none of a list: line 1 `nothing but words`",
        ),
    ] {
        *what.lock().unwrap() = answer;
        let (done, said) = stage.refresh(&[])?;
        assert!(!done && said.contains(why), "{answer}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(list(&stage.lab.host, "drop")?["entries4"], 1, "{answer}");
    }
    Ok(())
}

#[test]
fn a_list_without_an_end_meets_a_limit() -> Result<()> {
    let stage = Stage::new(
        "/",
        Arc::new(|path, to| {
            write!(to, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                match path {
                    "/" => {
                        thread::sleep(Duration::from_millis(100));
                        to.write_all(b"192.0.2.1\n")?;
                        to.flush()?;
                    }
                    _ => to.write_all(&[b'\n'; 1 << 16])?,
                }
            }
        }),
    )?;
    let (done, said) = stage.refresh(&["--timeout", "1s"])?;
    assert!(
        !done && said.contains("not fetched in time (see --timeout)"),
        "{said}"
    );
    let far = stage.lab.link().far().at(8080);
    let policy = format!(
        "version = 1\ninterfaces = ['eth0']\n[list.drop]\nurl = 'http://{far}/fast'\ninsecure = true\nban = true\n"
    );
    stage.lab.host.xdpfw(["apply", "-"]).stdin(policy).ok();
    let (done, said) = stage.refresh(&[])?;
    assert!(!done && said.contains("it is longer than 64 MiB"), "{said}");
    Ok(())
}

#[test]
fn redirects_lead_to_no_file_and_to_no_address_of_this_host_or_its_networks() -> Result<()> {
    let target = Arc::new(Mutex::new(String::new()));
    let shown = target.clone();
    let stage = Stage::new(
        "/",
        Arc::new(move |path, to| match path {
            "/" => redirect(to, &shown.lock().unwrap()),
            "/again" => redirect(to, "/again"),
            _ => document(to, b"192.0.2.1\n"),
        }),
    )?;
    let far = stage.lab.link().far().address;
    // What the operator named may lead to another of its own pages.
    *target.lock().unwrap() = "/there".to_owned();
    assert!(stage.refresh(&[])?.0);
    for (location, why) in [
        ("file:///etc/passwd".to_owned(), "`file:///etc/passwd`"),
        ("ftp://192.0.2.1/".to_owned(), "is no URL of a web server"),
        (
            "http://127.0.0.1:8080/there".to_owned(),
            "no public address",
        ),
        (format!("http://{far}:8081/there"), "no public address"),
        ("http://[::1]:8080/there".to_owned(), "no public address"),
        (
            "http://169.254.169.254/latest".to_owned(),
            "no public address",
        ),
        (
            "http://localhost:8080/there".to_owned(),
            "no public address",
        ),
        ("http://0x7f000001:8080/there".to_owned(), "not refreshed"),
        ("/again".to_owned(), "more than 3 times"),
    ] {
        target.lock().unwrap().clone_from(&location);
        let (done, said) = stage.refresh(&[])?;
        assert!(!done && said.contains(why), "{location}: {said}");
    }
    Ok(())
}

#[test]
fn over_https_the_certificate_must_be_trusted_and_plain_http_is_not_followed() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.link().far().at(8443);
    let plain = lab.link().far().at(8080);
    // Who fetches is nobody, and must be able to read it.
    let trust = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o644))
        .tempfile()?;
    let trust = trust.path();
    let site: Arc<Site> = Arc::new(move |path, to| match path {
        "/drop.txt" => document(to, b"192.0.2.1\n192.0.2.2\n"),
        _ => redirect(to, &format!("http://{plain}/drop.txt")),
    });
    let _web = Web::secure(&lab.peer, far.into(), site.clone(), trust)?;
    let _plain = Web::start(&lab.peer, plain.into(), site)?;
    let policy = |path: &str| format!("[list.drop]\nurl = 'https://{far}{path}'\nban = true\n");
    let lab = lab.filtered(&policy("/drop.txt"));
    let refresh = || lab.host.xdpfw(["lists", "refresh"]);
    let said = refresh().output()?;
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.to_lowercase().contains("certificate"), "{said}");
    refresh().env("SSL_CERT_FILE", trust).ok();
    assert_eq!(list(&lab.host, "drop")?["entries4"], 2);
    let text = format!(
        "version = 1\ninterfaces = ['eth0']\n{}",
        policy("/elsewhere")
    );
    lab.host.xdpfw(["apply", "-"]).stdin(text).ok();
    let said = refresh().env("SSL_CERT_FILE", trust).output()?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("it leads to plain HTTP"), "{said}");
    Ok(())
}

/// Who fetches is nobody, and may do nothing.
#[test]
fn what_fetches_has_no_privileges() -> Result<()> {
    let seen = Arc::new(Mutex::new(String::new()));
    let status = seen.clone();
    let stage = Stage::new(
        "/",
        Arc::new(move |_, to| {
            *status.lock().unwrap() = fetcher_status();
            document(to, b"192.0.2.1\n")
        }),
    )?;
    assert!(stage.refresh(&[])?.0);
    let seen = seen.lock().unwrap().clone();
    for line in [
        "Uid:\t65534\t65534\t65534\t65534",
        "Gid:\t65534\t65534\t65534\t65534",
        "Groups:\t ",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        assert!(seen.contains(line), "{line}: {seen}");
    }
    Ok(())
}

/// What the kernel says of processes that fetch, this one's server's client among them.
fn fetcher_status() -> String {
    let mut found = String::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if command.trim_end_matches('\0') == "xdpfw-fetch" {
            found = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        }
    }
    found
}
