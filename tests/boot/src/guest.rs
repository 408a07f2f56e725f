//! A virtual machine on a tap in a network namespace of its own. It is driven over a serial channel,
//! whatever becomes of its network, and ends with this value.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, Ipv6Addr},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use xdpfw_tests::{End, Host, Interrupted, Process};

use crate::image::Image;

/// The tap, and the peer's end of the wire.
pub const TAP: &str = "tap0";
/// How long a boot or a command may take: emulated, and beside other work.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the journal may take, which is read even if something has failed.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// How long qemu may take to start.
const START: Duration = Duration::from_secs(20);
/// The guest is emulated: KVM inside of a virtual machine may be there and yet hang.
const MACHINE: &str = "-cpu max,la57=off,cx16=off -smp 2 -m 768 -nodefaults \
     -no-user-config -display none -device virtio-serial-pci -device virtio-rng-pci";
/// What protects from other users of a processor protects nobody here, and takes most of the time.
const PARAMETERS: &str = "root=/dev/vda rw console=ttyS0 quiet panic=1 mitigations=off nosmap nosmep \
     no5lvl init_on_alloc=0";
/// The network device; so many queues that every processor has one of its own for XDP.
pub const NIC: &str = "virtio-net-pci,id=nic,netdev=wire,mq=on,vectors=10,mac=52:54:00:78:64:70";

/// The two ends of the wire: the guest's, and the peer's.
pub fn ends() -> [End; 2] {
    let end = |interface: &str, number: u8, mac: [u8; 6]| End {
        interface: interface.into(),
        address: Ipv4Addr::new(10, 78, 0, number),
        address6: Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, number.into()),
        link_local: link_local(mac),
        mac,
    };
    [
        end("eth0", 2, [0x52, 0x54, 0, 0x78, 0x64, 0x70]),
        end(TAP, 1, [0x02, 0, 0, 0x78, 0x64, 0x70]),
    ]
}

/// The link-local address that an interface makes of its Ethernet address (RFC 4291, appendix A).
fn link_local([a, b, c, d, e, f]: [u8; 6]) -> Ipv6Addr {
    let pair = |high, low| u16::from_be_bytes([high, low]);
    let [first, second, third, fourth] = [pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f)];
    Ipv6Addr::new(0xfe80, 0, 0, 0, first, second, third, fourth)
}

/// A network namespace with the peer's end of the wire.
pub fn peer() -> Result<Host> {
    let host = Host::new()?;
    let [_, tap] = ends();
    host.set_ipv6(true)?;
    let mac = tap.mac_text();
    let address = format!("{}/24", tap.address);
    for words in [
        &[
            "tuntap",
            "add",
            TAP,
            "mode",
            "tap",
            "multi_queue",
            "vnet_hdr",
        ][..],
        &["link", "set", TAP, "address", &mac, "up"],
        &["address", "add", &address, "dev", TAP],
    ] {
        host.run("ip", words)?;
    }
    Ok(host)
}

/// How a machine differs from the usual one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// More words of the kernel's command line, such as `net.ifnames=0`.
    pub parameters: &'a str,
    /// Whether devices are unplugged. QEMU 7.2 ends at that now and then
    /// (`iotlb_to_section: Assertion … failed`) if each processor has a thread of its own.
    pub is_unplugged: bool,
}

/// A running virtual machine.
#[derive(Debug)]
pub struct Guest<'a> {
    agent: UnixStream,
    lines: Receiver<(Instant, String)>,
    marks: Receiver<(Instant, String)>,
    monitor: UnixStream,
    interrupted: &'a Interrupted,
    _qemu: Process,
}

impl<'a> Guest<'a> {
    /// Boots the image with a second disk, and waits until it can be driven. Nothing that it writes
    /// lasts. Its console goes to `log`.
    pub fn boot(
        peer: &Host,
        image: &Image,
        second: &Path,
        log: &Path,
        options: Options<'_>,
        interrupted: &'a Interrupted,
    ) -> Result<Self> {
        let directory = peer.directory();
        let socket = |name: &str| directory.join(format!("{name}.socket"));
        let listening = |name: &str| {
            format!(
                "socket,id={name},path={},server=on,wait=off",
                socket(name).display()
            )
        };
        let disk =
            |file: &Path| format!("file={},format=raw,if=virtio,cache=unsafe", file.display());
        let mut arguments: Vec<String> = MACHINE.split(' ').map(str::to_owned).collect();
        arguments.retain(|word| !word.is_empty());
        let threads = match options.is_unplugged {
            true => "single",
            false => "multi",
        };
        for (option, value) in [
            ("-accel", format!("tcg,thread={threads}")),
            ("-kernel", image.kernel.display().to_string()),
            ("-initrd", image.initrd.display().to_string()),
            ("-append", format!("{PARAMETERS} {}", options.parameters)),
            ("-drive", disk(&image.disk)),
            ("-drive", disk(second)),
            (
                "-netdev",
                format!("tap,id=wire,ifname={TAP},script=no,downscript=no,vhost=off,queues=4"),
            ),
            ("-device", NIC.to_owned()),
            ("-serial", format!("file:{}", log.display())),
            ("-chardev", listening("agent")),
            (
                "-device",
                "virtserialport,chardev=agent,name=agent".to_owned(),
            ),
            ("-chardev", listening("mark")),
            (
                "-device",
                "virtserialport,chardev=mark,name=mark".to_owned(),
            ),
            ("-chardev", listening("monitor")),
            ("-mon", "chardev=monitor".to_owned()),
        ] {
            arguments.extend([option.to_owned(), value]);
        }
        // What is written goes to a file that nobody else can open.
        arguments.push("-snapshot".into());
        let errors = log.with_extension("qemu");
        // It ends with us, even if we are killed.
        let mut words = [
            "--pdeathsig",
            "KILL",
            "sh",
            "-c",
            "exec \"$@\" >\"$0\" 2>&1",
        ]
        .map(str::to_owned)
        .to_vec();
        words.push(errors.display().to_string());
        words.push("qemu-system-x86_64".into());
        let mut qemu = peer.spawn("setpriv", [words, arguments].concat())?;
        let mut connect = |name: &str| connect(&socket(name), &mut qemu, &errors);
        let (agent, mark, monitor) = (connect("agent")?, connect("mark")?, connect("monitor")?);
        let guest = Self {
            lines: lines_of(&agent)?,
            marks: lines_of(&mark)?,
            agent,
            monitor,
            interrupted,
            _qemu: qemu,
        };
        guest.wait_for_ready()?;
        Ok(guest)
    }

