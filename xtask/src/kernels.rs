//! Runs the end-to-end tests on kernels other than this machine's: Debian's, each booted in
//! a virtual machine that does nothing else. All machines run side by side.
//!
//! Not with virtme-ng or vmtest: both share files with the guest over 9p, which Debian's cloud
//! kernels lack (`CONFIG_NET_9P is not set`).

mod cpio;
mod debian;
mod guest;
mod initramfs;
mod modules;
mod report;

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    process::{Command, Stdio},
    str::FromStr,
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use tinyjson::JsonValue;

use self::{debian::Kernel, report::Report};
use crate::{
    build::{Build, EBPF_CRATES, all_but},
    command::{capture, cargo, empty, say, target_dir},
};

/// The kernels of Debian's stable releases, which continuous integration tests.
pub(crate) const STABLE: [Version; 2] = [
    Version { major: 6, minor: 1 },
    Version {
        major: 6,
        minor: 12,
    },
];

/// A test binary, or tests with this in their names, that do not run in a guest, and why.
struct Excluded {
    file: &'static str,
    reason: &'static str,
}

/// The test binaries that do not run in a guest; the harness's own tests do not, either.
const EXCLUDED: [Excluded; 8] = {
    const WORDS: &str = "about words and files, or waits for less than emulation takes";
    const SLOW: &str = "takes a quarter of an hour under emulation";
    const NAT: &str = "needs connection tracking and NAT, whose modules no guest has";
    const CLOCK: &str = "waits for less than emulation takes";
    const PROGRAMS: &str = "needs programs that guests do not have";
    const MANY: &str = "hundreds of commands; those of `then` try the capabilities";
    const fn excluded(file: &'static str, reason: &'static str) -> Excluded {
        Excluded { file, reason }
    }
    [
        excluded("command_line", WORDS),
        excluded("policy_life", SLOW),
        excluded("verdicts", SLOW),
        excluded("host", NAT),
        excluded("real_programs", CLOCK),
        excluded("replies", PROGRAMS),
        excluded("chaos", SLOW),
        excluded("privileges", MANY),
    ]
};

