//! Proves that root obeys, and writes, no policy that others than root may write, nor one on
//! whose way they may write; that each refusal names the component and what mends it; and that
//! nothing but a regular file is taken for a policy.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use xdpfw_tests::{
    Host, Lab, assert_is_one_error, assert_nothing_is_left, capture, policy_text,
    sample::{POLICY, verdicts},
    state, text,
};

/// How long a command may take that waits for others in a queue.
const QUEUE: Duration = Duration::from_secs(90);
/// A user who is not root.
const NOBODY: u32 = 65_534;

/// A fault on the way to the policy `way/here/policy.toml` of a directory, and the component
/// that has it.
struct Fault {
    make: fn(&Path) -> Result<()>,
    component: &'static str,
    says: &'static str,
}

const BELONGS: &str = "belongs to user 65534, not to root";
const WRITTEN: &str = "others than root may write it";

const FAULTS: &[Fault] = &[
    Fault {
        make: |top| mode(&top.join("way/here/policy.toml"), 0o602),
        component: "way/here/policy.toml",
        says: WRITTEN,
    },
    Fault {
        make: |top| mode(&top.join("way/here/policy.toml"), 0o660),
        component: "way/here/policy.toml",
        says: WRITTEN,
    },
    Fault {
        make: |top| give_away(&top.join("way/here/policy.toml")),
        component: "way/here/policy.toml",
        says: BELONGS,
    },
    Fault {
        make: |top| mode(&top.join("way/here"), 0o777),
        component: "way/here",
        says: WRITTEN,
    },
    Fault {
        make: |top| mode(&top.join("way"), 0o775),
        component: "way",
        says: WRITTEN,
    },
    Fault {
        make: |top| give_away(&top.join("way/here")),
        component: "way/here",
        says: BELONGS,
    },
    Fault {
        make: |top| give_away(&top.join("way")),
        component: "way",
        says: BELONGS,
    },
    // Where a link leads counts, and whose it is.
    Fault {
        make: |top| {
            fs::rename(top.join("way/here"), top.join("elsewhere"))?;
            symlink("../elsewhere", top.join("way/here"))?;
            mode(&top.join("elsewhere"), 0o777)
        },
        component: "elsewhere",
        says: WRITTEN,
    },
    Fault {
        make: |top| {
            let file = top.join("way/here/policy.toml");
            fs::rename(&file, top.join("kept.toml"))?;
            symlink(top.join("way/here/../../kept.toml"), file)?;
            give_away(&top.join("way/here/policy.toml"))
        },
        component: "way/here/policy.toml",
        says: BELONGS,
    },
    // In a sticky directory others may write, but not touch what is root's.
    Fault {
        make: |top| {
            mode(&top.join("way/here"), 0o1777)?;
            give_away(&top.join("way/here/policy.toml"))
        },
        component: "way/here/policy.toml",
        says: BELONGS,
    },
    Fault {
        make: |top| {
            mode(&top.join("way"), 0o1777)?;
            give_away(&top.join("way/here"))
        },
        component: "way/here",
        says: BELONGS,
    },
    Fault {
        make: |top| {
            mode(&top.join("way/here"), 0o1777)?;
            give_away(&top.join("way/here"))
        },
        component: "way/here",
        says: BELONGS,
    },
];

/// Commands that obey the policy file, and may write it.
const COMMANDS: &[&[&str]] = &[
    &["up", "eth0"],
    &["up"],
    &["allow", "tcp", "80"],
    &["allow", "tcp", "80", "--force"],
    &["allow", "tcp", "80", "--dry-run"],
    &["deny", "tcp", "80"],
    &["delete", "r1"],
    &["default", "pass"],
    &["default", "pass", "--dry-run"],
    &["apply"],
    &["apply", "--check"],
    &["apply", "-"],
    &["list"],
    &["status"],
];