    /// Runs a command of one line to its end: its exit code, and all that it wrote.
    pub fn attempt(&self, command: &str) -> Result<(i32, String)> {
        self.attempt_within(PATIENCE, command)
    }

    /// Writes the journal of this boot to a file, if the guest still answers.
    pub fn save_journal(&self, file: &Path) -> Result<()> {
        let (_, journal) = self.attempt_within(LAST_WORDS, "journalctl -b -o short-monotonic")?;
        fs::write(file, journal).with_context(|| format!("cannot write {}", file.display()))
    }

    fn attempt_within(&self, patience: Duration, command: &str) -> Result<(i32, String)> {
        ensure!(!command.contains('\n'), "a command has one line: {command}");
        (&self.agent)
            .write_all(format!("{command}\n").as_bytes())
            .context("cannot reach the guest")?;
        let mut output = String::new();
        loop {
            let line = self
                .line(patience)
                .with_context(|| format!("no answer of the guest to `{command}`"))?;
            if let Some(status) = line.strip_prefix("end ") {
                return Ok((status.parse()?, output));
            }
            output += line.strip_prefix('|').unwrap_or(&line);
            output.push('\n');
        }
    }

    /// Runs a command that must succeed, and returns what it wrote.
    pub fn run(&self, command: &str) -> Result<String> {
        let (status, output) = self.attempt(command)?;
        ensure!(
            status == 0,
            "in the guest, `{command}` failed ({status}): {}",
            output.trim()
        );
        Ok(output)
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let escaped = text.replace('\\', "\\\\").replace('\n', "\\n");
        let quoted = escaped.replace('\'', "'\\''").replace('%', "%%");
        self.run(&format!(
            "mkdir -p $(dirname {path}) && printf '{quoted}' >{path}"
        ))
        .map(drop)
    }

    /// Boots it again, and waits until everything is started.
    pub fn reboot(&self) -> Result<()> {
        self.run("systemd-run --no-block --quiet systemctl reboot")?;
        self.wait_for_boot()
    }

    /// Waits until it has booted again, and everything is started.
    pub fn wait_for_boot(&self) -> Result<()> {
        self.wait_for_ready()?;
        self.wait_until_started()
    }

    /// Waits until the boot is over, whether all went well or not.
    pub fn wait_until_started(&self) -> Result<()> {
        self.attempt("systemctl is-system-running --wait").map(drop)
    }

    /// When the guest last said that a service was up.
    pub fn last_mark(&self) -> Option<Instant> {
        self.marks.try_iter().last().map(|(at, _)| at)
    }

    /// Has qemu do something, such as `device_del nic`.
    pub fn monitor(&self, command: &str) -> Result<()> {
        (&self.monitor)
            .write_all(format!("{command}\n").as_bytes())
            .context("cannot reach qemu")
    }

    fn wait_for_ready(&self) -> Result<()> {
        while !self
            .line(PATIENCE)
            .context("the guest does not boot")?
            .starts_with("ready ")
        {}
        Ok(())
    }

    /// The next line of the agent.
    fn line(&self, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            self.interrupted.check()?;
            match self.lines.recv_timeout(Duration::from_millis(200)) {
                Ok((_, line)) => return Ok(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("qemu has ended"),
            }
        }
        bail!("nothing for {} s", patience.as_secs())
    }
}

/// The lines that come over a channel, each with the time it came.
fn lines_of(stream: &UnixStream) -> Result<Receiver<(Instant, String)>> {
    let reader = BufReader::new(stream.try_clone()?);
    let (sender, receiver) = channel();
    // It ends with qemu.
    thread::spawn(move || {
        for line in reader.split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send((Instant::now(), line)).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

fn connect(path: &PathBuf, qemu: &mut Process, errors: &Path) -> Result<UnixStream> {
    let deadline = Instant::now() + START;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(_) if Instant::now() < deadline && qemu.wait(Duration::ZERO)?.is_none() => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => {
                let said = fs::read_to_string(errors).unwrap_or_default();
                bail!("qemu does not start ({error}): {}", said.trim());
            }
        }
    }
}
