//! Proves that `review` lists exactly what is planted on a host with real services, that its
//! remedies do what they say, and that a later review tells what is new.

mod server;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xdpfw_tests::{
    CAPABILITIES, Lab, Sender, assert_is_one_error, capture, packets,
    servers::{self, TcpServer},
    text,
};

use self::server::{listening, obey, redis, review, server, set, to_do};

/// What is not in force, or for nobody.
const RULES: &str = "
    [[rule]]
    id = 'r1'
    allow = 'tcp 80,443'
    [[rule]]
    id = 'r2'
    allow = 'udp 53'
    from = '10.0.0.0/8'
    comment = \"the office's\"
    [[rule]]
    id = 'r3'
    allow = 'tcp 8443'
    [[rule]]
    id = 'r4'
    allow = 'tcp 80,81'
    [[rule]]
    id = 'r5'
    allow = 'tcp 443'
    from = '192.0.2.0/24'
    [[rule]]
    id = 'r6'
    deny = 'tcp 53'
    [[rule]]
    id = 'r7'
    allow = 'ping'
";

#[test]
fn exactly_what_is_planted_is_found() -> Result<()> {
    let lab = server()?.filtered(RULES);
    let (host, near, far) = (&lab.host, lab.link().near(), lab.link().far());
    let own = near.address.to_string();
    let mut peer = Sender::new(&lab.peer, far)?;
    let knock = |port| packets::syn(far.at(50_000), near.at(port));
    peer.send_all([80, 443, 6379, 6379, 6379].map(knock))?;

    let said = review(host, &[]);
    assert_eq!(said["schema"], "xdpfw.review/1");
    let expected = [
        ("tcp 0.0.0.0 80 nginx", "pass"),
        ("tcp 0.0.0.0 443 nginx", "pass"),
        ("tcp 0.0.0.0 6379 redis-server", "drop"),
        ("tcp :: 8080 -", "drop"),
        (&format!("tcp {own} 53 dnsmasq"), "drop"),
        (&format!("udp {own} 53 dnsmasq"), "partly"),
    ];
    let expected = expected.map(|(line, verdict)| (line.to_owned(), verdict.to_owned()));
    assert_eq!(listening(&said), BTreeMap::from(expected), "{said:#}");
    let planted = [
        "listening-dropped tcp 6379",
        "published-port tcp 8080",
        "nobody-listens r3",
        "nobody-listens r4",
        "unused-rule r2",
        "unused-rule r7",
        "shadowed r5",
    ];
    assert_eq!(to_do(&said), set(&planted), "{said:#}");
    let redis = said["findings"].to_string();
    assert!(redis.contains("3 packets dropped since"), "{redis}");
    let table = host.xdpfw(["review"]).output()?;
    let table = text(&table.stdout);
    for line in [
        "drop     tcp 0.0.0.0:6379",
        "listening-dropped  tcp 6379: redis-server listens on 0.0.0.0, but no rule lets anybody in",
        "\n    xdpfw allow tcp 6379\n",
    ] {
        assert!(table.contains(line), "no {line:?}: {table}");
    }

    // Who goes on to ask is named.
    let asks = AtomicBool::new(true);
    let heard = thread::scope(|scope| -> Result<Value> {
        let client = scope.spawn(|| -> Result<()> {
            while asks.load(Ordering::Relaxed) {
                peer.send_all([knock(6379)])?;
                thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        });
        let said = review(host, &["--listen", "2s"]);
        asks.store(false, Ordering::Relaxed);
        client.join().expect("the client panicked")?;
        Ok(said)
    })?;
    let from = format!("just now from {} (", far.address);
    assert!(heard["findings"].to_string().contains(&from), "{heard:#}");
    assert!(!redis.contains("just now"), "{redis}");
    let listens = heard["listening"].as_array().context("no list")?;
    for service in listens {
        let sources = &service["sources"];
        match service["port"].as_u64() {
            Some(6379) => {
                assert_eq!(sources[0]["address"], far.address.to_string());
                assert!(sources[0]["packets"].as_u64() > Some(9), "{sources}");
            }
            _ => assert_eq!(*sources, json!([])),
        }
    }

    // Each is gone when its command is done, and the packets get in that should.
    for finding in planted {
        obey(host, &said, finding)?;
        let left = to_do(&review(host, &[]));
        assert!(!left.contains(finding), "{finding}: {left:?}");
    }
    peer.send_all([6379, 8080].map(knock))?;
    // The rule that nobody had used was the only one for it.
    let left = to_do(&review(host, &[]));
    assert_eq!(left, set(&["listening-dropped udp 53"]));
    let server = SocketAddr::from((near.address, 80));
    servers::connect(&lab.peer, 0, server, Duration::from_secs(5))?;
    Ok(())
}

#[test]
fn what_is_new_is_told_once() -> Result<()> {
    let lab = server()?.filtered("rule = [{ allow = 'tcp 80' }, { deny = 'tcp 53,443' }]");
    let host = &lab.host;
    let said = host.xdpfw(["review", "--since", "last"]).fails(1);
    assert_is_one_error(&said, "no review was saved yet (say `xdpfw review --save`)");
    assert_eq!(
        review(host, &["--since", "last", "--save"])["since"],
        Value::Null
    );
    let saved = host.history().join("review.json");
    let mode = fs::metadata(&saved)?.permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(to_do(&review(host, &["--since", "last"])), BTreeSet::new());
    // A later review finds the same, and a file of it is as good.
    let known = host.directory().join("known.json");
    fs::write(&known, host.xdpfw(["--json", "review"]).output()?.stdout)?;
    let known = known.to_str().context("an odd path")?;
    assert_eq!(to_do(&review(host, &["--since", known])), BTreeSet::new());

    let server = TcpServer::start(host, 9000, "new")?;
    host.xdpfw(["allow", "udp", "53"]).ok();
    let new = [
        "new-listener tcp 0.0.0.0:9000",
        "listening-dropped tcp 9000",
        "new-rule r3",
        "unused-rule r3",
    ];
    let near = lab.link().near().address;
    let mut expected = set(&new);
    expected.insert(format!("verdict-changed udp {near}:53"));
    for since in ["last", known] {
        assert_eq!(to_do(&review(host, &["--since", since])), expected);
    }
    assert_eq!(
        to_do(&review(host, &["--since", "last", "--save"])),
        expected
    );
    assert_eq!(to_do(&review(host, &["--since", "last"])), BTreeSet::new());
    drop(server);
    host.xdpfw(["delete", "r3"]).ok();
    let mut expected = set(&["gone-listener tcp 0.0.0.0:9000", "gone-rule r3"]);
    expected.insert(format!("verdict-changed udp {near}:53"));
    expected.insert("listening-dropped udp 53".to_owned());
    let said = review(host, &["--since", "last"]);
    let found = to_do(&said);
    // It was known when the first review was made, and is new to the last.
    assert_eq!(found, expected, "{said:#}");
    obey(host, &said, "gone-rule r3")?;
    assert_eq!(to_do(&review(host, &["--since", "last"])), BTreeSet::new());
    Ok(())
}

#[test]
fn what_is_no_review_is_named() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let host = &lab.host;
    let file = host.directory().join("other.json");
    let path = file.to_str().context("an odd path")?;
    host.xdpfw(["review", "--since", path]).fails(1);
    let whole = host.xdpfw(["--json", "review"]).ok();
    let status = host.status().to_string();
    for (text, expected) in [
        ("", "it breaks off"),
        (&whole[..whole.len() / 2], "it breaks off"),
        (&status, "it is `xdpfw.status/1`"),
        ("\u{1b}[2J", "it is no JSON"),
    ] {
        fs::write(&file, text)?;
        let said = host.xdpfw(["review", "--since", path]).fails(1);
        assert_is_one_error(&said, expected);
        assert_is_one_error(&said, path);
    }
    for path in ["/dev/zero", "/"] {
        let said = host.xdpfw(["review", "--since", path]).fails(1);
        assert_is_one_error(&said, "not a regular file");
    }
    // What others may write could hide what is found.
    capture(Command::new("chown").arg("nobody").arg(&file))?;
    let said = host.xdpfw(["review", "--since", path]).fails(1);
    assert_is_one_error(&said, "not to root");
    Ok(())
}

