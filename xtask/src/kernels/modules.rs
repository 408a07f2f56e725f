//! Finds the modules that a guest loads, and their order. What a module needs is read in
//! the module itself; the package has no list of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// The devices that the tests make, and what they do to packets there.
const WANTED: [&str; 34] = [
    "veth",
    "8021q",
    "bonding",
    "bridge",
    "dummy",
    "geneve",
    "ifb",
    "ip_gre",
    "ipip",
    "ipvlan",
    "macsec",
    "macvlan",
    "sctp",
    "sit",
    "team",
    "tun",
    "vrf",
    "vxlan",
    "wireguard",
    "xfrm_interface",
    "xfrm_user",
    // What IPsec and MACsec ask for by name, when they are set up.
    "authenc",
    "drbg",
    "echainiv",
    "esp4",
    "gcm",
    "ctr",
    "ghash_generic",
    "act_mirred",
    "cls_bpf",
    "cls_matchall",
    "cls_u32",
    "sch_ingress",
    "sch_netem",
];

/// A module, ready to be loaded.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) code: Vec<u8>,
}

/// What the guest loads of the modules in `directory`, each after those that it needs.
pub(super) fn load_order(directory: &Path) -> Result<Vec<Module>> {
    let files = files_in(directory)?;
    let builtin = fs::read_to_string(directory.join("modules.builtin"))
        .with_context(|| format!("no modules.builtin in {}", directory.display()))?;
    let mut order = Order {
        builtin: builtin.lines().filter_map(name_of).collect(),
        read: |name: &str| match files.get(name) {
            Some(path) => code(path).map(Some),
            None => Ok(None),
        },
        seen: BTreeSet::new(),
        modules: Vec::new(),
    };
    for name in WANTED {
        order.add(name)?;
    }
    Ok(order.modules)
}

struct Order<R> {
    /// Modules that are part of the kernel.
    builtin: BTreeSet<String>,
    /// Reads a module by its name.
    read: R,
    seen: BTreeSet<String>,
    modules: Vec<Module>,
}

impl<R: Fn(&str) -> Result<Option<Vec<u8>>>> Order<R> {
    /// Adds a module, but first what it needs.
    fn add(&mut self, name: &str) -> Result<()> {
        if self.builtin.contains(name) || !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let Some(code) = (self.read)(name)? else {
            bail!("this kernel has no module {name}");
        };
        for needed in needs(&code) {
            self.add(&needed)
                .with_context(|| format!("module {name} needs {needed}"))?;
        }
        let name = name.to_owned();
        self.modules.push(Module { name, code });
        Ok(())
    }
}

/// The modules that a module names as its needs.
fn needs(code: &[u8]) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let Some(at) = code.windows(FIELD.len()).position(|bytes| bytes == FIELD) else {
        return Vec::new();
    };
    let value = &code[at + FIELD.len()..];
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(0);
    String::from_utf8_lossy(&value[..end])
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

/// All modules below `directory`, by name.
fn files_in(directory: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(path);
            } else if let Some(name) = path.to_str().and_then(name_of) {
                files.insert(name, path);
            }
        }
    }
    Ok(files)
}

/// The module in a file of this name, if it is one. Files may be written with `-` where
/// the module has `_`.
fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let name = ["", ".xz"]
        .iter()
        .find_map(|packed| file.strip_suffix(packed)?.strip_suffix(".ko"))?;
    Some(name.replace('-', "_"))
}

/// What is in a module's file.
fn code(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|extension| extension != "xz") {
        return fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    }
    let output = Command::new("busybox")
        .args(["unxz", "-c"])
        .arg(path)
        .output()
        .context("cannot start busybox")?;
    if !output.status.success() {
        bail!("busybox cannot unpack {}", path.display());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_need() {
        let module = |needs: &str| Some(format!("\x7fELF\0depends={needs}\0").into_bytes());
        let mut order = Order {
            builtin: BTreeSet::from(["ipv6".into()]),
            read: |name: &str| {
                Ok(match name {
                    "bridge" => module("stp,llc,ipv6"),
                    "stp" => module("llc"),
                    "llc" | "veth" => module(""),
                    "lost" => module("nowhere"),
                    _ => None,
                })
            },
            seen: BTreeSet::new(),
            modules: Vec::new(),
        };
        for name in ["veth", "bridge", "stp", "ipv6"] {
            order.add(name).unwrap();
        }
        let names: Vec<&str> = order.modules.iter().map(|module| &*module.name).collect();
        assert_eq!(names, ["veth", "llc", "stp", "bridge"]);
        let error = format!("{:#}", order.add("lost").unwrap_err());
        assert_eq!(
            error,
            "module lost needs nowhere: this kernel has no module nowhere"
        );
    }

    #[test]
    fn needs_are_read_in_the_module() {
        assert_eq!(
            needs(b"x\0license=GPL\0depends=mrp,garp-x\0"),
            ["mrp", "garp_x"]
        );
        assert!(needs(b"license=GPL\0depends=\0retpoline=Y\0").is_empty());
        assert!(needs(b"license=GPL\0").is_empty());
        assert!(needs(b"\0depends=cut").is_empty());
    }

    #[test]
    fn names_are_read_in_paths() {
        assert_eq!(name_of("kernel/net/8021q/8021q.ko"), Some("8021q".into()));
        assert_eq!(
            name_of("/m/curve25519-x86_64.ko.xz"),
            Some("curve25519_x86_64".into())
        );
        assert_eq!(name_of("/m/modules.order"), None);
        assert_eq!(name_of("/m/veth.ko.gz"), None);
    }
}
