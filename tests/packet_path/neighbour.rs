//! Proves that a neighbour which runs XDP itself gains nothing by it: what it writes in
//! front of a packet, outside the frame, is not believed.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type};
use xdpfw_common::abi::BARE_MARK;
use xdpfw_tests::{Host, Lab, ifindex, packets, servers};

/// No rule names it, and a service listens there.
const CLOSED: u16 = 2375;
/// A rule lets it in.
const OPEN: u16 = 53;
/// How long a datagram may take that is not to come.
const SILENCE: Duration = Duration::from_millis(300);

/// Frames whose MAC addresses read as an IPv4 header of a later fragment, which carries no
/// ports and passes.
#[test]
fn a_forged_mark_reaches_no_closed_port() -> Result<()> {
    let lab = Lab::new()?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let open = servers::bind(&lab.host, near.at(OPEN))?;
    let closed = servers::bind(&lab.host, near.at(CLOSED))?;
    lab.host.xdpfw(["allow", "udp", "53"]).ok();
    lab.host.xdpfw(["deny", "any"]).ok();
    lab.host.xdpfw(["up", "eth0"]).ok();

    let mark = BARE_MARK.to_ne_bytes();
    let redirect = Redirect::to(&lab.peer, &far.interface)?;
    let send = |metadata: &[u8], port: u16, text: &str| {
        let datagram = packets::udp(far.at(40_000), near.at(port), text.as_bytes());
        let mut frame = packets::frame(far, near, &datagram);
        if port == CLOSED {
            frame[..12].copy_from_slice(&[
                0x45, 0x00, 0x00, 0x40, 0x12, 0x34, // version, header's length, 64 bytes, id
                0x0a, 0x00, 0x20, 0x01, 0x00, 0x11, // fragment offset, time to live, ICMP
            ]);
        }
        lab.peer.enter(|| redirect.run(metadata, &frame))
    };
    for metadata in [&mark[..], &mark.repeat(2), &[]] {
        send(metadata, CLOSED, &"forged ".repeat(4))?;
        // Sent behind it, and received: so the other one was on the way, too.
        send(&[], OPEN, "honest")?;
        assert_eq!(servers::received(&open)?, "honest");
        assert!(
            servers::is_silent(&closed, SILENCE)?,
            "{metadata:02x?} opens port {CLOSED}"
        );
        // What a rule allows is allowed with it as without.
        send(metadata, OPEN, "marked")?;
        assert_eq!(servers::received(&open)?, "marked", "{metadata:02x?}");
    }
    Ok(())
}

/// An XDP program that sends its packets out by an interface.
struct Redirect(OwnedFd);

impl Redirect {
    fn to(host: &Host, interface: &str) -> Result<Self> {
        // `enum bpf_func_id` in linux/bpf.h.
        const REDIRECT: i32 = 23;
        let index = i32::try_from(ifindex(host, interface)?)?;
        // Opcodes as in linux/bpf.h: move a number to a register, call, return.
        let program = [
            instruction(0xb7, 1, index),
            instruction(0xb7, 2, 0),
            instruction(0x85, 0, REDIRECT),
            instruction(0x95, 0, 0),
        ];
        let licence = c"GPL";
        let mut attributes = attributes();
        // SAFETY: all zeros are a valid value of this member.
        let load = unsafe { &mut attributes.__bindgen_anon_3 };
        load.prog_type = bpf_prog_type::BPF_PROG_TYPE_XDP as u32;
        load.expected_attach_type = bpf_attach_type::BPF_XDP as u32;
        load.insns = program.as_ptr() as u64;
        load.insn_cnt = program.len() as u32;
        load.license = licence.as_ptr() as u64;
        let fd = bpf(bpf_cmd::BPF_PROG_LOAD, &mut attributes).context("cannot load a program")?;
        // SAFETY: just opened, and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends a frame with metadata in front of it.
    fn run(&self, metadata: &[u8], frame: &[u8]) -> Result<()> {
        // `BPF_F_TEST_XDP_LIVE_FRAMES` in linux/bpf.h.
        const LIVE_FRAMES: u32 = 1 << 1;
        let data = [metadata, frame].concat();
        // `struct xdp_md`: where the frame begins and ends, behind the metadata.
        let context = [metadata.len() as u32, data.len() as u32, 0, 0, 0, 0];
        let mut attributes = attributes();
        // SAFETY: all zeros are a valid value of this member.
        let test = unsafe { &mut attributes.test };
        test.prog_fd = self.0.as_raw_fd() as u32;
        test.data_in = data.as_ptr() as u64;
        test.data_size_in = data.len() as u32;
        test.ctx_in = context.as_ptr() as u64;
        test.ctx_size_in = size_of_val(&context) as u32;
        test.repeat = 1;
        test.flags = LIVE_FRAMES;
        bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attributes).context("cannot send a frame")?;
        Ok(())
    }
}

fn instruction(code: u8, register: u8, number: i32) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(register, 0),
        off: 0,
        imm: number,
    }
}

fn attributes() -> bpf_attr {
    // SAFETY: a union of plain numbers, all of which may be zero.
    unsafe { std::mem::zeroed() }
}

fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> Result<i32> {
    // SAFETY: the kernel reads and writes `attributes` up to the given size, and what they
    // point to outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attributes),
            size_of::<bpf_attr>(),
        )
    };
    ensure!(result >= 0, io::Error::last_os_error());
    Ok(i32::try_from(result)?)
}