/// What is not filtered is judged by the file, and nothing is counted.
#[test]
fn a_host_that_is_not_filtered_is_reviewed_by_its_file() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    redis(host)?;
    host.xdpfw(["allow", "tcp", "22"]).ok();
    let output = host.xdpfw(["review"]).output()?;
    let said = text(&output.stderr);
    assert!(
        said.contains("not up; judged by the rules of the policy file"),
        "{said}"
    );
    let found = review(host, &[]);
    assert_eq!(found["judged_by"], "rules");
    assert_eq!(
        to_do(&found),
        set(&["listening-dropped tcp 6379", "nobody-listens r1"])
    );
    obey(host, &found, "listening-dropped tcp 6379")?;
    obey(host, &found, "nobody-listens r1")?;
    assert_eq!(to_do(&review(host, &[])), BTreeSet::new());
    // While everything passes for a while, the rules are reviewed that come back.
    host.xdpfw(["up", "eth0"]).ok();
    host.xdpfw(["deny", "tcp", "6379", "--first"]).ok();
    host.xdpfw(["bypass", "--for", "60s"]).ok();
    let found = review(host, &[]);
    let expected = (
        "tcp 0.0.0.0 6379 redis-server".to_owned(),
        "drop".to_owned(),
    );
    assert_eq!(listening(&found), BTreeMap::from([expected]));
    Ok(())
}

