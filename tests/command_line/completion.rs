//! Proves that a shell that has read the script completes what users type. Bash and zsh call the
//! function of the script as they do when somebody types, fish is asked as a whole; all by a user
//! without any privilege.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result, ensure};
use rustix::process::geteuid;
use xdpfw_tests::text;

use super::usage::{Ground, NOBODY, clean};

/// A shell, what it is called with, and a script that prints what the last word of the command
/// line that follows may become.
type Shell = (&'static str, &'static [&'static str], &'static str);

const BASH: Shell = (
    "bash",
    &["--norc", "--noprofile", "-c"],
    r#"
source <(xdpfw completions bash) || exit 1
[[ $(complete -p xdpfw) =~ -F\ ([^ ]+) ]] || exit 1
PATH=$COMPLETING_PATH
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
"${BASH_REMATCH[1]}" xdpfw "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#,
);
/// Two functions are in place of the completion system's, which works on a terminal alone.
const ZSH: Shell = (
    "zsh",
    &["-f", "-c"],
    r#"
compdef() { completer=$1; }
_describe() { print -rl -- "${(@)${(P)3}%%:*}"; }
source <(xdpfw completions zsh) || exit 1
path=($COMPLETING_PATH /usr/bin /bin)
words=("$@") CURRENT=$#
$completer
"#,
);
const FISH: Shell = (
    "fish",
    &["--no-config", "-c"],
    r#"
xdpfw completions fish | source || exit 1
set PATH $COMPLETING_PATH
complete --do-complete "$argv[2..]" | string replace --regex '\t.*' ''
true
"#,
);

const POLICY: &str = r#"version = 1

[[rule]]
id = "r1"
allow = "tcp 443"

[[rule]]
id = "r12"
deny = "udp 53"
"#;

/// What a shell offers for the last of these words, with `xdpfw` found in `path`.
fn offered_with(ground: &Ground, shell: Shell, path: &str, line: &[&str]) -> Result<Vec<String>> {
    let (program, options, script) = shell;
    let mut command = Command::new(program);
    command.args(options).args([script, program, "xdpfw"]);
    command.args(line).current_dir(ground.path(""));
    clean(&mut command);
    let directory = ground.path("");
    command.env("XDPFW_POLICY", "policy.toml");
    // Where fish would keep what it remembers.
    command.env("HOME", "/nonexistent");
    command.env("PATH", format!("{}:/usr/bin:/bin", directory.display()));
    command.env("COMPLETING_PATH", path);
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    ensure!(output.status.success(), "{program}: {line:?}: {output:?}");
    if program != "fish" {
        assert_eq!(text(&output.stderr), "", "{program}: {line:?}");
    }
    let words = text(&output.stdout);
    let words = words.lines().filter(|word| !word.is_empty());
    Ok(words.map(str::to_owned).collect())
}

fn offered(ground: &Ground, shell: Shell, line: &[&str]) -> Result<Vec<String>> {
    let directory = ground.path("");
    offered_with(ground, shell, &directory.display().to_string(), line)
}

#[test]
fn a_shell_completes_what_is_there() -> Result<()> {
    let ground = Ground::new()?;
    ground.write("policy.toml", POLICY)?;
    ground.write("other.toml", &POLICY.replace("r12", "r77"))?;
    for (line, all) in [
        (&["del"][..], &["delete"][..]),
        (&["allow", "wireg"], &["wireguard"]),
        (&["allow", "tcp", "postgresq"], &["postgresql"]),
        (&["allow", "tcp", "80,postgresq"], &["80,postgresql"]),
        // Registered, and in no common use.
        (&["deny", "tcp", "goph"], &["gopher"]),
        (&["deny", "tcp", "well-"], &["well-known"]),
        (&["allow", "tc"], &["tcp", "tcp+udp"]),
        (&["allow", "proto", "gr"], &["gre"]),
        (&["delete", "r"], &["r1", "r12"]),
        (&["delete", "r1", "r12"], &["r12"]),
        (&["delete", "de"], &["deny"]),
        (&["delete", "allow", "udp", "wireg"], &["wireguard"]),
        (&["--policy", "other.toml", "delete", "r7"], &["r77"]),
        (&["--policy=other.toml", "delete", "r7"], &["r77"]),
        (&["allow", "ssh", "--before", "r12"], &["r12"]),
        (&["up", "lo"], &["lo"]),
        (&["down", "lo"], &["lo"]),
        (&["allow", "ssh", "--on", "lo"], &["lo"]),
        (&["allow", "ssh", "--on", "eth9,lo"], &["eth9,lo"]),
        (&["allow", "ssh", "--comm"], &["--comment"]),
        (&["default", "dr"], &["drop"]),
        (&["completions", "ba"], &["bash"]),
        (&["apply", "oth"], &["other.toml"]),
        (&["allow", "no-such-service"], &[]),
    ] {
        for shell in [BASH, ZSH, FISH] {
            assert_eq!(offered(&ground, shell, line)?, all, "{}: {line:?}", shell.0);
        }
    }
    Ok(())
}

#[test]
fn what_cannot_be_found_out_is_not_offered() -> Result<()> {
    let ground = Ground::new()?;
    // No policy, none that can be read, one of which others write, and no program.
    const NONE: [&str; 0] = [];
    for shell in [BASH, ZSH, FISH] {
        let ground = Ground::new()?;
        assert_eq!(offered(&ground, shell, &["delete", "r"])?, NONE);
        ground.write("policy.toml", "version = 99\n")?;
        assert_eq!(offered(&ground, shell, &["delete", "r"])?, NONE);
        assert_eq!(offered(&ground, shell, &["nothing", "q"])?, NONE);
        assert_eq!(
            offered_with(&ground, shell, "/nonexistent", &["del"])?,
            NONE
        );
    }
    // Whatever a shell asks in vain, it is told nothing, and that is no failure.
    let asked = Command::new(ground.path("xdpfw"))
        .args(["--", "xdpfw", "del"])
        .env("_XDPFW_COMPLETE", "no-such-shell")
        .output()?;
    assert!(asked.status.success(), "{asked:?}");
    assert!(
        asked.stdout.is_empty() && asked.stderr.is_empty(),
        "{asked:?}"
    );
    Ok(())
}
