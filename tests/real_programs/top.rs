//! Proves what an operator sees and does in `top`, in a terminal: tmux.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use xdpfw_tests::{Host, Lab, PATIENCE, Sender, Tmux, capture, is_dropped, packets};

const POLICY: &str = "rule = [{ allow = 'tcp 22', comment = 'operators' }]";

/// Sends so many packets to a closed port.
fn scan(lab: &Lab, port: u16, count: usize) -> Result<()> {
    let (near, far) = (lab.link().near(), lab.link().far());
    let mut sender = Sender::new(&lab.peer, far)?;
    sender.send_all((0..count).map(|_| packets::syn(far.at(40_000), near.at(port))))?;
    Ok(())
}

/// A terminal that shows a host.
fn begin(host: &Host, (width, height): (u16, u16)) -> Result<Tmux> {
    let terminal = Tmux::new(width, height)?;
    terminal.run(&host.xdpfw(["top", "--interval", "0.2"]).command()?)?;
    terminal.wait_for("rates", |screen| screen.contains("q quit"))?;
    ensure!(terminal.is_set("alternate_on")?, "no screen of its own");
    Ok(terminal)
}

/// Asserts that a terminal is as it was before.
fn assert_given_back(terminal: &Tmux) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while terminal.is_set("alternate_on")? {
        ensure!(Instant::now() < deadline, "the screen is not given back");
    }
    // What is typed is seen again, and keys mean what they meant.
    terminal.run(std::process::Command::new("stty").arg("-a"))?;
    let screen = terminal.wait_for("the terminal's settings", |screen| {
        screen.contains("-echoprt")
    })?;
    for setting in [" echo ", "icanon", "isig", "opost", "icrnl"] {
        let has = screen.contains(setting) && !screen.contains(&format!("-{setting}"));
        assert!(has, "{setting}: {screen}");
    }
    assert!(terminal.is_set("cursor_flag")?, "no cursor");
    Ok(())
}

/// The process that shows a host.
fn top(host: &Host) -> Result<Pid> {
    let found = capture(
        host.command("pgrep")
            .args(["-f", "xdpfw.* top --interval 0.2"]),
    )?;
    for line in found.lines() {
        let pid: i32 = line.parse()?;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"))?;
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net"));
        let own = host.enter(|| Ok(namespace("thread-self")?))?;
        if name.trim() == "xdpfw" && namespace(&pid.to_string())? == own {
            return Pid::from_raw(pid).context("no process");
        }
    }
    anyhow::bail!("nothing shows the host: {found}")
}

#[test]
fn a_port_that_is_knocked_at_is_seen_explained_and_opened() -> Result<()> {
    let lab = Lab::new()?.filtered(POLICY);
    let host = &lab.host;
    let terminal = begin(host, (80, 24))?;
    scan(&lab, 2323, 30)?;
    let screen = terminal.wait_for("the port", |screen| screen.contains("2323/tcp"))?;
    assert!(screen.contains("eth0 native  default drop"), "{screen}");

    terminal.write("e")?;
    let screen = terminal.wait_for("an explanation", |screen| {
        screen.contains("default drop\n") || screen.contains("to let it pass")
    })?;
    assert!(screen.contains("xdpfw allow tcp 2323"), "{screen}");
    terminal.hit(&["Escape"])?;
    terminal.wait_for("the panel", |screen| !screen.contains("to let it pass"))?;

    terminal.write("a")?;
    let screen = terminal.wait_for("a question", |screen| screen.contains("y runs it"))?;
    assert!(screen.contains("allow tcp 2323"), "{screen}");
    terminal.write("n")?;
    terminal.wait_for("an end of it", |screen| screen.contains("nothing changed"))?;
    assert!(is_dropped(&lab, 2323)?);

    terminal.write("ay")?;
    terminal.wait_for("the answer", |screen| screen.contains("live on eth0"))?;
    assert!(!is_dropped(&lab, 2323)?);
    let rules = host.xdpfw(["list"]).json();
    assert_eq!(rules["rules"][1]["local_ports"][0], "2323");

    terminal.write("x4")?;
    let screen = terminal.wait_for("the rules", |screen| screen.contains("# operators"))?;
    assert!(screen.contains("allow tcp 2323"), "{screen}");
    terminal.write("q")?;
    assert_given_back(&terminal)
}

