//! Runs frames through the egress half in force, as if they left.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use xdpfw_common::abi::names;

/// The egress half of a generation.
pub(super) struct Recorder(SchedClassifier);

impl Recorder {
    /// Opens that of the generation that is pinned in this directory.
    pub(super) fn open(generation: &Path) -> Result<Self> {
        let pin = generation.join(names::RECORDER);
        let program = SchedClassifier::from_pin(&pin);
        program
            .map(Self)
            .with_context(|| format!("cannot open {}", pin.display()))
    }

    /// Lets a frame leave by the interface with this index, which came in by the other one,
    /// or from a process of this host (0).
    pub(super) fn run(&self, frame: &[u8], interface: u32, came_in_by: u32) -> Result<()> {
        // `struct __sk_buff` in linux/bpf.h has these at bytes 36 and 40.
        let mut context = [0_u32; 48];
        context[9] = came_in_by;
        context[10] = interface;
        let result = self.0.test_run(TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(bytemuck::cast_slice(&context)),
            ..TestRunOptions::new()
        })?;
        // `TC_ACT_UNSPEC` in linux/pkt_cls.h.
        ensure!(
            result.return_value == u32::MAX,
            "the recorder returned {}",
            result.return_value
        );
        Ok(())
    }
}