#[test]
fn no_policy_that_others_may_write_is_obeyed_or_written() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    for (index, fault) in FAULTS.iter().enumerate() {
        let (top, policy) = way(host)?;
        (fault.make)(&top)?;
        let component = top.join(fault.component);
        let said = format!("{}: {}", component.display(), fault.says);
        let mut remedy = String::new();
        for (number, words) in COMMANDS.iter().enumerate() {
            // Whoever names the file.
            let named = policy.to_str().context("an odd path")?;
            let call = match (index + number) % 2 {
                0 => host.xdpfw(*words).env("XDPFW_POLICY", named),
                _ => host.xdpfw([*words, &["--policy", named][..]].concat()),
            };
            let error = call.stdin("version = 1\n").fails(3);
            assert_is_one_error(&error, &said);
            remedy = quoted(&error)?;
        }
        assert_eq!(fs::read_to_string(&policy)?, POLICY);
        let left = fs::read_dir(policy.parent().context("no parent")?)?.count();
        assert_eq!(left, 1, "{said}");
        assert_nothing_is_left(host, &["eth0"])?;

        // The remedy is one.
        capture(Command::new("sh").args(["-c", &remedy]))?;
        host.xdpfw(["up", "eth0"]).env("XDPFW_POLICY", &policy).ok();
        host.xdpfw(["allow", "tcp", "80"])
            .env("XDPFW_POLICY", &policy)
            .ok();
        host.xdpfw(["down"]).ok();
        assert!(fs::read_to_string(&policy)?.contains("tcp 80"));
        fs::remove_dir_all(top)?;
    }
    Ok(())
}

/// What is in force stays so, and is told of.
#[test]
fn a_policy_that_others_come_to_write_changes_nothing_any_more() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    fs::write(host.policy(), "version = 1\ndefault = \"pass\"\n")?;
    give_away(&host.policy())?;
    let before = state(host, &["eth0"])?;
    let said = format!("{}: {BELONGS}", host.policy().display());
    for words in [
        &["up"][..],
        &["up", "--force"],
        &["apply"],
        &["allow", "tcp", "80", "--force"],
    ] {
        assert_is_one_error(&host.xdpfw(words).fails(3), &said);
        assert_eq!(state(host, &["eth0"])?, before, "{words:?}");
    }
    let warning = host.status()["warnings"][0].clone();
    assert_eq!(warning["kind"], "policy-invalid");
    assert!(
        warning["text"]
            .as_str()
            .is_some_and(|is| is.contains(&said)),
        "{warning}"
    );
    assert!(host.xdpfw(["list"]).ok().contains("tcp 443"));
    assert_eq!(
        verdicts(&lab)?,
        "443 passes, 80 is dropped, 8080 is dropped"
    );
    host.xdpfw(["down"]).ok();
    assert_nothing_is_left(host, &["eth0"])
}

/// As `/tmp` is, and the stores of some systems.
#[test]
fn what_is_roots_in_a_sticky_directory_is_obeyed() -> Result<()> {
    let host = Host::new()?;
    let (top, policy) = way(&host)?;
    mode(&top.join("way"), 0o1777)?;
    mode(&top.join("way/here"), 0o1775)?;
    let call = |words: &[&str]| host.xdpfw(words).env("XDPFW_POLICY", &policy).ok();
    call(&["allow", "tcp", "80"]);
    assert!(call(&["list"]).contains("tcp 80"));
    // And a new file beside another's.
    let other = top.join("way/here/.new.toml.new");
    fs::write(&other, "another's")?;
    give_away(&other)?;
    let new = top.join("way/here/new.toml");
    host.xdpfw(["allow", "tcp", "81"])
        .env("XDPFW_POLICY", &new)
        .ok();
    assert!(fs::read_to_string(&new)?.contains("tcp 81"));
    assert_eq!(fs::metadata(&new)?.uid(), 0);
    assert!(!other.exists());
    Ok(())
}

#[test]
fn what_is_made_is_roots_alone_whatever_the_umask() -> Result<()> {
    let host = Host::new()?;
    let policy = host.directory().join("a/b/policy.toml");
    let output = host
        .xdpfw(["allow", "tcp", "80"])
        .env("XDPFW_POLICY", &policy)
        .in_private_mounts("umask 0; exec \"$@\"")
        .output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mode_of = |path: &Path| anyhow::Ok(fs::metadata(path)?.mode() & 0o7777);
    assert_eq!(mode_of(&policy)?, 0o640);
    for directory in ["a", "a/b"] {
        assert_eq!(mode_of(&host.directory().join(directory))?, 0o755);
    }
    host.xdpfw(["list"]).env("XDPFW_POLICY", &policy).ok();
    Ok(())
}

