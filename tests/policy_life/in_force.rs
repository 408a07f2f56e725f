//! Proves that an edit is made against what is in force: it puts no more in force than it
//! says, whoever wrote the policy file meanwhile, and whatever file it is.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde_json::json;
use xdpfw_tests::{
    Host, Lab, assert_is_one_error, generation, policy_text,
    sample::{POLICY, snapshot, verdicts},
    text,
};

const EDITS: &[&[&str]] = &[
    &["allow", "tcp", "22"],
    &["allow", "tcp", "443"],
    &["deny", "tcp", "22"],
    &["delete", "r2"],
    &["default", "pass"],
    &["default", "drop"],
];

#[test]
fn an_edit_refuses_what_else_the_file_would_change() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    let edited = format!("{POLICY}\n[[rule]]\nid = \"r8\"\nallow = \"tcp 80\"\n");
    fs::write(host.policy(), &edited)?;
    let before = snapshot(&lab)?;
    for &edit in EDITS {
        let said = host.xdpfw(edit).fails(1);
        assert_is_one_error(&said, "policy.toml differs from what is in force");
        let rest = "also change + r8 allow tcp 80 (http); say `xdpfw apply` first, or say --force";
        assert!(said.contains(rest), "{edit:?}: {said}");
        assert_eq!(snapshot(&lab)?, before, "{edit:?}");
    }

    // With --force, it says what it did.
    let output = host.xdpfw(["allow", "tcp", "22", "--force"]).output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let line = "r9  allow tcp 22 (ssh)   live on eth0\n";
    assert_eq!(text(&output.stdout), line);
    let said = text(&output.stderr);
    assert!(said.contains("  + r8  allow tcp 80 (http)\n"), "{said}");
    assert!(!said.contains("r9"), "{said}");
    assert_eq!(verdicts(&lab)?, "443 passes, 80 passes, 8080 is dropped");

    // File and kernel are one again, and so after `apply`.
    host.xdpfw(["delete", "r9"]).ok();
    fs::write(host.policy(), &edited)?;
    host.xdpfw(["apply"]).ok();
    host.xdpfw(["delete", "r8"]).ok();
    assert!(!policy_text(host)?.contains("r8"));
    Ok(())
}

#[test]
fn an_edit_without_the_file_does_not_drop_the_rules() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    let generation = generation(host);
    fs::remove_file(host.policy())?;
    for edit in [&["allow", "tcp", "22"][..], &["default", "pass"]] {
        let said = host.xdpfw(edit).fails(1);
        assert_is_one_error(
            &said,
            "policy.toml is gone, so this would also change - r1 ",
        );
        assert!(said.contains("put it back, or say --force"), "{said}");
        assert!(!host.policy().exists());
    }
    assert_eq!(self::generation(host), generation);
    Ok(())
}

#[test]
fn another_file_does_not_replace_the_rules_in_force() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    let before = snapshot(&lab)?;
    let other = host.directory().join("other.toml");
    let path = other.display().to_string();
    // None, one with other rules, and one with the same.
    for contents in [None, Some("version = 1\n"), Some(POLICY)] {
        if let Some(contents) = contents {
            fs::write(&other, contents)?;
        }
        for &edit in EDITS.iter().chain([&["up", "eth1"][..]].iter()) {
            let words = ["--policy", &path].into_iter().chain(edit.iter().copied());
            let said = host.xdpfw(words).fails(1);
            let start = format!(
                "the rules in force come from {}, not from {path}",
                host.policy().display()
            );
            assert_is_one_error(&said, &start);
            assert!(said.contains("--force"), "{said}");
            assert_eq!(snapshot(&lab)?, before, "{edit:?}");
            let now = fs::read_to_string(&other).ok();
            assert_eq!(now.as_deref(), contents, "{edit:?}");
        }
        let status = host.xdpfw(["--policy", &path, "status"]).json_with(|_| 8);
        assert_eq!(status["warnings"][0]["kind"], "policy-elsewhere");
    }

    // A link to the file is the file.
    let link = host.directory().join("link.toml");
    std::os::unix::fs::symlink("policy.toml", &link)?;
    let link = link.display().to_string();
    host.xdpfw(["--policy", &link, "default", "drop"]).ok();
    assert_eq!(snapshot(&lab)?, before);

    // To change over is `apply`'s business. Then it is the first file that is another one.
    host.xdpfw(["--policy", &path, "apply"]).ok();
    host.xdpfw(["--policy", &path, "allow", "tcp", "22"]).ok();
    let said = host.xdpfw(["allow", "tcp", "23"]).fails(1);
    assert_is_one_error(&said, &format!("the rules in force come from {path}"));
    Ok(())
}

/// What shows, counts or traces keeps the file that the rules came from.
#[test]
fn commands_without_a_policy_forget_no_origin() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    host.xdpfw(["stats", "--reset"]).ok();
    let other = host.directory().join("other.toml").display().to_string();
    host.xdpfw(["--policy", &other, "allow", "tcp", "22"])
        .fails(1);
    Ok(())
}

/// It may be `up` at boot, or when an interface comes, which must not stay open.
#[test]
fn up_says_what_else_it_puts_in_force() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    fs::write(host.policy(), POLICY)?;
    let output = host.xdpfw(["up", "eth1"]).output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("  + r1  allow tcp 443 (https)\n"), "{said}");
    Ok(())
}

#[test]
fn each_named_network_namespace_has_its_own_policy() -> Result<()> {
    let hosts = [Host::new()?, Host::new()?];
    let file = |host: &Host| {
        let etc = Path::new("/etc/netns").join(host.name());
        (etc.join("xdpfw/policy.toml"), Etc(etc))
    };
    let [(one, _one), (other, _other)] = hosts.each_ref().map(file);
    let xdpfw = |host: &Host, words: &[&str]| {
        let command = host.xdpfw(words);
        command.without_env("XDPFW_POLICY")
    };
    xdpfw(&hosts[0], &["allow", "tcp", "443"]).ok();
    assert!(fs::read_to_string(&one)?.contains("tcp 443"));
    assert!(!other.exists());
    let list = xdpfw(&hosts[1], &["list"]).json();
    assert_eq!(list["rules"], json!([]));
    xdpfw(&hosts[1], &["allow", "tcp", "80"]).ok();
    assert!(fs::read_to_string(&other)?.contains("tcp 80"));
    assert!(!fs::read_to_string(&one)?.contains("tcp 80"));

    // Root's alone, as any other.
    let etc = Path::new("/etc/netns").join(hosts[0].name());
    fs::set_permissions(&etc, fs::Permissions::from_mode(0o777))?;
    for words in [&["allow", "tcp", "80"][..], &["list"]] {
        let said = xdpfw(&hosts[0], words).fails(3);
        assert_is_one_error(&said, &format!("say `chmod go-w {}`", etc.display()));
    }
    Ok(())
}

/// The directory of a namespace's configuration, which goes with this value.
struct Etc(PathBuf);

impl Drop for Etc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