/// Names of tests, or parts of them, that do not run in a guest either, where each command
/// takes seconds.
const SKIPPED: [Excluded; 121] = {
    const PROGRAMS: &str = "needs programs that guests do not have";
    const SAME: &str = "the kernel's part is that of the other addresses";
    const MANY: &str = "dozens of commands, each killed or failing";
    const NAMES: &str = "what commands make of names, whatever the kernel";
    const WORDS: &str = "what commands say, whatever the kernel";
    const OUTPUT: &str = "about who reads the output, whatever the kernel";
    const TIME: &str = "waits for less than emulation takes";
    const POLICY: &str = "about the policy and the rules in it, whatever the kernel";
    const FILES: &str = "whom files and directories belong to, whatever the kernel";
    const JOURNAL: &str = "about the journal of bans and who writes it, whatever the kernel";
    const SERVERS: &str = "about servers and what they answer, whatever the kernel";
    const MANY_PACKETS: &str = "millions of packets or entries, where each takes long";
    const PACKETS: &str = "what the program makes of packets, whatever the kernel";
    const SWAPS: &str = "the kernel's part is that of the other scans";
    const DETACHED: &str = "dozens of commands; the other tests see that `down` detaches";
    const fn skipped(file: &'static str, reason: &'static str) -> Excluded {
        Excluded { file, reason }
    }
    [
        skipped("wait::", TIME),
        skipped("dead_man::", TIME),
        skipped("everything_passes_for_a_while", TIME),
        skipped("both_end_by_themselves", TIME),
        skipped("it_may_be_too_late", TIME),
        skipped("what_is_confirmed_stays", TIME),
        skipped("a_first_up_goes_back", TIME),
        skipped("doctor::", PROGRAMS),
        skipped("cookie_options::a_change_of_tcps_settings", WORDS),
        skipped("cookie_options::no_options_lead", PACKETS),
        skipped("cookies_measured::", PROGRAMS),
        skipped("a_published_port_that_is_listened_to", PROGRAMS),
        skipped("interrupted::", MANY),
        skipped("ipv6::", SAME),
        skipped("mapped::", SAME),
        skipped("link_local::", SAME),
        skipped("explain::captures", WORDS),
        skipped("explain::the_command_that_is_named", WORDS),
        skipped("explain::the_way_to_a_verdict", WORDS),
        skipped("explain::words_that_are_no_packet", WORDS),
        skipped("failures::", MANY),
        skipped("unread_output::", OUTPUT),
        skipped("then::another_program_takes_its_place", MANY),
        skipped("then::what_passes_goes_on_whatever_changes", MANY),
        skipped("replace::it_is_put_back", MANY),
        skipped("names::a_name_that_could_not_be_read_again", NAMES),
        skipped("names::a_rule_for_an_interface_that_comes_later", NAMES),
        skipped("names::an_unknown_interface_is_named", NAMES),
        skipped("names::commands_that_change_no_rule", POLICY),
        skipped("names::names_with_dots", NAMES),
        skipped("names::rules_follow_a_renamed_interface", NAMES),
        skipped("names::status_names_the_interfaces", NAMES),
        skipped("names::up_filters_the_interfaces_of_the_policy", NAMES),
        skipped("names::up_in_a_mode_leaves_no_interface", POLICY),
        skipped("boot::an_interface_that_comes_while", MANY),
        skipped("boot::interfaces_that_fit_a_pattern", NAMES),
        skipped("boot::where_the_policy_file_is_damaged", POLICY),
        skipped("boot::without_a", POLICY),
        skipped("egress::what_a_killed_command_leaves", MANY),
        skipped("pins::a_runtime_directory_that_others_could_move", FILES),
        skipped("pins::the_last_down_leaves_nothing", MANY),
        skipped("pins::what_a_killed_command_made", MANY),
        skipped("pins::what_is_not_our_own", FILES),
        skipped("pins::what_others_put_in_the_shared_bpffs", FILES),
        skipped("scan::a_rule_that_stays_counts_on", SWAPS),
        skipped("scan::counters_that_are_reset", SWAPS),
        skipped("scan::two_interfaces_under_one_policy", SWAPS),
        skipped("crowdsec::", JOURNAL),
        skipped("journal::", JOURNAL),
        skipped("events::", JOURNAL),
        skipped("detection::", PROGRAMS),
        skipped("lists_fetched::", SERVERS),
        skipped("lists_in_rules::", POLICY),
        skipped("lists_large::", MANY_PACKETS),
        skipped("bans::a_ban_that_is_said_again", JOURNAL),
        skipped("limits::a_rule_with_cookies", POLICY),
        skipped("limits::shares_are_kept", POLICY),
        skipped("limits::sources_of_a_prefix", POLICY),
        skipped("limits::the_log_tells", WORDS),
        skipped("limits::where_nothing_is_recorded", POLICY),
        skipped("limits::who_is_banned_already", MANY_PACKETS),
        skipped("limits::whose_ban_is_ended", POLICY),
        skipped("lists::a_list_", POLICY),
        skipped("lists::what_a_list_and_the_operator", POLICY),
        skipped("scan::a_ban_outlasts", POLICY),
        skipped("scan::the_log_tells", WORDS),
        skipped("scan::who_is_trusted", POLICY),
        skipped("scan::without_ban", POLICY),
        skipped("lists::garbage_is_named", WORDS),
        skipped("lists::lists_outlast_changes", JOURNAL),
        skipped("lists::of_two_lists", POLICY),
        skipped("lists::the_other_end", POLICY),
        skipped("scan::a_flood_of_forged_scans", MANY_PACKETS),
        skipped("ufws_limit_is_known", WORDS),
        skipped("what_makes_no_sense_changes_nothing", WORDS),
        skipped("up::before_up_and_after_down", WORDS),
        skipped("up::counting_begins_anew", POLICY),
        skipped("up::down_of_what_is_not_up", WORDS),
        skipped("up::interfaces_share_a_policy", POLICY),
        skipped("up::up_again_touches_nothing", POLICY),
        skipped("up::up_that_cannot_save_the_policy", FILES),
        skipped("up::up_without_a_rule_warns", WORDS),
        skipped("up::up_without_interfaces", POLICY),
        skipped("up::what_was_detached_is_detached", DETACHED),
        skipped("confirm::", POLICY),
        skipped("panic::", POLICY),
        skipped("interfaces::an_interface_that_joined_is_open", POLICY),
        skipped("names::an_interface_that_came_back", POLICY),
        skipped("names::another_program_stays", SAME),
        skipped("names::up_says_what_it_lets_go", WORDS),
        skipped("kinds::a_rule_for_an_interface_whose_packets", WORDS),
        skipped("kinds::loopback_is_refused", WORDS),
        skipped("members::a_dummy_is_refused", WORDS),
        skipped("members::no_command_cuts_a_session", POLICY),
        skipped("explain::what_is_no_capture", WORDS),
        skipped("jumbo::a_neighbour_with_jumbo", WORDS),
        skipped(
            "jumbo::an_interface_with_jumbo_frames_that_joins_late",
            WORDS,
        ),
        skipped("bans::a_hard_ban_holds_for_those", POLICY),
        skipped("bans::of_prefixes_in_prefixes", POLICY),
        skipped("bans::bans_outlast_changes", JOURNAL),
        skipped("limits::what_explains_or_rehearses", POLICY),
        skipped("limits::what_waits_gets_in", POLICY),
        skipped("limits::who_is_trusted_is_not", POLICY),
        skipped("lists::what_cannot_be_read", FILES),
        skipped("where_they_cannot_be_they_are_refused", WORDS),
        skipped("trusted::", POLICY),
        skipped("egress::up_that_is_refused", WORDS),
        skipped("pins::a_filter_of_another_system", FILES),
        skipped("pins::only_root_reaches", FILES),
        skipped("pins::what_becomes_of_the_shared", FILES),
        skipped("replace::a_filter_of_another_namespace", WORDS),
        skipped("replace::it_is_not_to_be_confirmed", WORDS),
        skipped("replace::it_may_run_behind", SAME),
        skipped("replace::whoever_may_not_know", WORDS),
        skipped("replace::without_the_option", WORDS),
        skipped("strays::a_filter_whose_pins_are_hidden", FILES),
        skipped("strays::namespaces_that_come_and_go", MANY),
        skipped("then::a_pin_that_others_may_change", FILES),
        skipped("then::three_capabilities", FILES),
        skipped("up::another_mode_than_the_one", WORDS),
        skipped("up::native_is_not_downgraded", WORDS),
    ]
};

