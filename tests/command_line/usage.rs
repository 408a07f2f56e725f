//! Proves what the command line says by itself, without root and without a kernel:
//! its usage errors, its dry runs, and where output and colour go.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::geteuid;
use tempfile::TempDir;
use xdpfw_tests::{assert_is_one_error, text};

/// Every command there is.
const COMMANDS: [&str; 32] = [
    "up",
    "down",
    "allow",
    "deny",
    "limit",
    "delete",
    "default",
    "list",
    "log",
    "status",
    "flows",
    "stats",
    "top",
    "apply",
    "shadow",
    "confirm",
    "rollback",
    "history",
    "bypass",
    "panic",
    "trace",
    "doctor",
    "explain",
    "review",
    "ban",
    "unban",
    "bans",
    "lists",
    "scanners",
    "bouncer",
    "completions",
    "man",
];
/// The user without rights, on every distribution.
pub(super) const NOBODY: u32 = 65534;
/// What begins a colour.
const ESCAPE: &str = "\x1b[";

#[test]
fn snapshots() -> Result<()> {
    trycmd::TestCases::new()
        .register_bin("xdpfw", binary()?)
        .env("XDPFW_POLICY", "policy.toml")
        .env("NO_COLOR", "1")
        .case("command_line/snapshots/*.trycmd");
    Ok(())
}

#[test]
fn an_error_is_one_line_whatever_it_quotes() -> Result<()> {
    for word in ["a\nb", "\x1b[2J", "\u{202e}443", "é", &"x".repeat(10_000)] {
        for arguments in [
            &["allow", word][..],
            &["allow", "tcp", word],
            &["delete", word],
        ] {
            let output = xdpfw(arguments)?.output()?;
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
            assert_is_one_error(&text(&output.stderr), "`");
            assert!(!output.stderr.contains(&b'\x1b'), "{arguments:?}");
        }
    }
    Ok(())
}

#[test]
fn words_that_are_no_text_are_an_error_too() -> Result<()> {
    let word = OsStr::from_bytes(b"bad\xff");
    for arguments in [
        &[
            "allow".as_ref(),
            "tcp".as_ref(),
            "80".as_ref(),
            "--comment".as_ref(),
            word,
        ][..],
        &["allow".as_ref(), word],
        &[word],
        &["--policy".as_ref(), word, word],
    ] {
        let output = Command::new(binary()?).args(arguments).output()?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_is_one_error(&text(&output.stderr), "");
    }
    Ok(())
}

#[test]
fn every_shell_gets_a_script_that_asks_this_program() -> Result<()> {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout_of(&["completions", shell])?;
        assert!(script.contains("xdpfw"), "{shell}: {script}");
        assert!(script.contains("_XDPFW_COMPLETE"), "{shell}: {script}");
    }
    Ok(())
}

#[test]
fn the_manual_page_has_every_command() -> Result<()> {
    let page = stdout_of(&["man"])?;
    assert!(page.contains(".TH xdpfw 8"), "{page}");
    for command in COMMANDS {
        let head = format!(".SH \"XDPFW {}\"", command.to_uppercase());
        assert!(page.contains(&head), "no section {head}");
    }
    for head in [".SH \"EXAMPLES\"", ".SH \"FILES\"", ".SH \"EXIT STATUS\""] {
        assert!(page.contains(head), "no section {head}");
    }
    // What holds for every command stands there once.
    assert_eq!(page.matches("When to use colour").count(), 1, "{page}");
    Ok(())
}

#[test]
fn every_command_has_a_manual_page_that_renders() -> Result<()> {
    let directory = TempDir::new()?;
    let path = directory.path().to_str().context("no UTF-8")?;
    assert_eq!(stdout_of(&["man", "--dir", path])?, "");
    assert_renders(&directory.path().join("xdpfw.8"))?;
    for command in COMMANDS {
        let file = directory.path().join(format!("xdpfw-{command}.8"));
        let page = fs::read_to_string(&file)?;
        assert_eq!(page, stdout_of(&["man", command])?);
        for head in ["EXAMPLES", "EXIT STATUS", "SEE ALSO"] {
            let head = format!(".SH \"{head}\"");
            assert!(page.contains(&head), "{command}: no section {head}");
        }
        assert!(!page.contains("When to use colour"), "{page}");
        assert_renders(&file)?;
    }
    Ok(())
}

