//! Puts the eBPF object where the library embeds it from, without what only debuggers read.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
};

use anyhow::{Context as _, Result, anyhow};
use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

/// Names the object that `cargo xtask build` made, with whatever toolchain it
/// found.
const OBJECT: &str = "XDPFW_EBPF_OBJECT";

/// What the names of sections begin with that nobody reads: DWARF, which BTF was made from, and
/// relocations of what is relative to itself. Four fifths of the object, and each command parses it.
const UNREAD: [&str; 3] = [".debug_", ".rel.debug_", ".rel.BTF"];

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed={OBJECT}");
    let out = env::var_os("OUT_DIR").context("OUT_DIR is not set")?;
    let embedded = Path::new(&out).join("xdpfw-filter");
    match env::var_os(OBJECT) {
        Some(object) => {
            let object = Path::new(&object);
            println!("cargo:rerun-if-changed={}", object.display());
            fs::copy(object, &embedded)
                .with_context(|| format!("cannot read {}", object.display()))?;
        }
        // A plain `cargo build`: with rustup's nightly and a bpf-linker.
        None => aya_build::build_ebpf(
            [aya_build::Package {
                name: "xdpfw-ebpf",
                root_dir: concat!(env!("CARGO_MANIFEST_DIR"), "/../filter-ebpf"),
                ..Default::default()
            }],
            aya_build::Toolchain::default(),
        )
        .context("no eBPF object: use `cargo xtask build`, which finds or installs a toolchain")?,
    }
    let object = fs::read(&embedded).context("cannot read the eBPF object")?;
    let object =
        strip(&object).map_err(|error| anyhow!("cannot strip the eBPF object: {error}"))?;
    let mut checksum = DefaultHasher::new();
    object.hash(&mut checksum);
    println!(
        "cargo:rustc-env=XDPFW_EBPF_CHECKSUM={:016x}",
        checksum.finish()
    );
    #[expect(
        clippy::disallowed_methods,
        reason = "the directory is this script's own"
    )]
    fs::write(&embedded, object).context("cannot write the eBPF object")
}

/// An object without [what nobody reads](UNREAD).
fn strip(object: &[u8]) -> object::build::Result<Vec<u8>> {
    let mut object = Builder::read(object)?;
    for section in &mut object.sections {
        let name = section.name.to_string();
        section.delete = UNREAD.iter().any(|unread| name.starts_with(unread));
    }
    // LLVM has one section for the names of sections and symbols, which the writer keeps apart.
    let names = object.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    object.write(&mut stripped)?;
    Ok(stripped)
}