/// The version of a kernel, `6.1` for example; which of its releases is Debian's choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// Whether a release, `6.1.0-9-amd64` for example, is of this version.
    fn is_of(&self, release: &str) -> bool {
        release
            .strip_prefix(&self.to_string())
            .is_some_and(|rest| !rest.starts_with(|character: char| character.is_ascii_digit()))
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (major, minor) = text.split_once('.')?;
            Some(Self {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            })
        };
        parse().ok_or_else(|| "a kernel's version has two numbers, as in 6.1".to_owned())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A compiled file of tests.
struct TestBinary {
    name: String,
    path: PathBuf,
}

/// A kernel, and the file system of its guest.
struct Machine<'a> {
    version: &'a Version,
    kernel: Kernel,
    initramfs: PathBuf,
}

/// Runs the end-to-end tests of `package` on each of these kernels, with `args` for the
/// test binaries. All kernels are tried before a failure is reported.
pub(crate) fn test(
    versions: &[Version],
    build: &Build,
    package: &str,
    args: &[String],
) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "other kernels are booted on x86-64 only"
    );
    say(format_args!("kernels: building the tests"));
    let tests = compile(build, package)?;
    for Excluded { file, reason } in EXCLUDED.iter().chain(&SKIPPED) {
        say(format_args!("kernels: without {file}: {reason}"));
    }
    // What this machine's kernel may lack is there.
    let args: Vec<&str> = ["--include-ignored", "--color=never"]
        .into_iter()
        .chain(SKIPPED.iter().flat_map(|skipped| ["--skip", skipped.file]))
        .chain(args.iter().map(String::as_str))
        .collect();
    let prepare = |version| -> Result<Machine<'_>> {
        let kernel = debian::obtain(version)?;
        let initramfs = initramfs::write(&kernel, build, &tests, &args)?;
        say(format_args!("kernel {version}: {}", kernel.release));
        Ok(Machine {
            version,
            kernel,
            initramfs,
        })
    };
    // One after the other, for apt's sake; what cannot be had does not keep the others.
    let machines: Vec<_> = versions.iter().map(prepare).collect();
    let outcomes: Vec<Result<()>> = thread::scope(|scope| {
        let guests: Vec<_> = machines
            .into_iter()
            .map(|machine| scope.spawn(|| machine?.run(&tests)))
            .collect();
        guests
            .into_iter()
            .map(|guest| {
                guest
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let mut failed = Vec::new();
    for (version, outcome) in versions.iter().zip(outcomes) {
        if let Err(error) = outcome {
            say(format_args!("kernel {version}: {error:#}"));
            failed.push(version.to_string());
        }
    }
    if !failed.is_empty() {
        bail!("tests failed on kernel {}", failed.join(" and on "));
    }
    Ok(())
}

impl Machine<'_> {
    /// Boots it and reads what the tests say, to the end.
    fn run(&self, tests: &[TestBinary]) -> Result<()> {
        let Self {
            version,
            kernel,
            initramfs,
        } = self;
        let names = tests.iter().map(|test| test.name.as_str()).collect();
        let started = Instant::now();
        let mut report = Report::new(std::io::stderr(), version, names);
        let console = kernel.directory.join("console.log");
        guest::run(&kernel.image, initramfs, &console, |line| report.line(line))
            .and(report.finish())
            .with_context(|| format!("its console is in {}", console.display()))?;
        say(format_args!(
            "kernel {version}: {} tests passed in {} s",
            report.passed(),
            started.elapsed().as_secs()
        ));
        Ok(())
    }
}

/// Compiles the tests of `package` that guests run, and returns them without what is for
/// debuggers: that is most of them.
fn compile(build: &Build, package: &str) -> Result<Vec<TestBinary>> {
    let mut command = cargo()?;
    command.args(["test", "--no-run"]);
    // Of the whole workspace, as its tests are run here: a package alone has its dependencies
    // built anew, with fewer features.
    command.args(all_but(&EBPF_CRATES));
    for name in binaries(package)? {
        command.args(["--test", &name]);
    }
    command
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    let messages = capture(build.export(&mut command))?;
    let mut tests: Vec<TestBinary> = messages.lines().filter_map(test_binary).collect();
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(!tests.is_empty(), "{package} has no tests");
    let names = tests
        .iter()
        .map(|test| capture(Command::new(&test.path).arg("--list")))
        .collect::<Result<Vec<String>>>()?;
    for Excluded { file, .. } in &SKIPPED {
        ensure!(
            names.iter().any(|names| names.contains(file)),
            "there is no {file} to skip"
        );
    }
    let directory = target_dir()?.join("kernels/tests");
    empty(&directory)?;
    for test in &mut tests {
        let stripped = directory.join(&test.name);
        capture(
            Command::new("strip")
                .arg("-o")
                .args([&stripped, &test.path]),
        )?;
        test.path = stripped;
    }
    Ok(tests)
}

/// The names of the test binaries of `package` that guests run.
fn binaries(package: &str) -> Result<Vec<String>> {
    let metadata = capture(cargo()?.args(["metadata", "--no-deps", "--format-version=1"]))?;
    let mut names = test_targets(&metadata, package)
        .with_context(|| format!("cargo knows no tests of {package}"))?;
    for Excluded { file, .. } in &EXCLUDED {
        ensure!(
            names.iter().any(|name| name == file),
            "there is no {file} to leave out"
        );
    }
    names.retain(|name| EXCLUDED.iter().all(|excluded| excluded.file != name));
    Ok(names)
}

/// The test binaries of a package in what `cargo metadata` prints.
fn test_targets(metadata: &str, package: &str) -> Option<Vec<String>> {
    let metadata: JsonValue = metadata.parse().ok()?;
    let packages: Vec<JsonValue> = field(&metadata, "packages")?;
    let package = packages
        .iter()
        .find(|one| field::<String>(one, "name").as_deref() == Some(package))?;
    let targets: Vec<JsonValue> = field(package, "targets")?;
    let is_test = |target: &&JsonValue| {
        let kinds: Option<Vec<JsonValue>> = field(target, "kind");
        kinds.is_some_and(|kinds| kinds.contains(&"test".to_owned().into()))
    };
    targets
        .iter()
        .filter(is_test)
        .map(|target| field(target, "name"))
        .collect()
}

/// The test binary that one of cargo's messages is about.
fn test_binary(message: &str) -> Option<TestBinary> {
    let message: JsonValue = message.parse().ok()?;
    let profile: JsonValue = field(&message, "profile")?;
    let target: JsonValue = field(&message, "target")?;
    let path: String = field(&message, "executable")?;
    field::<bool>(&profile, "test")?.then_some(TestBinary {
        name: field(&target, "name")?,
        path: path.into(),
    })
}

/// A field of a JSON object.
fn field<T>(object: &JsonValue, name: &str) -> Option<T>
where
    JsonValue: TryInto<T>,
{
    let fields: &HashMap<_, _> = object.get()?;
    fields.get(name)?.clone().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_two_numbers() {
        let version: Version = "6.1".parse().unwrap();
        assert_eq!(version, Version { major: 6, minor: 1 });
        assert_eq!(version.to_string(), "6.1");
        for wrong in ["", "6", "6.", "6.1.2", "v6.1", "6.1-rc1"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn releases_belong_to_one_version() {
        let version: Version = "6.1".parse().unwrap();
        for release in ["6.1.0-9-amd64", "6.1-rc1", "6.1"] {
            assert!(version.is_of(release), "{release}");
        }
        for release in ["6.12.0-amd64", "6.10", "16.1.0", "6.0.1"] {
            assert!(!version.is_of(release), "{release}");
        }
    }

    #[test]
    fn test_binaries_are_read_in_cargos_metadata() {
        let metadata = r#"{"packages":[
            {"name":"other","targets":[{"name":"a","kind":["test"]}]},
            {"name":"tests","targets":[{"name":"harness","kind":["lib"]},
                {"name":"swap","kind":["test"]},{"name":"scan","kind":["test"]}]}]}"#;
        assert_eq!(test_targets(metadata, "tests").unwrap(), ["swap", "scan"]);
        assert_eq!(test_targets(metadata, "none"), None);
    }

    #[test]
    fn test_binaries_are_read_in_cargos_messages() {
        let message = r#"{"reason":"compiler-artifact","target":{"name":"swap"},
            "profile":{"test":true},"executable":"/t/swap-1"}"#;
        let test = test_binary(message).unwrap();
        assert_eq!((&*test.name, test.path), ("swap", "/t/swap-1".into()));
        for other in [
            &message.replace("true", "false"),
            &message.replace("\"/t/swap-1\"", "null"),
            r#"{"reason":"build-finished","success":true}"#,
            "no JSON",
        ] {
            assert!(test_binary(other).is_none(), "{other}");
        }
    }
}