#[test]
fn an_unknown_command_has_no_manual_page() -> Result<()> {
    let output = xdpfw(&["man", "gone"])?.output()?;
    assert_eq!(output.status.code(), Some(2));
    assert_is_one_error(&text(&output.stderr), "gone: no such command");
    Ok(())
}

/// Asserts that groff has nothing to say about a page.
fn assert_renders(page: &Path) -> Result<()> {
    let output = Command::new("groff")
        .args(["-man", "-ww", "-Tutf8", "-z"])
        .arg(page)
        .output()?;
    assert!(output.status.success(), "{}", page.display());
    assert_eq!(text(&output.stderr), "", "{}", page.display());
    Ok(())
}

#[test]
fn help_names_every_command_and_is_no_error() -> Result<()> {
    for arguments in [&["--help"][..], &["-h"], &["help"]] {
        let help = stdout_of(arguments)?;
        for command in COMMANDS {
            let begins = format!("  {command} ");
            assert!(
                help.lines().any(|line| line.starts_with(&begins)),
                "no {command} in {arguments:?}"
            );
        }
    }
    for command in COMMANDS {
        let help = stdout_of(&[command, "--help"])?;
        assert!(help.contains(&format!("Usage: xdpfw {command}")), "{help}");
    }
    for command in COMMANDS {
        let help = stdout_of(&[command, "--help"])?;
        let example = format!("Examples:\n  xdpfw {command}");
        assert!(help.contains(&example), "{help}");
    }
    assert!(stdout_of(&["--version"])?.starts_with("xdpfw "));
    Ok(())
}

#[test]
fn without_a_command_there_is_help_and_exit_code_2() -> Result<()> {
    for policy in [None, Some("policy.toml")] {
        let mut command = xdpfw(&[])?;
        command.env_remove("XDPFW_POLICY");
        if let Some(policy) = policy {
            command.env("XDPFW_POLICY", policy);
        }
        let output = command.output()?;
        assert_eq!(output.status.code(), Some(2));
        assert!(
            text(&output.stderr).contains("Usage: xdpfw"),
            "with XDPFW_POLICY {policy:?}: {}",
            text(&output.stderr)
        );
    }
    Ok(())
}

#[test]
fn colour_is_for_terminals_or_when_asked_for() -> Result<()> {
    const MISTAKE: [&str; 3] = ["allow", "tcp", "99999"];
    for (arguments, no_color, colourful) in [
        (&[][..], None, false),
        (&[], Some("1"), false),
        (&["--color", "never"], None, false),
        (&["--color", "auto"], None, false),
        (&["--color", "always"], None, true),
        // Said on the command line, it is meant.
        (&["--color", "always"], Some("1"), true),
    ] {
        let mut command = xdpfw(&[arguments, &MISTAKE].concat())?;
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let said = text(&command.output()?.stderr);
        assert_eq!(
            said.contains(ESCAPE),
            colourful,
            "{arguments:?} with NO_COLOR {no_color:?}: {said:?}"
        );
        assert!(said.contains("port 99999 is out of range"), "{said:?}");
    }
    Ok(())
}

#[test]
fn a_list_that_no_screen_holds_is_cut_with_a_remedy() -> Result<()> {
    let prefixes = |count: u8| -> String {
        let prefixes: Vec<String> = (1..=count).map(|n| format!("192.0.2.{n}")).collect();
        prefixes.join(",")
    };
    for (count, said, note) in [
        (50, prefixes(50), ""),
        (
            60,
            format!("{} +10", prefixes(50)),
            "r1: not all is shown (say `--json`)\n",
        ),
    ] {
        let allow = [
            "allow",
            "tcp",
            "443",
            "--dry-run",
            "--from",
            &prefixes(count),
        ];
        let output = xdpfw(&allow)?.output()?;
        let line = format!("r1  allow tcp 443 --from {said} (https)   dry run, nothing changed\n");
        assert_eq!(text(&output.stdout), line);
        assert_eq!(text(&output.stderr), note);
    }
    Ok(())
}

