//! Makes the disk of a Debian 12 that has systemd, sshd, ifupdown and what the tests watch it with,
//! and nothing of xdpfw. It stays below `target` until what goes into it changes.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use xdpfw_tests::{capture, task::say};

const RELEASE: &str = "bookworm";
const PACKAGES: &str = "systemd,systemd-sysv,udev,dbus,iproute2,ifupdown,openssh-server,kmod,\
     linux-image-cloud-amd64";
/// Network managers that are not installed, but can be without a network: below `/opt`, with what
/// they need.
const MANAGERS: [(&str, &str); 2] = [
    ("network-manager", "network-manager"),
    ("netplan", "netplan.io"),
];
/// How large the file system is; what is empty takes no room here.
const SIZE: &str = "2000M";

/// A file of the image: where it is, its mode, what is in it.
type Entry = (&'static str, u32, &'static str);
const FILES: [Entry; 8] = [
    (
        "usr/local/sbin/agent",
        0o755,
        include_str!("../image/agent.sh"),
    ),
    (
        "usr/local/sbin/mark",
        0o755,
        include_str!("../image/mark.sh"),
    ),
    (
        "etc/systemd/system/agent.service",
        0o644,
        include_str!("../image/agent.service"),
    ),
    (
        "etc/systemd/system/listen.socket",
        0o644,
        include_str!("../image/listen.socket"),
    ),
    (
        "etc/systemd/system/listen@.service",
        0o644,
        include_str!("../image/listen@.service"),
    ),
    (
        "etc/systemd/system/ssh.service.d/mark.conf",
        0o644,
        include_str!("../image/ssh.conf"),
    ),
    (
        "etc/network/interfaces",
        0o644,
        include_str!("../image/interfaces"),
    ),
    (
        "etc/modules-load.d/agent.conf",
        0o644,
        "virtio_console\n", // Not loaded before something asks for it.
    ),
];
const ENABLED: [&str; 2] = ["agent.service", "listen.socket"];
/// Terminals that nobody sits at, and what begins whenever it likes.
const MASKED: [&str; 5] = [
    "serial-getty@ttyS0.service",
    "getty@tty1.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_reap.service",
];

/// A disk, what boots from it, and the key to it.
#[derive(Debug)]
pub struct Image {
    /// The root file system.
    pub disk: PathBuf,
    /// The kernel to boot.
    pub kernel: PathBuf,
    /// Its first file system.
    pub initrd: PathBuf,
    /// Root's key for ssh.
    pub key: PathBuf,
}

impl Image {
    /// The image in a directory, made unless it is there.
    pub fn obtain(directory: &Path) -> Result<Self> {
        let at = |name| directory.join(name);
        let image = Self {
            disk: at("disk.ext4"),
            kernel: at("vmlinuz"),
            initrd: at("initrd.img"),
            key: at("key"),
        };
        let (recipe, written) = (recipe(), at("recipe"));
        if fs::read_to_string(&written).is_ok_and(|written| written == recipe) {
            return Ok(image);
        }
        say(format_args!(
            "image: making Debian {RELEASE}, two minutes or so"
        ));
        let _ = fs::remove_file(&written);
        let root = at("root");
        remove(&root)?;
        image
            .make(&root)
            .with_context(|| format!("cannot make {}", image.disk.display()))?;
        remove(&root)?;
        fs::write(&written, recipe)
            .with_context(|| format!("cannot write {}", written.display()))?;
        Ok(image)
    }

    fn make(&self, root: &Path) -> Result<()> {
        fs::create_dir_all(root)?;
        capture(
            Command::new("debootstrap")
                .args(["--variant=minbase", &format!("--include={PACKAGES}")])
                .arg(RELEASE)
                .arg(root),
        )?;
        for (directory, package) in MANAGERS {
            let archives = format!("/opt/{directory}");
            fs::create_dir_all(root.join("opt").join(directory).join("partial"))?;
            chroot(
                root,
                &[
                    "apt-get",
                    "install",
                    "-qy",
                    "--download-only",
                    "--no-install-recommends",
                    "-o",
                    &format!("Dir::Cache::archives={archives}"),
                    package,
                ],
            )?;
        }
        chroot(root, &["apt-get", "clean"])?;
        for (path, mode, text) in FILES {
            write(&root.join(path), mode, text)?;
        }
        write(&root.join("etc/hostname"), 0o644, "guest\n")?;
        chroot(root, &[&["systemctl", "enable"], &ENABLED[..]].concat())?;
        for unit in MASKED {
            symlink("/dev/null", root.join("etc/systemd/system").join(unit))?;
        }
        self.make_key(root)?;
        fs::copy(root.join("vmlinuz"), &self.kernel)?;
        fs::copy(root.join("initrd.img"), &self.initrd)?;
        file_system(&self.disk, root, "root", SIZE)
    }

    /// Makes a key, and lets it in.
    fn make_key(&self, root: &Path) -> Result<()> {
        let _ = fs::remove_file(&self.key);
        capture(
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "boot-test", "-f"])
                .arg(&self.key),
        )?;
        let public = fs::read_to_string(self.key.with_extension("pub"))?;
        write(&root.join("root/.ssh/authorized_keys"), 0o600, &public)?;
        fs::set_permissions(root.join("root/.ssh"), fs::Permissions::from_mode(0o700))?;
        Ok(())
    }
}

/// Makes a file system of what is in a directory.
pub fn file_system(file: &Path, directory: &Path, label: &str, size: &str) -> Result<()> {
    let _ = fs::remove_file(file);
    capture(
        Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-L", label, "-d"])
            .args([directory, file])
            .arg(size),
    )
    .map(drop)
}

/// All that decides what is in the image.
fn recipe() -> String {
    format!("{RELEASE} {PACKAGES} {MANAGERS:?} {SIZE} {FILES:?} {ENABLED:?} {MASKED:?}")
}

fn chroot(root: &Path, words: &[&str]) -> Result<()> {
    capture(
        Command::new("chroot")
            .arg(root)
            .args(words)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C"),
    )
    .map(drop)
}

fn write(path: &Path, mode: u32, text: &str) -> Result<()> {
    let write = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}
