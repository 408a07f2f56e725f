//! Proves that a shell that has read the script completes what users type: here bash, in which
//! the function of the script is called as bash calls it, by a user without any privilege.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Result, ensure};
use rustix::process::geteuid;
use xdpfw_tests::text;

use super::usage::{Ground, NOBODY, clean};

/// Calls the function that completes `xdpfw` for the words of the command line behind it, and
/// prints what the last one may become.
const COMPLETE: &str = r#"
source <(xdpfw completions bash) || exit 1
[[ $(complete -p xdpfw) =~ -F\ ([^ ]+) ]] || exit 1
PATH=$COMPLETING_PATH
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
"${BASH_REMATCH[1]}" xdpfw "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;
const POLICY: &str = r#"version = 1

[[rule]]
id = "r1"
allow = "tcp 443"

[[rule]]
id = "r12"
deny = "udp 53"
"#;

/// What bash offers for the last of these words, with `xdpfw` found in `path`.
fn offered_with(ground: &Ground, path: &str, line: &[&str]) -> Result<Vec<String>> {
    let mut bash = Command::new("bash");
    bash.args(["--norc", "--noprofile", "-c", COMPLETE, "bash", "xdpfw"]);
    bash.args(line).current_dir(ground.path(""));
    clean(&mut bash);
    let directory = ground.path("");
    bash.env("XDPFW_POLICY", "policy.toml");
    bash.env("PATH", format!("{}:/usr/bin:/bin", directory.display()));
    bash.env("COMPLETING_PATH", path);
    if geteuid().is_root() {
        bash.uid(NOBODY).gid(NOBODY);
    }
    let output = bash.output()?;
    ensure!(output.status.success(), "{line:?}: {output:?}");
    assert_eq!(text(&output.stderr), "", "{line:?}");
    let words = text(&output.stdout);
    Ok(words.lines().map(str::to_owned).collect())
}

fn offered(ground: &Ground, line: &[&str]) -> Result<Vec<String>> {
    let directory = ground.path("");
    offered_with(ground, &directory.display().to_string(), line)
}

#[test]
fn bash_completes_what_is_there() -> Result<()> {
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
        (&["allow", "no-such-service"], &[""]),
    ] {
        assert_eq!(offered(&ground, line)?, all, "{line:?}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_found_out_is_not_offered() -> Result<()> {
    let ground = Ground::new()?;
    // No policy, none that can be read, one of which others write, and no program.
    assert_eq!(offered(&ground, &["delete", "r"])?, [""]);
    ground.write("policy.toml", "version = 99\n")?;
    assert_eq!(offered(&ground, &["delete", "r"])?, [""]);
    assert_eq!(offered(&ground, &["nothing", "q"])?, [""]);
    assert_eq!(offered_with(&ground, "/nonexistent", &["del"])?, [""]);
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