#[test]
fn verdicts_have_their_colour() -> Result<()> {
    for (color, expected) in [
        ("always", "default \u{1b}[31mdrop\u{1b}[0m\n"),
        ("never", "default drop\n"),
        ("auto", "default drop\n"),
    ] {
        let list = ["--policy", "/nowhere/policy.toml", "--color", color, "list"];
        assert!(stdout_of(&list)?.ends_with(expected), "{color}");
    }
    Ok(())
}

#[test]
fn colour_on_a_terminal_goes_by_no_color() -> Result<()> {
    for (no_color, colourful) in [("", true), ("1", false)] {
        let mut command = Command::new("script");
        let line = format!("{} allow tcp 99999", binary()?.display());
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        clean(&mut command);
        command.env("NO_COLOR", no_color).env("TERM", "xterm");
        command.stdin(Stdio::null());
        let output = command
            .output()
            .context("cannot start script (util-linux)")?;
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.contains(ESCAPE), colourful, "{no_color:?}: {said:?}");
    }
    Ok(())
}

#[test]
fn a_closed_pipe_is_not_an_error() -> Result<()> {
    for arguments in [
        &["man"][..],
        &["--help"],
        &["completions", "bash"],
        &["allow", "tcp", "443", "--dry-run"],
        &["--json", "allow", "tcp", "443", "--dry-run"],
    ] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let output = xdpfw(arguments)?
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()?
            .wait_with_output()?;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
    Ok(())
}

#[test]
fn a_full_disk_is_an_error() -> Result<()> {
    for arguments in [&["man"][..], &["allow", "tcp", "443", "--dry-run"]] {
        let full = fs::File::options().write(true).open("/dev/full")?;
        let output = xdpfw(arguments)?
            .stdout(full)
            .stderr(Stdio::piped())
            .spawn()?
            .wait_with_output()?;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_is_one_error(&text(&output.stderr), "No space left on device");
    }
    Ok(())
}

#[test]
fn a_comment_is_one_line_that_is_seen_whole() -> Result<()> {
    for comment in ["a\nb", "\x1b[31mred", "a\u{202e}b", "\u{9b}1m"] {
        let output = xdpfw(&["allow", "tcp", "80", "--comment", comment, "--dry-run"])?.output()?;
        assert_eq!(output.status.code(), Some(2), "{comment:?}");
        let said = text(&output.stderr);
        assert_is_one_error(&said, "cannot be in a comment");
        assert!(!said.trim_end().contains(char::is_control), "{said:?}");
    }
    // What is quoted of a file, or of the command line, is escaped.
    let output = xdpfw(&["allow", "\x1b]0;owned\x07", "--dry-run"])?.output()?;
    let said = text(&output.stderr);
    assert!(!said.trim_end().contains(char::is_control), "{said:?}");
    Ok(())
}

#[test]
fn an_error_nobody_can_read_keeps_its_exit_code() -> Result<()> {
    for arguments in [&["allow", "tcp", "99999"][..], &["default", "reject"]] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let status = xdpfw(arguments)?.stderr(writer).status()?;
        assert_eq!(status.code(), Some(2), "{arguments:?}");
    }
    Ok(())
}

