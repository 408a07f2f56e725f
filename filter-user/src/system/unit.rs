//! Whether systemd brings the filter back after a boot.

use std::{fs, path::Path};

/// The unit of this package.
pub const UNIT: &str = "xdpfw.service";

/// What becomes of the filter at the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootUnit {
    /// There is no systemd.
    NoSystemd,
    /// There is no such unit.
    Missing,
    /// The unit is there, and nothing starts it.
    Disabled,
    /// It is started at boot.
    Enabled,
}

/// Where units are, those of the operator first (systemd.unit(5)).
const UNITS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

impl BootUnit {
    /// Looks for the unit, and for what starts it.
    pub fn read() -> Self {
        Self::below(Path::new("/"))
    }

    fn below(root: &Path) -> Self {
        let inside = |path: &str| root.join(path.trim_start_matches('/'));
        // It is there exactly while systemd is the init (sd_booted(3)).
        if !inside("/run/systemd/system").is_dir() {
            return Self::NoSystemd;
        }
        let has_unit = |path: &str| inside(path).join(UNIT).exists();
        if !UNITS.iter().any(|path| has_unit(path)) {
            return Self::Missing;
        }
        let is_wanted = |path: &str| {
            let entries = fs::read_dir(inside(path)).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).any(|directory| {
                let kind = directory.extension().and_then(|kind| kind.to_str());
                // What the link leads to is another system's if this one is looked at from outside.
                matches!(kind, Some("wants" | "requires"))
                    && fs::symlink_metadata(directory.join(UNIT)).is_ok()
            })
        };
        match UNITS.iter().any(|path| is_wanted(path)) {
            true => Self::Enabled,
            false => Self::Disabled,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_unit_is_found_with_what_starts_it() -> anyhow::Result<()> {
        let root = tempfile::tempdir()?;
        let read = || BootUnit::below(root.path());
        assert_eq!(read(), BootUnit::NoSystemd);
        fs::create_dir_all(root.path().join("run/systemd/system"))?;
        assert_eq!(read(), BootUnit::Missing);
        let units = root.path().join("lib/systemd/system");
        fs::create_dir_all(&units)?;
        fs::write(units.join(UNIT), "")?;
        assert_eq!(read(), BootUnit::Disabled);
        let wants = root.path().join("etc/systemd/system/sysinit.target.wants");
        fs::create_dir_all(&wants)?;
        symlink(
            "/lib/systemd/system/other.service",
            wants.join("other.service"),
        )?;
        assert_eq!(read(), BootUnit::Disabled);
        symlink("/lib/systemd/system/xdpfw.service", wants.join(UNIT))?;
        assert_eq!(read(), BootUnit::Enabled);
        Ok(())
    }
}
