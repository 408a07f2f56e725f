//! Fail2Ban reads a server's log and has xdpfw ban by the action that the package brings: with files
//! and a socket of its own, never as a service of this machine.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_tests::{Host, Lab, PATIENCE, Process, capture, packaged, unpacked_file, wait_until};

/// How long a client waits for what does not come.
const IN_VAIN: Duration = Duration::from_millis(300);
/// The time of a ban.
const BANTIME: i64 = 777;

/// Fail2Ban on a host.
struct Fail2Ban<'a> {
    host: &'a Host,
    directory: PathBuf,
    _server: Process,
}

impl<'a> Fail2Ban<'a> {
    /// Starts it with a jail for whoever asks a server for what is not there.
    fn start(host: &'a Host, log: &Path) -> Result<Self> {
        let directory = host.directory().join("fail2ban");
        for part in ["action.d", "filter.d", "jail.d", "fail2ban.d"] {
            fs::create_dir_all(directory.join(part))?;
        }
        let action = fs::read_to_string(packaged("fail2ban/xdpfw.conf"))?;
        let shown = directory.display();
        for (file, text) in [
            ("action.d/xdpfw.conf", action),
            (
                "filter.d/guesses.conf",
                "[Definition]\nfailregex = ^<HOST> [^\"]*\"[^\"]*\" 404\\b\n".to_owned(),
            ),
            (
                "fail2ban.conf",
                format!(
                    "[Definition]\nloglevel = INFO\nlogtarget = {shown}/log\nsyslogsocket = auto\n\
                     socket = {shown}/socket\npidfile = {shown}/pid\ndbfile = {shown}/bans.sqlite3\n\
                     dbpurgeage = 1d\ndbmaxmatches = 10\n[Thread]\nstacksize = 0\n"
                ),
            ),
            (
                "jail.conf",
                format!(
                    "[DEFAULT]\nbackend = polling\nignoreself = false\nusedns = no\n\
                     findtime = 600\nmaxretry = 3\nmaxmatches = 3\nbantime = {BANTIME}\n\
                     [web]\nenabled = true\nfilter = guesses\nlogpath = {}\n\
                     action = xdpfw[xdpfw={}]\n",
                    log.display(),
                    host.binary().display()
                ),
            ),
        ] {
            fs::write(directory.join(file), text)?;
        }
        let mut command = Self::command(host, &directory, "fail2ban-server")?;
        let server = Process::start(command.args(["-f", "start"]))?;
        let this = Self {
            host,
            directory,
            _server: server,
        };
        // To ask for a jail that is not there yet is an error in its log.
        wait_until("fail2ban", || {
            this.client(&["status"])
                .is_ok_and(|said| said.contains("web"))
        })?;
        Ok(this)
    }

    fn command(host: &Host, directory: &Path, name: &str) -> Result<Command> {
        let script = unpacked_file(name)?;
        let mut command = host.command("/usr/bin/python3");
        let packages = script
            .ancestors()
            .nth(2)
            .context("an odd path")?
            .join("lib/python3/dist-packages");
        command
            .env("PYTHONPATH", packages)
            .arg(script)
            .arg("-c")
            .arg(directory)
            .arg("-s")
            .arg(directory.join("socket"))
            .arg("-p")
            .arg(directory.join("pid"));
        Ok(command)
    }

    fn client(&self, words: &[&str]) -> Result<String> {
        let mut command = Self::command(self.host, &self.directory, "fail2ban-client")?;
        capture(command.args(words))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

/// An HTTP server that writes a log.
fn nginx(host: &Host) -> Result<PathBuf> {
    let directory = host.directory();
    let (file, log) = (directory.join("nginx.conf"), directory.join("access.log"));
    fs::write(
        &file,
        format!(
            "user root; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
             events {{ }}
             http {{
                 access_log {directory}/access.log;
                 client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
                 fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
                 scgi_temp_path {directory}/scgi;
                 server {{ listen 80; location = / {{ return 200 'here'; }} location / {{ return 404; }} }}
             }}",
            directory = directory.display()
        ),
    )?;
    let mut options = vec!["-c".into(), file.into_os_string(), "-e".into()];
    options.push(directory.join("nginx.log").into_os_string());
    host.start_daemon("nginx", options)?;
    Ok(log)
}

/// Asks for a page over a connection that stays open; the status, if there is an answer.
fn ask(client: &mut TcpStream, page: &str) -> Result<Option<String>> {
    client.set_read_timeout(Some(IN_VAIN))?;
    write!(client, "GET {page} HTTP/1.1\r\nHost: it\r\n\r\n")?;
    let mut answer = [0; 1024];
    let bytes = client.read(&mut answer).unwrap_or(0);
    let text = String::from_utf8_lossy(&answer[..bytes]);
    Ok(text.split(' ').nth(1).map(str::to_owned))
}

#[test]
fn whom_fail2ban_bans_gets_no_answer_over_the_connection_that_is_open() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let host = &lab.host;
    let (near, far) = (lab.link().near(), lab.link().far());
    let log = nginx(host)?;
    let fail2ban = Fail2Ban::start(host, &log)?;
    let connect = || {
        lab.peer
            .enter(|| Ok(TcpStream::connect_timeout(&near.at(80).into(), PATIENCE)?))
    };
    let mut client = connect()?;
    assert_eq!(ask(&mut client, "/")?.as_deref(), Some("200"));
    for page in ["/wp-login.php", "/admin", "/.env"] {
        assert_eq!(ask(&mut client, page)?.as_deref(), Some("404"));
    }
    let bans = || -> Result<Vec<Value>> {
        let said = host.xdpfw(["bans"]).json();
        Ok(said["bans"].as_array().context("no list")?.clone())
    };
    wait_until("the ban", || bans().is_ok_and(|bans| !bans.is_empty()))
        .with_context(|| fail2ban.log())?;
    assert_eq!(ask(&mut client, "/")?, None, "{}", fail2ban.log());
    let ban = &bans()?[0];
    assert_eq!(ban["prefix"], format!("{}/32", far.address));
    assert_eq!(
        (&ban["origin"], &ban["why"]),
        (&"manual".into(), &"fail2ban web".into())
    );
    let moment = |field: &str| -> Result<jiff::Timestamp> {
        Ok(ban[field].as_str().context("no time")?.parse()?)
    };
    let lasts = moment("until")?.duration_since(moment("since")?);
    assert_eq!(lasts.as_secs(), BANTIME);
    let source = far.address.to_string();
    fail2ban.client(&["set", "web", "unbanip", &source])?;
    wait_until("the end", || bans().is_ok_and(|bans| bans.is_empty()))?;
    assert_eq!(ask(&mut connect()?, "/")?.as_deref(), Some("200"));
    // For good.
    fail2ban.client(&["set", "web", "bantime", "-1"])?;
    // Whose ban has ended already is no error to end.
    fail2ban.client(&["set", "web", "banip", &source])?;
    wait_until("the ban", || bans().is_ok_and(|bans| !bans.is_empty()))?;
    assert_eq!(bans()?[0]["until"], Value::Null);
    host.xdpfw(["unban", &source]).ok();
    fail2ban.client(&["set", "web", "unbanip", &source])?;
    fail2ban.client(&["stop"])?;
    wait_until("its end", || fail2ban.log().contains("Exiting Fail2ban"))?;
    assert!(!fail2ban.log().contains("ERROR"), "{}", fail2ban.log());
    Ok(())
}