/// What a command refuses, it refuses here.
#[test]
fn what_a_command_refuses_is_refused() -> Result<()> {
    let lab = Lab::new()?.filtered(POLICY);
    let host = &lab.host;
    let terminal = begin(host, (100, 30))?;
    scan(&lab, 2323, 30)?;
    terminal.wait_for("the port", |screen| screen.contains("2323/tcp"))?;
    host.xdpfw(["bypass", "--for", "60s"]).ok();
    terminal.wait_for("the bypass", |screen| {
        screen.contains("bypass: everything passes")
    })?;
    terminal.write("ay")?;
    terminal.wait_for("the refusal", |screen| screen.contains("error:"))?;
    host.xdpfw(["bypass", "--off"]).ok();
    assert_eq!(
        host.xdpfw(["list"]).json()["rules"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    Ok(())
}

#[test]
fn signals_give_the_terminal_back() -> Result<()> {
    let lab = Lab::new()?.filtered(POLICY);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let terminal = begin(&lab.host, (80, 24))?;
        kill_process(top(&lab.host)?, signal)?;
        assert_given_back(&terminal).with_context(|| format!("{signal:?}"))?;
    }
    let terminal = begin(&lab.host, (80, 24))?;
    terminal.hit(&["C-c"])?;
    assert_given_back(&terminal)
}

#[test]
fn a_terminal_changes_its_size() -> Result<()> {
    let lab = Lab::new()?.filtered(POLICY);
    let terminal = begin(&lab.host, (80, 24))?;
    terminal.resize(120, 40)?;
    terminal.wait_for("all panels", |screen| {
        screen.contains("3 sources") && screen.contains("packets/s")
    })?;
    terminal.resize(30, 8)?;
    terminal.wait_for("too little room", |screen| screen.contains("too small"))?;
    terminal.resize(80, 24)?;
    terminal.wait_for("the panel", |screen| screen.contains("drops/s"))?;
    terminal.write("q")?;
    assert_given_back(&terminal)
}

#[test]
fn a_filter_may_go_down_and_come_up() -> Result<()> {
    let lab = Lab::new()?.filtered(POLICY);
    let host = &lab.host;
    let terminal = begin(host, (80, 24))?;
    host.xdpfw(["down"]).ok();
    terminal.wait_for("that it is down", |screen| {
        screen.contains("nothing is filtered")
    })?;
    host.xdpfw(["up", "eth0"]).ok();
    scan(&lab, 2323, 30)?;
    terminal.wait_for("the port", |screen| screen.contains("2323/tcp"))?;
    terminal.write("q")?;
    assert_given_back(&terminal)
}

#[test]
fn there_is_colour_unless_nobody_wants_it() -> Result<()> {
    let lab = Lab::new()?.filtered(POLICY);
    let host = &lab.host;
    scan(&lab, 2323, 3)?;
    // Red and cyan; attributes are there in any case.
    let is_colored = |screen: &str| {
        ["31m", "36m", "38;5;"]
            .iter()
            .any(|code| screen.contains(code))
    };
    for (color, without, expected) in [
        ("auto", false, true),
        ("auto", true, false),
        ("never", false, false),
        ("always", true, true),
    ] {
        let terminal = Tmux::new(80, 24)?;
        let mut call = host.xdpfw(["--color", color, "top"]);
        if without {
            call = call.env("NO_COLOR", "1");
        }
        terminal.run(&call.command()?)?;
        terminal.wait_for("the port", |screen| screen.contains("2323/tcp"))?;
        let screen = terminal.colored_screen()?;
        assert_eq!(
            is_colored(&screen),
            expected,
            "{color} {without}: {screen:?}"
        );
    }
    Ok(())
}

#[test]
fn a_terminal_without_a_cursor_gets_one_line() -> Result<()> {
    let lab = Lab::new()?.filtered(POLICY);
    let terminal = Tmux::new(120, 24)?;
    terminal.run(&lab.host.xdpfw(["top"]).env("TERM", "dumb").command()?)?;
    let screen = terminal.wait_for("an error", |screen| screen.contains("error: "))?;
    assert!(screen.contains("say `xdpfw stats --watch`"), "{screen}");
    assert!(!terminal.is_set("alternate_on")?);
    Ok(())
}

/// A terminal that takes nothing any more, as that of a session whose network is gone, keeps
/// nothing from ending.
#[test]
fn a_terminal_that_is_stuck_holds_no_signal_up() -> Result<()> {
    let lab = Lab::new()?.filtered(POLICY);
    let terminal = begin(&lab.host, (80, 24))?;
    let top = top(&lab.host)?;
    let server = Pid::from_raw(terminal.server()?).context("no server")?;
    kill_process(server, Signal::STOP)?;
    // More than the kernel keeps for a terminal: every row changes again and again.
    let scanned = (0..20).try_for_each(|round| {
        (0..20).try_for_each(|port| scan(&lab, 1000 * (round % 4 + 1) + port, 10))?;
        std::thread::sleep(Duration::from_millis(200));
        Ok(())
    });
    let killed = kill_process(top, Signal::TERM);
    let ended = ended(top);
    kill_process(server, Signal::CONT)?;
    scanned.and(killed.map_err(Into::into)).and(ended)
}

/// Waits until a process has ended.
fn ended(process: Pid) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while std::fs::exists(format!("/proc/{}", process.as_raw_nonzero()))? {
        ensure!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
