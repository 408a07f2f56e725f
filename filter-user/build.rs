//! Puts the eBPF object where the library embeds it from.

use std::{env, fs, path::Path};

use anyhow::{Context as _, Result};

/// Names the object that `cargo xtask build` made, with whatever toolchain it
/// found.
const OBJECT: &str = "XDPFW_EBPF_OBJECT";

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed={OBJECT}");
    let Some(object) = env::var_os(OBJECT) else {
        // A plain `cargo build`: with rustup's nightly and a bpf-linker.
        return aya_build::build_ebpf(
            [aya_build::Package {
                name: "xdpfw-ebpf",
                root_dir: concat!(env!("CARGO_MANIFEST_DIR"), "/../filter-ebpf"),
                ..Default::default()
            }],
            aya_build::Toolchain::default(),
        )
        .context("no eBPF object: use `cargo xtask build`, which finds or installs a toolchain");
    };
    let object = Path::new(&object);
    println!("cargo:rerun-if-changed={}", object.display());
    let out =
        Path::new(&env::var_os("OUT_DIR").context("OUT_DIR is not set")?).join("xdpfw-filter");
    fs::copy(object, out).with_context(|| format!("cannot read {}", object.display()))?;
    Ok(())
}
