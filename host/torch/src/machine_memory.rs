//! How much memory there is for this process: the machine's, or less where a control group (a container, a service of
//! systemd's) bounds it. Asked when the backend opens, and by clients.

use std::fs;
use std::path::{Path, PathBuf};

/// What may be used, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub total: u64,
    /// What could be had without pushing anything out.
    pub free: u64,
}

/// `None` where the system does not say. Reads files: call it where blocking is allowed.
pub fn here() -> Option<Memory> {
    let machine = of_meminfo(&fs::read_to_string("/proc/meminfo").ok()?)?;
    // A system without control groups bounds nothing by them.
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(within(machine, Path::new("/sys/fs/cgroup"), &groups))
}

/// Its numbers are in KiB.
fn of_meminfo(text: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let total = bytes("MemTotal")?;
    Some(Memory { total, free: bytes("MemAvailable")?.min(total) })
}

/// What is left of the machine's memory by every control group around this process. `groups` is `/proc/self/cgroup`, `root`
/// where the groups are mounted.
fn within(machine: Memory, root: &Path, groups: &str) -> Memory {
    let mut least = machine;
    for (group, names) in around(root, groups) {
        if let Some(bound) = bound_of(&group, names) {
            least.total = least.total.min(bound.total);
            least.free = least.free.min(bound.free);
        }
    }
    Memory { free: least.free.min(least.total), ..least }
}

/// How a version of control groups names its files, and the lines of `memory.stat` that count the cache of files.
struct Names {
    limit: &'static str,
    used: &'static str,
    cache: [&'static str; 2],
}

const FIRST: Names = Names {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cache: ["total_inactive_file", "total_active_file"],
};
const SECOND: Names =
    Names { limit: "memory.max", used: "memory.current", cache: ["inactive_file", "active_file"] };

/// The folders of this process's group and of those around it. A container that does not see its own path has its group
/// mounted as the root, which is among them.
fn around(root: &Path, groups: &str) -> Vec<(PathBuf, &'static Names)> {
    let mut found = vec![(root.to_owned(), &SECOND), (root.join("memory"), &FIRST)];
    for line in groups.lines() {
        // `0::/a/b` is of the second version, `9:memory:/a/b` of the first.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let path = path.trim_start_matches('/');
        // It begins so where the group lies outside of what this process sees.
        if path.split('/').any(|part| part == "..") {
            continue;
        }
        let (base, names) = match controllers {
            "" => (root.to_owned(), &SECOND),
            _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), &FIRST),
            _ => continue,
        };
        let groups = Path::new(path).ancestors().filter(|path| !path.as_os_str().is_empty());
        found.extend(groups.map(|path| (base.join(path), names)));
    }
    found
}

/// `None` for a group that sets no limit, whose file says "max". The first version says a number above any machine's memory.
fn bound_of(group: &Path, names: &Names) -> Option<Memory> {
    let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    let total = number(names.limit)?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let counted = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|bytes| bytes.trim().parse::<u64>().ok()).unwrap_or_default()
    };
    // Files that were read count as used, and make room when it is needed.
    let cache = names.cache.iter().fold(0_u64, |sum, name| sum.saturating_add(counted(name)));
    let used = number(names.used).unwrap_or_default().saturating_sub(cache);
    Some(Memory { total, free: total.saturating_sub(used) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Memory = Memory { total: 1000, free: 600 };

    fn group(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    #[test]
    fn reads_total_and_available_in_kib() {
        let text = "MemTotal:       24576000 kB\nMemFree:  1 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(of_meminfo(text), Some(Memory { total: 24_576_000 << 10, free: 1 << 20 }));
        assert_eq!(of_meminfo("MemTotal: 1 kB"), None);
        assert_eq!(of_meminfo("MemAvailable: 1 kB"), None);
    }

    #[test]
    fn this_machine_has_some() {
        assert!(here().is_some_and(|memory| memory.total > 64 << 20 && memory.free <= memory.total));
    }

    #[test]
    fn a_container_has_what_its_group_allows_and_files_that_were_read_are_not_in_the_way() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(within(MACHINE, root.path(), "0::/\n"), MACHINE);
        let stat = "anon 100\nfile 170\ninactive_file 90\nactive_file 60\n";
        let files = [("memory.max", "400\n"), ("memory.current", "250\n"), ("memory.stat", stat)];
        group(root.path(), &files);
        assert_eq!(within(MACHINE, root.path(), "0::/\n"), Memory { total: 400, free: 300 });
        let busy = Memory { total: 1000, free: 50 };
        assert_eq!(within(busy, root.path(), "0::/\n"), Memory { total: 400, free: 50 });
        group(root.path(), &[("memory.max", "max\n")]);
        assert_eq!(within(MACHINE, root.path(), "0::/\n"), MACHINE);
    }

    #[test]
    fn the_tightest_of_the_groups_around_a_service_counts() {
        let root = tempfile::tempdir().unwrap();
        let slice = root.path().join("system.slice");
        group(&slice, &[("memory.max", "300\n"), ("memory.current", "290\n")]);
        let service = slice.join("gesso.service");
        group(&service, &[("memory.max", "500\n"), ("memory.current", "100\n")]);
        let found = within(MACHINE, root.path(), "0::/system.slice/gesso.service\n");
        assert_eq!(found, Memory { total: 300, free: 10 });
        assert_eq!(within(MACHINE, root.path(), "0::/../elsewhere\n"), MACHINE);
    }

    #[test]
    fn groups_of_the_first_version_are_found_by_their_controller() {
        let root = tempfile::tempdir().unwrap();
        let stat = "inactive_file 7\ntotal_inactive_file 20\ntotal_active_file 10\n";
        let files =
            [("memory.limit_in_bytes", "200"), ("memory.usage_in_bytes", "130"), ("memory.stat", stat)];
        group(&root.path().join("memory/docker/a"), &files);
        let groups = "5:cpu,cpuacct:/other\n4:memory:/docker/a\n";
        assert_eq!(within(MACHINE, root.path(), groups), Memory { total: 200, free: 100 });
        // Without a limit.
        let unlimited = [("memory.limit_in_bytes", "9223372036854771712")];
        group(&root.path().join("memory/docker/a"), &unlimited);
        assert_eq!(within(MACHINE, root.path(), groups), MACHINE);
    }
}
