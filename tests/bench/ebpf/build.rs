//! Tells the compiler which architecture's registers the eBPF bindings are for.

fn main() -> anyhow::Result<()> {
    aya_build::emit_bpf_target_arch_cfg()
}