/// Neither read for ever nor waited for, least of all with the lock.
#[test]
fn nothing_but_a_regular_file_is_a_policy() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(host, &["eth0"])?;
    let directory = host.directory().join("directory");
    fs::create_dir(&directory)?;
    let pipe = host.directory().join("pipe");
    host.run("mkfifo", [&pipe])?;
    let link = host.directory().join("link");
    symlink("pipe", &link)?;
    for path in [
        directory.as_path(),
        &pipe,
        &link,
        Path::new("/dev/zero"),
        Path::new("/dev/stdin"),
    ] {
        for words in [&["up", "eth0"][..], &["allow", "tcp", "80"], &["status"]] {
            let mut command = host.xdpfw(words).env("XDPFW_POLICY", path).command()?;
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()?;
            let deadline = Instant::now() + QUEUE;
            while child.try_wait()?.is_none() {
                if Instant::now() > deadline {
                    child.kill()?;
                }
                thread::sleep(Duration::from_millis(5));
            }
            let output = child.wait_with_output()?;
            let said = text(&output.stderr);
            match words {
                // A filter that is up has its rules from elsewhere.
                ["status"] => assert_eq!(output.status.code(), Some(8), "{said}"),
                _ => {
                    assert_eq!(output.status.code(), Some(3), "{path:?}: {said}");
                    assert_is_one_error(&said, "not a regular file");
                }
            }
        }
    }
    assert_eq!(state(host, &["eth0"])?, before);
    Ok(())
}

/// A file that is named to be read once is read, whoever wrote it, and that is said; what is
/// obeyed from then on is root's.
#[test]
fn a_file_of_others_is_applied_once_with_a_warning() -> Result<()> {
    let host = Host::new()?;
    let (top, theirs) = way(&host)?;
    let named = theirs.to_str().context("an odd path")?;
    let apply = |words: &[&str]| -> Result<(String, Option<i32>)> {
        let output = host.xdpfw([words, &[named][..]].concat()).output()?;
        Ok((text(&output.stderr), output.status.code()))
    };
    assert!(!apply(&["apply"])?.0.contains("root"));
    for fault in FAULTS {
        fs::remove_dir_all(&top)?;
        way(&host)?;
        (fault.make)(&top)?;
        let warning = format!(
            "warning: {}: {}; {named} is read all the same, this once",
            top.join(fault.component).display(),
            fault.says
        );
        let (said, code) = apply(&["apply"])?;
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(said.matches(&warning).count(), 1, "{said}");
        let (said, _) = apply(&["apply", "--check"])?;
        assert_eq!(said.matches(&warning).count(), 1, "{said}");
    }
    assert_eq!(policy_text(&host)?, POLICY);
    let metadata = fs::metadata(host.policy())?;
    assert_eq!((metadata.uid(), metadata.mode() & 0o022), (0, 0));

    // A pipe is as good.
    let output = host
        .xdpfw(["apply", "/dev/stdin"])
        .stdin("version = 1\ndefault = \"pass\"\n")
        .output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    assert!(policy_text(&host)?.contains("pass"));
    Ok(())
}

/// Nobody's rules depend on what another user tries.
#[test]
fn another_user_may_try_what_he_likes() -> Result<()> {
    let host = Host::new()?;
    // Where another user gets to.
    let directory = tempfile::tempdir()?;
    mode(directory.path(), 0o755)?;
    let own = directory.path().join("own");
    fs::create_dir(&own)?;
    let policy = own.join("policy.toml");
    fs::write(&policy, POLICY)?;
    mode(&own, 0o777)?;
    mode(&policy, 0o666)?;
    give_away(&own)?;
    give_away(&policy)?;
    let binary = directory.path().join("xdpfw");
    let xdpfw = host.xdpfw([""; 0]).command()?;
    let program = xdpfw.get_args().last().context("no program")?;
    fs::copy(program, &binary)?;
    mode(&binary, 0o755)?;
    let output = host
        .command("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&binary)
        .args(["allow", "tcp", "80", "--dry-run"])
        .env("XDPFW_POLICY", &policy)
        .output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    assert_eq!(fs::read_to_string(&policy)?, POLICY);
    Ok(())
}

/// A policy of a host's, with two directories of its own on its way, `way` and `here`.
fn way(host: &Host) -> Result<(PathBuf, PathBuf)> {
    let top = host.directory().join("top");
    let here = top.join("way/here");
    fs::create_dir_all(&here)?;
    let policy = here.join("policy.toml");
    File::create(&policy)?.set_permissions(Permissions::from_mode(0o600))?;
    fs::write(&policy, POLICY)?;
    Ok((top, policy))
}

fn mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
}

/// Makes another user the owner, also of a link.
fn give_away(path: &Path) -> Result<()> {
    Ok(lchown(path, Some(NOBODY), Some(NOBODY))?)
}

/// What an error says to say.
fn quoted(error: &str) -> Result<String> {
    let words: Vec<&str> = error.split('`').collect();
    ensure!(words.len() == 3, "no remedy: {error}");
    Ok(words[1].to_owned())
}