/// It takes CAP_SYS_PTRACE to see who has a socket open.
#[test]
fn whose_sockets_they_are_may_be_unknown() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 9000' }]");
    let host = &lab.host;
    let listener = host.enter(|| Ok(TcpListener::bind("0.0.0.0:9000")?))?;
    let call = host.xdpfw(["review"]).with_capabilities(&CAPABILITIES);
    let said = call.json_with(|_| 8);
    assert_eq!(said["judged_by"], "program");
    let [one] = said["listening"].as_array().context("nothing")?.as_slice() else {
        panic!("{said:#}");
    };
    assert_eq!((&one["process"], &one["pid"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&one["user"], &one["verdict"]),
        (&"root".into(), &"pass".into())
    );
    // Without what it takes to ask the program, the rules tell.
    let call = host
        .xdpfw(["review"])
        .with_capabilities(&["bpf", "net_admin"]);
    assert_eq!(call.json_with(|_| 8)["judged_by"], "rules");
    drop(listener);
    Ok(())
}

/// Connections that nobody answers take ports all the same.
#[test]
fn ports_that_come_to_an_end_are_foretold() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let (host, far) = (&lab.host, lab.link().far());
    host.sysctl("net/ipv4/ip_local_port_range", "40000 40019")?;
    let _server = TcpServer::start(&lab.peer, 443, "")?;
    let server = far.at(443);
    let patience = Duration::from_secs(5);
    let open: Vec<_> = (0..16)
        .map(|_| servers::connect(host, 0, server, patience))
        .collect::<Result<_>>()?;
    let found = review(host, &[]);
    let finding = format!("ephemeral-exhaustion tcp {server}");
    assert_eq!(to_do(&found), set(&[&finding]), "{found:#}");
    assert_eq!(found["ephemeral"]["in_use"], 16);
    obey(host, &found, &finding)?;
    assert_eq!(to_do(&review(host, &[])), BTreeSet::new());
    drop(open);
    Ok(())
}

/// Whatever a process calls itself stays in its line.
#[test]
fn a_name_that_acts_on_terminals_does_not() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ deny = 'tcp 9000' }]");
    let host = &lab.host;
    let listener = host.enter(|| Ok(TcpListener::bind("0.0.0.0:9000")?))?;
    let program = host.directory().join("\u{1b}[2J\nx");
    fs::copy("/bin/sleep", &program)?;
    let held = OwnedFd::from(listener);
    let _process = host.spawn_with(&program, ["600"], Stdio::from(held))?;
    let output = host.xdpfw(["--color", "always", "review"]).output()?;
    let said = text(&output.stdout);
    assert!(said.contains("\\u{1b}[2J\\nx ("), "{said}");
    assert!(!said.contains("\u{1b}[2J"), "{said}");
    Ok(())
}

/// The names of this host are those of `/etc/services`, whatever ours are.
#[test]
fn a_name_that_means_another_port_here_is_found() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp ssh,80' }]");
    let host = &lab.host;
    let services = host.directory().join("services");
    fs::write(&services, "ssh 2222/tcp\nhttp 80/tcp\n")?;
    let _ports = [22, 80, 2222].map(|port| TcpServer::start(host, port, ""));
    let bind = format!(
        "mount --bind {} /etc/services || exit 90\nexec \"$@\"",
        services.display()
    );
    let here = || {
        host.xdpfw(["review"])
            .in_private_mounts(&bind)
            .json_with(|_| 8)
    };
    let found = here();
    assert_eq!(
        to_do(&found),
        set(&[
            "name-changed r1 ssh",
            "unused-rule r1",
            "listening-dropped tcp 2222"
        ])
    );
    obey(host, &found, "name-changed r1 ssh")?;
    let found = to_do(&here());
    assert_eq!(found, set(&["listening-dropped tcp 22", "unused-rule r2"]));
    assert!(host.xdpfw(["list"]).ok().contains("allow tcp 2222,80"));
    Ok(())
}

/// A service that asks others from its own port gets their answers, rule or not.
#[test]
fn a_service_that_asks_others_is_told_from_one_that_does_not() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let (host, far) = (&lab.host, lab.link().far());
    let one = servers::bind(host, ([0, 0, 0, 0], 123))?;
    let _other = servers::bind(host, ([0, 0, 0, 0], 161))?;
    one.send_to(b"what time is it", far.at(123))?;
    let found = review(host, &[]);
    let expected = ["listening-dropped udp 123", "listening-dropped udp 161"];
    assert_eq!(to_do(&found), set(&expected));
    let texts = found["findings"].as_array().context("nothing")?;
    let asks = texts.iter().map(|one| one["text"].to_string());
    let asks: Vec<bool> = asks
        .map(|text| text.contains("answers to what it asks pass"))
        .collect();
    assert_eq!(asks, [true, false]);
    Ok(())
}