#[test]
fn without_root_the_kernel_is_out_of_reach() -> Result<()> {
    let ground = Ground::new()?;
    ground.write("policy.toml", "version = 1\n")?;
    for arguments in [
        &["up", "lo"][..],
        &["down"],
        &["allow", "tcp", "443"],
        &["deny", "udp", "53"],
        &["delete", "r1"],
        &["default", "pass"],
        &["list"],
        &["status"],
        &["--json", "status"],
        &["stats"],
        &["stats", "--watch"],
        &["stats", "--reset"],
        &["apply"],
        &["apply", "--check"],
        &["trace"],
    ] {
        let output = ground.as_nobody(arguments)?;
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {output:?}");
        assert_is_one_error(&text(&output.stderr), "root");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
    assert_eq!(ground.read("policy.toml")?, "version = 1\n");
    Ok(())
}

#[test]
fn without_root_words_and_files_are_judged_all_the_same() -> Result<()> {
    let ground = Ground::new()?;
    ground.write("policy.toml", "version = 1\n")?;
    ground.write("wrong.toml", "version = 1\ndefault = \"reject\"\n")?;
    for (arguments, code, said) in [
        (&["allow", "tcp", "99999"][..], 2, "out of range"),
        (&["stats", "--port", "icmp/8"], 2, "tcp/443"),
        (
            &["allow", "tcp", "443", "--dry-run", "--policy", "wrong.toml"],
            3,
            "wrong.toml:2:11: ",
        ),
    ] {
        let output = ground.as_nobody(arguments)?;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert_is_one_error(&text(&output.stderr), said);
    }
    let output = ground.as_nobody(&["allow", "tcp", "443", "--dry-run"])?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    Ok(())
}

#[test]
fn a_file_that_may_not_be_read_is_a_missing_privilege() -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "only root can make a file that another may not read"
    );
    let ground = Ground::new()?;
    ground.write("policy.toml", "version = 1\n")?;
    fs::set_permissions(
        ground.path("policy.toml"),
        fs::Permissions::from_mode(0o640),
    )?;
    for arguments in [
        &["allow", "tcp", "443", "--dry-run"][..],
        &["delete", "r1", "--dry-run"],
    ] {
        let output = ground.as_nobody(arguments)?;
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {output:?}");
        assert_is_one_error(&text(&output.stderr), "policy.toml");
    }
    Ok(())
}

/// A directory that everybody may enter, with a copy of the binary in it: where
/// this workspace lies need not be open to others.
pub(super) struct Ground(TempDir);

impl Ground {
    pub(super) fn new() -> Result<Self> {
        let ground = Self(TempDir::new()?);
        fs::set_permissions(ground.0.path(), fs::Permissions::from_mode(0o755))?;
        // By another process: a file that this one holds open for writing, if only
        // in a child that was just forked, cannot be executed.
        let copied = Command::new("cp")
            .args([&binary()?, &ground.path("xdpfw")])
            .status()?;
        ensure!(copied.success(), "cannot copy xdpfw");
        Ok(ground)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn write(&self, name: &str, contents: &str) -> Result<()> {
        Ok(fs::write(self.path(name), contents)?)
    }

    fn read(&self, name: &str) -> Result<String> {
        Ok(fs::read_to_string(self.path(name))?)
    }

    /// Runs the binary here with no privilege at all.
    fn as_nobody(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(self.path("xdpfw"));
        command.args(arguments).current_dir(self.0.path());
        clean(&mut command);
        command.env("XDPFW_POLICY", "policy.toml");
        if geteuid().is_root() {
            // Other groups go with the user.
            command.uid(NOBODY).gid(NOBODY);
        }
        command.output().context("cannot run a copy of xdpfw")
    }
}

/// The binary that the harness runs, too.
fn binary() -> Result<PathBuf> {
    let binary = match env::var_os("XDPFW_BIN") {
        Some(binary) => binary.into(),
        None => env::var_os("CARGO_TARGET_DIR")
            .map_or_else(
                || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
                PathBuf::from,
            )
            .join("release/xdpfw"),
    };
    ensure!(
        binary.is_file(),
        "{} does not exist; run `cargo xtask build` or set XDPFW_BIN",
        binary.display()
    );
    Ok(std::path::absolute(binary)?)
}

/// The binary with these arguments, in an environment that says nothing of colour.
fn xdpfw(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(arguments);
    clean(&mut command);
    command.env("XDPFW_POLICY", "/nonexistent/policy.toml");
    Ok(command)
}

pub(super) fn clean(command: &mut Command) {
    for variable in [
        "NO_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "CI",
        "XDPFW_POLICY",
    ] {
        command.env_remove(variable);
    }
}

fn stdout_of(arguments: &[&str]) -> Result<String> {
    let output = xdpfw(arguments)?.output()?;
    ensure!(output.status.success(), "{arguments:?}: {output:?}");
    Ok(text(&output.stdout))
}
